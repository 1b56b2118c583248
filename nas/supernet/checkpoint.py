"""Trained weights of a super-network as one safetensors file: tensors, and what they are for.

Tensors are named as in `search_spaces.tensors`, those of the largest network, in half precision but
for variances. Metadata are strings: `format`, `space`, `dataset`, `classes`
(JSON list, in the order of the labels), `normalise` (JSON, mean and standard deviation of each
channel of the input in units of full white) and `recipe` (JSON). Nothing in a file is executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import CheckpointError
from search_spaces.space import SearchSpace
from search_spaces.tensors import shared_slots

FORMAT = "hardware-aware-nas super-network 1"
_FOLDER = Path(__file__).parent / "checkpoints"
_REMEDY = "fetch it again, or train one with `nas train supernet`"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Shared weights and what a network cut from them needs to be used.

    Attributes:
        space: Name of the search space.
        dataset: What the weights were trained on, such as `cifar10`.
        classes: What each output stands for.
        mean: Of each input channel, in units of full white.
        std: Standard deviation of each input channel, likewise.
        recipe: How they were trained and what they reached (JSON values).
        tensors: By name, single precision.
        sha256: Of the file; empty for one that is not yet written.
    """

    space: str
    dataset: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Mapping[str, Any]
    tensors: Mapping[str, NDArray[np.float32]]
    sha256: str = field(default="", compare=False)

    @property
    def weights(self) -> str:
        """Whose weights a network cut from these has, in words."""
        return (
            f"super-network {self.space} on {self.dataset}, sha256 {self.sha256[:12]}, "
            "weights shared, not fine-tuned"
        )

    def normalised(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What networks are fed.

        Args:
            pixels: (n, channels, height, width) bytes.

        Returns:
            (n, channels, height, width), each channel scaled as in training.
        """
        return scaled(pixels, self.mean, self.std)


def scaled(
    pixels: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]
) -> NDArray[np.float32]:
    """(n, channels, height, width) bytes to full white = 1, less `mean`, over `std`."""
    middle, width = (np.array(v, dtype=np.float32)[:, None, None] for v in (mean, std))
    return (pixels.astype(np.float32) / np.float32(255.0) - middle) / width


def packaged(space: str) -> Path | None:
    """The checkpoint of a space that came with this distribution, if there is one."""
    file = _FOLDER / f"{space}.safetensors"
    return file if file.is_file() else None


def write_checkpoint(file: Path, checkpoint: Checkpoint) -> str:
    """Write a checkpoint, whole or not at all.

    Returns:
        SHA-256 of the file.

    Raises:
        CheckpointError: If the file cannot be written or a tensor has values that are no numbers.
    """
    from safetensors.numpy import save

    # Variances may exceed what half precision holds.
    with np.errstate(over="ignore"):
        tensors = {
            name: np.ascontiguousarray(
                value, dtype=np.float32 if name.endswith(".bn.var") else np.float16
            )
            for name, value in checkpoint.tensors.items()
        }
    _refuse_wild(tensors, file)
    data: bytes = save(tensors, metadata=_metadata(checkpoint))
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        msg = f"cannot write the checkpoint {file}: {error.strerror}; name another file"
        raise CheckpointError(msg) from error
    return hashlib.sha256(data).hexdigest()


def read_checkpoint(file: Path, space: SearchSpace | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        file: The safetensors file.
        space: If given, the checkpoint must be of this space and hold every tensor of it.

    Raises:
        CheckpointError: If the file is missing, truncated, of other software, of another space, or
            lacks a tensor or has one of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = file.read_bytes()
    except OSError as error:
        msg = f"cannot read the checkpoint {file}: {error.strerror}; {_REMEDY}"
        raise CheckpointError(msg) from error
    try:
        tensors = {name: tensor.astype(np.float32) for name, tensor in load(data).items()}
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        msg = f"{file} is damaged or no safetensors file: {error}; {_REMEDY}"
        raise CheckpointError(msg) from error
    checkpoint = _checkpoint(file, data, tensors)
    _refuse_wild(tensors, file)
    if space is not None:
        check_space(checkpoint, space, file)
    return checkpoint


def check_space(checkpoint: Checkpoint, space: SearchSpace, file: Path) -> None:
    """Refuse a checkpoint from which not every network of `space` can be cut.

    Raises:
        CheckpointError: It names the first tensor that is wrong.
    """
    if checkpoint.space != space.name:
        msg = f"{file} holds weights of {checkpoint.space!r}, not of {space.name!r}; {_REMEDY}"
        raise CheckpointError(msg)
    for name, slot in shared_slots(space).items():
        tensor = checkpoint.tensors.get(name)
        # A trainer need not keep statistics: every sub-network takes its own.
        if tensor is None and slot.trained:
            msg = f"{file} has no tensor {name!r} {slot.shape}, which {space.name} needs; {_REMEDY}"
            raise CheckpointError(msg)
        if tensor is not None and tensor.shape != slot.shape:
            msg = (
                f"{file}: tensor {name!r} has shape {tensor.shape}; {space.name} needs "
                f"{slot.shape}; {_REMEDY}"
            )
            raise CheckpointError(msg)


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    return {
        "format": FORMAT,
        "space": checkpoint.space,
        "dataset": checkpoint.dataset,
        "classes": json.dumps(checkpoint.classes),
        "normalise": json.dumps({"mean": checkpoint.mean, "std": checkpoint.std}),
        "recipe": json.dumps(checkpoint.recipe),
    }


def _checkpoint(file: Path, data: bytes, tensors: Mapping[str, NDArray[np.float32]]) -> Checkpoint:
    """The file's metadata, checked; its header was read once already, so it is there."""
    size = int.from_bytes(data[:8], "little")
    about = json.loads(data[8 : 8 + size]).get("__metadata__") or {}
    if about.get("format") != FORMAT:
        msg = f"{file} is no checkpoint of a super-network but something else; {_REMEDY}"
        raise CheckpointError(msg)
    try:
        normalise = json.loads(about["normalise"])
        checkpoint = Checkpoint(
            space=about["space"],
            dataset=about["dataset"],
            classes=tuple(str(name) for name in json.loads(about["classes"])),
            mean=tuple(float(value) for value in normalise["mean"]),
            std=tuple(float(value) for value in normalise["std"]),
            recipe=dict(json.loads(about["recipe"])),
            tensors=tensors,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        if len(checkpoint.mean) != len(checkpoint.std) or min(checkpoint.std) <= 0.0:
            msg = f"mean and std are {normalise}"
            raise ValueError(msg)
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{file}: the metadata of the checkpoint are wrong: {error}; {_REMEDY}"
        raise CheckpointError(msg) from error
    return checkpoint


def _refuse_wild(tensors: Mapping[str, NDArray[Any]], file: Path) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            msg = f"{file}: tensor {name!r} holds values that are no numbers; the training diverged"
            raise CheckpointError(msg)
