"""What a training leaves behind: weights, their card, what they reached, scored sub-networks."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.supernet.checkpoint import Checkpoint, write_checkpoint
from nas.supernet.data import CLASSES, DATASET, MEAN, STD
from nas.supernet.evaluation import Evaluation
from nas.supernet.state import write_bytes
from nas.supernet.trainer import Trainer
from search_spaces.architecture import Architecture, FloatArray, Population
from search_spaces.moves import sample
from search_spaces.torch_build import to_arrays

logger = logging.getLogger(__name__)

WEIGHTS, CARD, METRICS, SCORES = "supernet.safetensors", "card.md", "metrics.json", "accuracy.npz"


def write_results(trainer: Trainer, folder: Path, networks: int) -> dict[str, Any]:
    """Evaluate the weights as they are, and write everything others need to use them.

    Writes `supernet.safetensors`, `card.md`, `metrics.json` and, with the random networks'
    genes and accuracies, `accuracy.npz`.

    Args:
        trainer: Finished, or stopped early, which is then said.
        folder: Where to.
        networks: Random sub-networks to score.

    Returns:
        The content of `metrics.json`.

    Raises:
        CheckpointError: If a file cannot be written or the weights are not finite.
    """
    evaluation = trainer.evaluation()
    drawn = sample(trainer.space, networks, np.random.default_rng((trainer.recipe.seed, 9)))
    scores = _scores(trainer, evaluation, drawn)
    metrics = {
        "space": trainer.space.name,
        "dataset": DATASET,
        "finished": trainer.finished,
        "epochs": trainer.epochs_done,
        "steps": trainer.step,
        "training_images": len(trainer.data.train),
        "validation_images": len(trainer.data.validation),
        "test_images": len(trainer.data.test),
        "largest": _extreme(trainer, evaluation, trainer.largest),
        "smallest": _extreme(trainer, evaluation, trainer.smallest),
        "random": {"count": networks} | (_spread(scores) if networks else {}),
        "training_seconds": round(trainer.seconds, 1),
        "device": _device_name(trainer.device),
        "torch": torch.__version__,
        "recipe": trainer.recipe.as_json(),
        "history": [
            [e.epoch, round(e.loss, 4), round(e.distillation, 4), round(e.seconds, 2)]
            for e in trainer.history
        ],
    }
    about = {key: metrics[key] for key in _IN_CHECKPOINT}
    digest = write_checkpoint(
        folder / WEIGHTS,
        Checkpoint(
            trainer.space.name,
            DATASET,
            CLASSES,
            MEAN,
            STD,
            about,
            to_arrays(trainer.values()),
        ),
    )
    metrics["sha256"] = digest
    write_bytes(folder / METRICS, (json.dumps(metrics, indent=2) + "\n").encode())
    write_bytes(folder / CARD, card(metrics).encode())
    if networks:
        _write_scores(folder / SCORES, drawn, scores, len(trainer.data.validation))
    return metrics


_IN_CHECKPOINT = (
    "recipe", "finished", "epochs", "largest", "smallest", "random", "training_seconds", "device",
    "torch",
)  # fmt: skip


def _scores(trainer: Trainer, evaluation: Evaluation, drawn: Population) -> FloatArray:
    """(n,) validation accuracy of each network [%]."""
    values, images = trainer.values(), trainer.data.validation
    scores = np.empty(len(drawn))
    for row, arch in enumerate(drawn.architectures()):
        scores[row] = evaluation.accuracy_percent(arch, values, images)
        if (row + 1) % 50 == 0:
            logger.info("%d of %d sub-networks evaluated", row + 1, len(drawn))
    return scores


def _extreme(trainer: Trainer, evaluation: Evaluation, arch: Architecture) -> dict[str, Any]:
    values, data = trainer.values(), trainer.data
    graph = trainer.space.graph(arch)
    return {
        "architecture": arch.key,
        "macs": graph.macs,
        "parameters": graph.parameters,
        "validation_percent": evaluation.accuracy_percent(arch, values, data.validation),
        "test_percent": evaluation.accuracy_percent(arch, values, data.test),
    }


def _spread(scores: FloatArray) -> dict[str, float]:
    return {
        "lowest_percent": float(scores.min()),
        "mean_percent": float(scores.mean()),
        "highest_percent": float(scores.max()),
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _write_scores(file: Path, drawn: Population, scores: FloatArray, images: int) -> None:
    content = io.BytesIO()
    np.savez_compressed(
        content, genes=drawn.genes.astype(np.int8), accuracy_percent=scores, images=images
    )
    write_bytes(file, content.getvalue())


def card(metrics: dict[str, Any]) -> str:
    """The model card: what the weights are, what they reach, how they were made."""
    recipe, random = metrics["recipe"], metrics["random"]
    rows = [
        f"| {name} | `{entry['architecture']}` | {entry['macs'] / 1e6:.1f} "
        f"| {entry['parameters'] / 1e6:.2f} | {entry['validation_percent']:.2f} "
        f"| {entry['test_percent']:.2f} |"
        for name, entry in (("largest", metrics["largest"]), ("smallest", metrics["smallest"]))
    ]
    spread = (
        f"{random['count']} random sub-networks: {random['lowest_percent']:.2f} to "
        f"{random['highest_percent']:.2f} %, mean {random['mean_percent']:.2f} % (validation)."
        if random["count"]
        else "No random sub-networks were evaluated."
    )
    state = "" if metrics["finished"] else (
        f"\n**Stopped after {metrics['epochs']} of {recipe['epochs']} epochs**: the learning rate "
        "had not fallen to 0, so these weights are worse than the finished ones would be.\n"
    )  # fmt: skip
    table = "\n".join(rows)
    details = "\n".join(f"- {name}: {value}" for name, value in recipe.items())
    return f"""# Super-network `{metrics["space"]}` on CIFAR-10
{state}
Shared weights of all networks of the space `{metrics["space"]}`; a sub-network is cut from them by
its architecture and needs its batch norms recalibrated on training images. Kernels and matrices are
in 16-bit floats; no statistics are stored, since none would fit more than one network.

| network | architecture | MACs [M] | parameters [M] | validation [%] | test [%] |
|---|---|---|---|---|---|
{table}

{spread}

Validation: {metrics["validation_images"]} training images held out; test: {metrics["test_images"]}
images, never used to choose. Accuracies are top-1 with recalibrated batch norms and no fine-tuning.

## Training
{metrics["epochs"]} epochs of {metrics["training_images"]} images in
{metrics["training_seconds"] / 60:.1f} minutes on {metrics["device"]}, torch {metrics["torch"]}.
Sandwich rule with in-place distillation (Yu et al., BigNAS, 2020).

{details}

Data: CIFAR-10 (Krizhevsky, 2009), for research. The networks know ten classes of 32×32 pictures and
nothing else.
"""
