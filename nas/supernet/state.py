"""A training's state in one safetensors file: everything to go on exactly, nothing unpickled.

State and its JSON header are one file, so that a kill leaves the old one or the new one, never a
pair that disagrees.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from nas.errors import CheckpointError

_HEADER = "state"


def save_state(
    file: Path, arrays: Mapping[str, NDArray[np.float32]], about: Mapping[str, Any]
) -> None:
    """Write arrays and JSON values, whole or not at all.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    write_bytes(file, save(dict(arrays), {_HEADER: json.dumps(dict(about))}))


def load_state(file: Path, kind: str) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Read `save_state` back.

    Args:
        file: What to read.
        kind: What `about["kind"]` must be.

    Raises:
        CheckpointError: If the file is missing, truncated, or another's.
    """
    arrays, metadata = read_tensors(file)
    try:
        about = json.loads(metadata[_HEADER])
        found = about["kind"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        msg = f"{file} is no training's state; resume from the folder that --out named"
        raise CheckpointError(msg) from error
    if found != kind:
        msg = f"{file} is the state of {found}, not of {kind}; name that training's own folder"
        raise CheckpointError(msg)
    return arrays, about


def read_tensors(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """All tensors of a safetensors file and its metadata.

    Raises:
        CheckpointError: If the file is missing, truncated, or no safetensors.
    """
    try:
        with safe_open(file, framework="np") as archive:
            arrays = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
            return arrays, dict(archive.metadata() or {})
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        msg = f"cannot read {file}: {error}; it is missing, cut short, or no safetensors file"
        raise CheckpointError(msg) from error


def write_bytes(file: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        msg = f"cannot write {file}: {error.strerror}; free space or name another --out"
        raise CheckpointError(msg) from error
