"""Random shared weights, as a super-network has them before it is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.supernet.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from nas.supernet.data import CLASSES, DATASET, MEAN, STD
from search_spaces.space import SearchSpace
from search_spaces.tensors import shared_slots


def random_tensors(space: SearchSpace, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """He-normal kernels, scales near 1, statistics that fit no network."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, slot in sorted(shared_slots(space).items()):
        values = rng.standard_normal(slot.shape)
        match slot.role:
            case "kernel" | "matrix":
                values *= np.sqrt(2.0 / np.prod(slot.shape[1:]))
            case "scale" | "variance":
                values = 1.0 + 0.2 * np.abs(values)
            case _:
                values *= 0.1
        tensors[name] = values.astype(np.float32)
    return tensors


def random_checkpoint(file: Path, space: SearchSpace, seed: int = 0) -> Checkpoint:
    """A checkpoint of random weights, written and read back."""
    tensors = random_tensors(space, seed)
    recipe = {"epochs": 0}
    write_checkpoint(file, Checkpoint(space.name, DATASET, CLASSES, MEAN, STD, recipe, tensors))
    return read_checkpoint(file, space)
