"""What a differentiable search leaves behind: the network, its probabilities, and how it went."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from nas.supernet.data import DATASET
from nas.supernet.dnas import DifferentiableSearch
from nas.supernet.latency_term import expected_cost, network_cost
from nas.supernet.state import write_bytes

RESULT, ARRAYS, CARD = "dnas.json", "dnas.npz", "dnas.md"


def write_search_results(search: DifferentiableSearch, folder: Path, unit: str) -> dict[str, Any]:
    """Write `dnas.json`, `dnas.npz` (probabilities, table) and `dnas.md`.

    Args:
        search: Finished, or stopped early, which is then said.
        folder: Where to.
        unit: Of the table and the budget, such as `ms on orin:trt-fp16`.

    Returns:
        The content of `dnas.json`.

    Raises:
        CheckpointError: If a file cannot be written.
    """
    probabilities, arch = search.probabilities(), search.architecture()
    genes = np.array([arch.genes], dtype=np.int8)
    graph, recipe = search.space.graph(arch), search.recipe
    result = {
        "architecture": arch.key,
        "genes": list(arch.genes),
        "choices": search.space.describe(arch),
        "unit": unit,
        "cost": float(network_cost(search.table, genes)[0]),
        "expected_cost": expected_cost(search.table, probabilities),
        "budget": recipe.budget,
        "macs": graph.macs,
        "parameters": graph.parameters,
        "validation_percent": search.accuracy_percent(search.data.validation),
        "accuracy_of": "the search's own block weights, batch statistics, not trained alone",
        "dataset": DATASET,
        "finished": search.finished,
        "epochs": len(search.history),
        "seconds": round(search.seconds, 1),
        "least_probability": float(probabilities.max(axis=1).min()),
        "recipe": recipe.as_json(),
        "history": [
            [e.epoch, e.temperature, e.loss, e.expected_cost, e.entropy] for e in search.history
        ],
    }
    content = io.BytesIO()
    np.savez_compressed(content, probabilities=probabilities, table=search.table, genes=genes[0])
    write_bytes(folder / ARRAYS, content.getvalue())
    write_bytes(folder / RESULT, (json.dumps(result, indent=2) + "\n").encode())
    write_bytes(folder / CARD, _card(result).encode())
    return result


def _card(result: dict[str, Any]) -> str:
    budget = result["budget"]
    over = budget is not None and result["cost"] > budget
    verdict = "no budget" if budget is None else f"budget {budget:g}, {'over' if over else 'kept'}"
    state = "" if result["finished"] else "\n**Stopped early**: the logits are not settled.\n"
    rows = "\n".join(f"| {name} | {block} |" for name, block in result["choices"].items())
    return f"""# Differentiable search: `{result["architecture"]}`
{state}
Cost {result["cost"]:.4g} {result["unit"]} by the table that was searched with ({verdict}): a
prediction, to be measured. Expected cost of the distribution: {result["expected_cost"]:.4g}.
{result["macs"] / 1e6:.1f} M MACs, {result["parameters"] / 1e6:.2f} M parameters.
Validation {result["validation_percent"]:.2f} % with {result["accuracy_of"]}.

{result["epochs"]} epochs on CIFAR-10 in {result["seconds"] / 60:.1f} minutes. Least certain layer:
probability {result["least_probability"]:.2f}. Method: Wu et al., FBNet, CVPR 2019.

| choice | block |
|---|---|
{rows}
"""
