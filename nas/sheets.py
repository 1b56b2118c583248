"""Latency tables of others as files: what a CSV or npz says, each wrong row noted."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Architecture, FloatArray, IntArray
from search_spaces.errors import InvalidArchitectureError, UsageError
from search_spaces.space import SearchSpace
from search_spaces.spaces import mobilenetv3

KEY, LATENCY = "architecture", "latency_ms"

_ZIP = b"PK"
_DAMAGED = (
    ValueError, KeyError, OSError, EOFError, TypeError, AttributeError, RuntimeError,
    NotImplementedError, MemoryError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

Faults = dict[int, str]
"""Why a row is of no use, by its number from 0."""


@dataclass(frozen=True, slots=True)
class Column:
    """Latencies on one device.

    Attributes:
        latency_ms: (n,) as written [ms]; nan where no number is.
        faults: Rows where no number is.
    """

    latency_ms: FloatArray
    faults: Faults = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file as read, nothing left out yet.

    Attributes:
        sha256: Of its bytes.
        genes: (n, genes) networks; zeros in rows that are none.
        faults: Rows that are no network of the space.
        columns: Latencies by the name of their column.
    """

    sha256: str
    genes: IntArray
    faults: Faults
    columns: Mapping[str, Column]


def read_sheet(file: Path, space: SearchSpace) -> Sheet:
    """Read a CSV with a header, or an npz with `arch`, `devices` and `latency_ms`.

    A CSV names networks by their key in a column `architecture`, or by one column for each choice
    of the space that holds its option. All other columns are latencies. The rows of `arch` are
    genes, but for `mobilenetv3`: there they are once-for-all's kernel[20], expansion[20],
    depth[5], resolution.

    Raises:
        UsageError: If the file cannot be read, is damaged, or has another layout.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror or error}; give the path of a CSV or npz file"
        raise UsageError(msg) from error
    binary = data.startswith(_ZIP) or file.suffix.lower() == ".npz"
    genes, faults, columns = (
        _read_npz(data, file, space) if binary else _read_csv(data, file, space)
    )
    return Sheet(hashlib.sha256(data).hexdigest(), genes, faults, columns)


# --- npz ---------------------------------------------------------------------------------------

_Read = tuple[IntArray, Faults, dict[str, Column]]


def _read_npz(data: bytes, file: Path, space: SearchSpace) -> _Read:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except _DAMAGED as error:
        # NumPy's own message may advise to unpickle; it stays in the chain.
        msg = f"{file} is no npz file of plain arrays, or a damaged one; get it again"
        raise UsageError(msg) from error
    arch, latency = _numbers(arrays, "arch", "iu", file), _numbers(arrays, LATENCY, "fiu", file)
    names = arrays.get("devices", np.array([LATENCY]))
    latency = latency[:, None] if latency.ndim == 1 else latency
    if arch.ndim != 2 or latency.shape != (len(arch), names.size) or names.dtype.kind != "U":
        msg = (
            f"{file} has arch {arch.shape}, devices {names.shape} and {LATENCY} {latency.shape}; "
            f"(n, genes), names of d devices, and (n, d) are allowed"
        )
        raise UsageError(msg)
    genes, faults = _networks(arch.astype(np.int64), file, space)
    values = latency.astype(np.float64)
    return (
        genes,
        faults,
        {str(name): Column(values[:, number]) for number, name in enumerate(names.reshape(-1))},
    )


def _numbers(arrays: Mapping[str, NDArray[Any]], name: str, kinds: str, file: Path) -> NDArray[Any]:
    if name not in arrays or arrays[name].dtype.kind not in kinds:
        what = f"has {', '.join(sorted(arrays)) or 'nothing'}"
        if name in arrays:
            what = f"has {name} of type {arrays[name].dtype}"
        msg = f"{file} {what}; it needs the numbers arch and {LATENCY}, and the names devices"
        raise UsageError(msg)
    return arrays[name]


def _networks(rows: IntArray, file: Path, space: SearchSpace) -> tuple[IntArray, Faults]:
    """Genes of each row; a row that is no network of the space is zeros and a fault."""
    if rows.shape[1] != len(space.choices):
        msg = (
            f"the rows of arch in {file} have {rows.shape[1]} numbers, networks of {space.name} "
            f"have {len(space.choices)}; is --space right?"
        )
        raise UsageError(msg)
    convert = _CONVERTERS.get(space.name)
    if convert is None:
        try:
            space.check_genes(rows)
            return rows, {}
        except InvalidArchitectureError:
            convert = _as_genes
    genes, faults = np.zeros_like(rows), Faults()
    for number, row in enumerate(rows):
        try:
            genes[number] = convert(row, space)
        except InvalidArchitectureError as error:
            faults[number] = str(error)
    return genes, faults


def _as_genes(row: IntArray, space: SearchSpace) -> IntArray:
    space.check_genes(row[None])
    return row


def _from_ofa(row: IntArray, space: SearchSpace) -> IntArray:
    """Kernel[20], expansion[20], depth[5], resolution, as the public tables write them."""
    slots, stages = mobilenetv3.SLOTS, mobilenetv3.STAGES
    depth = row[2 * slots : 2 * slots + stages]
    # What stands in absent slots says nothing; some write 0 there.
    present = (np.arange(slots // stages) < depth[:, None]).reshape(-1)
    kernel = np.where(present, row[:slots], mobilenetv3.KERNELS[0])
    expansion = np.where(present, row[slots : 2 * slots], mobilenetv3.EXPANSIONS[0])
    arch = mobilenetv3.from_ofa(
        {"ks": kernel.tolist(), "e": expansion.tolist(), "d": depth.tolist(), "r": int(row[-1])}
    )
    space.check(arch)
    return np.array(arch.genes, dtype=np.int64)


# How `arch` of the public tables becomes genes, where it is not genes already.
_CONVERTERS: dict[str, Callable[[IntArray, SearchSpace], IntArray]] = {"mobilenetv3": _from_ofa}


# --- CSV ---------------------------------------------------------------------------------------


def _read_csv(data: bytes, file: Path, space: SearchSpace) -> _Read:
    try:
        text = data.decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{file} is no CSV file in UTF-8 ({error}); give a CSV or npz file"
        raise UsageError(msg) from error
    header = [name.strip() for name in lines[0]] if lines else []
    genes_of = _header(header, file, space)
    rows = lines[1:]
    genes = np.zeros((len(rows), len(space.choices)), dtype=np.int64)
    faults = Faults()
    for number, row in enumerate(rows):
        if len(row) != len(header):
            faults[number] = f"{len(row)} cells instead of {len(header)}"
            continue
        try:
            genes[number] = genes_of(row)
        except InvalidArchitectureError as error:
            faults[number] = str(error)
    networks = {KEY, *(choice.name for choice in space.choices)}
    return (
        genes,
        faults,
        {
            name: _column([row[place] if place < len(row) else "" for row in rows])
            for place, name in enumerate(header)
            if name not in networks
        },
    )


def _header(
    header: list[str], file: Path, space: SearchSpace
) -> Callable[[list[str]], tuple[int, ...]]:
    """How the genes of a row are read, by the columns there are."""
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        msg = f"{file} has two columns {twice!r}; give each column a name of its own"
        raise UsageError(msg)
    names = [choice.name for choice in space.choices]
    if KEY in header:
        place = header.index(KEY)
        return lambda row: space.check(Architecture.parse(row[place]))
    if set(names) <= set(header):
        places = [header.index(name) for name in names]
        return lambda row: _options([row[place] for place in places], space)
    msg = (
        f"{file} begins with {','.join(header)[:80]!r}, which is no header; the first line must "
        f"name the columns: {KEY} (or each of {', '.join(names[:3])}, …) and {LATENCY}"
    )
    raise UsageError(msg)


def _options(cells: list[str], space: SearchSpace) -> tuple[int, ...]:
    """Genes of the options written in cells; options that are words may be numbered from 0."""
    genes = []
    for cell, choice in zip(cells, space.choices, strict=True):
        options = [str(option) for option in choice.options]
        numbered = [str(number) for number in range(len(options))]
        words = not any(isinstance(option, int | float) for option in choice.options)
        if cell.strip() in options:
            genes.append(options.index(cell.strip()))
        elif words and cell.strip() in numbered:
            genes.append(int(cell))
        else:
            msg = f"{choice.name} is {cell!r}; allowed: {', '.join(options)}"
            raise InvalidArchitectureError(msg)
    return tuple(genes)


def _column(cells: list[str]) -> Column:
    values, faults = np.full(len(cells), np.nan), Faults()
    for number, cell in enumerate(cells):
        try:
            values[number] = float(cell)
        except ValueError:
            faults[number] = f"the latency is {cell[:40]!r}, which is no number"
    return Column(values, faults)
