"""Published latency tables as our own type: what packs are fitted on and tests compare with.

The files are described in the README of the data folder (`NAS_DATA`): each holds `arch`, `devices`
and `latency_ms` for one space.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from predictors.predictor import LatencyTable
from predictors.space_features import plain_genes
from search_spaces import SPACES
from search_spaces.architecture import BoolArray, GeneArray, IntArray
from search_spaces.errors import UsageError

FILES = {
    "mobilenetv3": "latency_ofa.npz",
    "fbnet": "latency_fbnet.npz",
    "nasbench201": "latency_nasbench201.npz",
}
_SOURCE = "HELP (Lee et al., NeurIPS 2021) repository, MIT; part of it HW-NAS-Bench (MIT)"


def slug(device: str) -> str:
    """A published device's name as part of a target key.

    Example:
        >>> slug("titan_rtx_256")
        'titan-rtx-256'
    """
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def public_tables(folder: Path, space: str) -> list[LatencyTable]:
    """All devices of the published table of a space.

    Args:
        folder: The data folder.
        space: One of `FILES`.

    Returns:
        One table a device, its target `imported:` and the device's slug. Networks outside the
        space and latencies that are none are left out.

    Raises:
        UsageError: If there is no such table, or its columns do not fit.
    """
    if space not in FILES or not (folder / FILES[space]).is_file():
        msg = f"no published table of {space} in {folder}; there are {', '.join(FILES.values())}"
        raise UsageError(msg)
    with np.load(folder / FILES[space], allow_pickle=False) as archive:
        arch, devices, latency_ms = (archive[name] for name in ("arch", "devices", "latency_ms"))
    if latency_ms.shape != (len(arch), len(devices)):
        msg = f"{FILES[space]}: {latency_ms.shape} latencies for {len(arch)} networks; damaged?"
        raise UsageError(msg)
    genes, inside = _CONVERT.get(space, _as_genes)(arch.astype(np.int64), space)
    tables = []
    for column, device in enumerate(str(name) for name in devices):
        values = latency_ms[:, column].astype(np.float64)
        good = inside & np.isfinite(values) & (values > 0)
        provenance = {"source": _SOURCE, "file": FILES[space], "device": device}
        tables.append(
            LatencyTable(
                space, genes[good], f"imported:{slug(device)}", values[good],
                np.zeros(int(good.sum())), "imported", provenance,
            )
        )  # fmt: skip
    return tables


def _as_genes(arch: IntArray, space: str) -> tuple[GeneArray, BoolArray]:
    counts = SPACES.get(space).option_counts
    if arch.shape[1] != len(counts):
        msg = f"{FILES[space]}: {arch.shape[1]} columns; {space} has {len(counts)} genes"
        raise UsageError(msg)
    inside = np.asarray(((arch >= 0) & (arch < counts)).all(axis=1))
    genes = np.where(inside[:, None], arch, 0).astype(np.int8)
    return plain_genes(SPACES.get(space), genes), inside


def _of_once_for_all(arch: IntArray, space: str) -> tuple[GeneArray, BoolArray]:
    """Rows of kernel (20), expansion (20), depth (5), resolution; absent slots hold anything."""
    choices = SPACES.get(space).choices
    kind = np.array([choice.name.partition("[")[0] for choice in choices])
    stages, slots = int((kind == "depth").sum()), int((kind == "kernel").sum())
    kernel, expansion, depth, resolution = np.split(arch, np.cumsum([slots, slots, stages]), axis=1)
    positions = np.arange(slots // stages)
    present = (positions < depth[:, :, None]).reshape(len(arch), slots)
    columns = {"resolution": resolution, "depth": depth, "kernel": kernel, "expansion": expansion}
    genes = np.zeros((len(arch), len(choices)), dtype=np.int8)
    inside = np.ones(len(arch), dtype=bool)
    for name, values in columns.items():
        places = np.flatnonzero(kind == name)
        options = np.array(choices[int(places[0])].options)
        match = values[:, :, None] == options
        needed = present if name in ("kernel", "expansion") else np.ones_like(values, dtype=bool)
        inside &= (match.any(axis=2) | ~needed).all(axis=1)
        genes[:, places] = match.argmax(axis=2)
    return plain_genes(SPACES.get(space), genes), inside


_CONVERT: dict[str, Callable[[IntArray, str], tuple[GeneArray, BoolArray]]] = {
    "mobilenetv3": _of_once_for_all
}
