"""Predicted latencies in the words of tables and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from predictors.models.block_lut import BlockLut
from predictors.predictor import LatencyPredictor
from search_spaces.architecture import Architecture, Population
from search_spaces.space import ChainSpace

if TYPE_CHECKING:
    from nas.knowledge import Knowledge


def prediction_rows(
    predictor: LatencyPredictor, population: Population, measured_networks: int
) -> list[dict[str, Any]]:
    """One row for each network.

    Args:
        predictor: Of one target.
        population: n networks.
        measured_networks: What the predictor learned from on that target.
    """
    prediction = predictor.predict(population)
    # Quantiles are worked out for all rows at each call.
    lower_ms, upper_ms = prediction.lower_ms, prediction.upper_ms
    return [
        {
            "architecture": population[row].key,
            "kind": "predicted",
            "latency_ms": float(prediction.median_ms[row]),
            "lower_ms": float(lower_ms[row]),
            "upper_ms": float(upper_ms[row]),
            "level": prediction.level,
            "extrapolated": bool(prediction.extrapolated[row]),
            "target": predictor.target,
            "measured_networks": measured_networks,
            "model": predictor.model,
        }
        for row in range(len(population))
    ]


def block_rows(space: ChainSpace, arch: Architecture, known: Knowledge) -> list[dict[str, Any]]:
    """The blocks of one network with their costs, and their predicted time where there is one."""
    ids = space.block_ids(np.array([arch.genes], dtype=np.int8))[0]
    # Costs are known of any device; times of blocks only where blocks were measured.
    predictor = known.predictor if known.blocks else None
    rows = []
    for number in (int(n) for n in ids if n >= 0):
        block = space.block(number)
        graph = block.graph()
        row: dict[str, Any] = {
            "block": block.label, "group": block.group, "macs": graph.macs,
            "parameters": graph.parameters, "activation_bytes": graph.activation_bytes,
        }  # fmt: skip
        if isinstance(predictor, BlockLut):
            row["latency_ms"] = float(predictor.block_ratio[number] * predictor.reference_ms)
        rows.append(row)
    return rows


def grouped(keys: Sequence[str]) -> dict[str, list[Architecture]]:
    """Architectures by the name of their space, in order of appearance."""
    found: dict[str, list[Architecture]] = {}
    for key in keys:
        arch = Architecture.parse(key)
        found.setdefault(arch.space, []).append(arch)
    return found
