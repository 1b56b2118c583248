"""The run's folder: `arch.json`, `pareto.csv`, `result.json` and the winner as ONNX."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import InvalidRequestError
from nas.result import Candidate, SearchResult
from search_spaces.architecture import Architecture
from search_spaces.errors import NasError
from search_spaces.onnx_build import build_onnx
from search_spaces.space import SearchSpace


def export_onnx(
    space: SearchSpace, arch: Architecture, weights_file: Path | None = None
) -> tuple[str, bytes]:
    """The network as a complete ONNX model.

    Args:
        space: Its space.
        arch: The network.
        weights_file: npz with the tensors of the largest network by weight name, normalisation
            folded, biases under `<name>.bias`; None for seeded random weights.

    Returns:
        File name and bytes. Without weights the name says `untrained`.

    Raises:
        InvalidRequestError: If the weights file cannot be read.
        InvalidGraphError: If it lacks a tensor of the network.
    """
    graph = space.graph(arch)
    about = {"architecture": arch.key, "space": space.name}
    if weights_file is None:
        return "best.untrained.onnx", build_onnx(graph, "seeded", metadata=about)
    weights, digest = read_weights(weights_file)
    model = build_onnx(graph, weights, metadata={**about, "weights_sha256": digest})
    return "best.onnx", model


def read_weights(file: Path) -> tuple[dict[str, NDArray[np.float32]], str]:
    """Tensors of an npz file by name, and the file's SHA-256; nothing in it is executed.

    Raises:
        InvalidRequestError: If the file is missing, no npz, or holds anything but numbers.
    """
    try:
        data = file.read_bytes()
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            tensors = {name: archive[name].astype(np.float32) for name in archive.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"cannot read weights from {file}: {error}; an npz of named tensors is needed"
        raise InvalidRequestError(msg) from error
    return tensors, hashlib.sha256(data).hexdigest()


def arch_json(result: SearchResult) -> str:
    """The winner: how to rebuild it, what was verified, what was predicted."""
    winner = result.winner
    content: dict[str, Any] = {
        "space": result.space,
        "architecture": winner.key if winner else None,
        "choices": result.architecture,
        "target": result.target,
        "budget_ms": result.budget_ms,
        "verification": result.verification,
        "accuracy_of": result.accuracy_of,
        "weights": result.weights,
        "winner": asdict(winner) if winner else None,
    }
    return json.dumps(content, indent=2) + "\n"


def pareto_csv(candidates: Sequence[Candidate]) -> str:
    """All candidates, one a line, with how each latency is known."""
    text = io.StringIO()
    names = [field.name for field in fields(Candidate)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for candidate in candidates:
        row: Mapping[str, Any] = asdict(candidate)
        writer.writerow({k: "" if v is None else v for k, v in row.items()})
    return text.getvalue()


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        NasError: If the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        msg = f"cannot write {path}: {error.strerror}; the result is kept in the store"
        raise NasError(msg) from error
