"""Latencies that others measured become tables of the store: `imported`, never `measured`.

A file is taken as a whole or refused as a whole; only who asks for it has wrong rows left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nas.sheets import LATENCY, Column, Faults, Sheet, read_sheet
from nas.store import Store
from nas.times import uniform_time
from predictors.predictor import LatencyTable
from search_spaces import SPACES
from search_spaces.architecture import IntArray
from search_spaces.errors import UnknownNameError, UsageError
from search_spaces.space import SearchSpace

_FAULTS_SHOWN = 3


def imported_target(device: str) -> str:
    """Key of the target of an imported table; runtime, precision and threads are unknown.

    Raises:
        UsageError: If the name has neither letters nor digits.

    Example:
        >>> imported_target("Titan_RTX_256")
        'imported:titan-rtx-256'
    """
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    if not slug:
        msg = f"{device!r} is no name of a device; use letters and digits, such as pixel-3"
        raise UsageError(msg)
    return f"imported:{slug}"


def import_latency_table(
    store: Store,
    file: Path,
    *,
    space: str,
    device: str,
    column: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    skip_bad_rows: bool = False,
    now: datetime | None = None,
) -> LatencyTable:
    """Store the latencies of one device.

    Args:
        store: Where to.
        file: CSV or npz; see `nas.sheets.read_sheet`.
        space: Name of the space of its networks.
        device: Name of the device.
        column: Where its latencies are, if not under the device's name or `latency_ms`.
        provenance: What the user knows of the file, such as its `source`; file name, SHA-256,
            column, rows and date are added.
        skip_bad_rows: Leave wrong rows out; their number is in the provenance.
        now: The present time.

    Returns:
        The table as stored.

    Raises:
        UnknownNameError: If there is no such space, device or column.
        UsageError: If the file or a row of it is wrong; nothing is stored.
    """
    source = _Source.read(file, space, provenance, skip_bad_rows, now)
    table = source.table(device, source.column_of(device, column))
    store.add_latency_table(table, source.imported_at)
    return table


def import_all_latency_tables(
    store: Store,
    file: Path,
    *,
    space: str,
    provenance: Mapping[str, Any] | None = None,
    skip_bad_rows: bool = False,
    now: datetime | None = None,
) -> list[LatencyTable]:
    """Store the latencies of every device of a file, each named as its column.

    Arguments and errors are those of `import_latency_table`.
    """
    source = _Source.read(file, space, provenance, skip_bad_rows, now)
    names = list(source.sheet.columns)
    if not names or LATENCY in names:
        why = f"a column {LATENCY}, which names no device" if names else "no column of latencies"
        msg = f"{file} has {why}; import it with --device, and --column if there are several"
        raise UsageError(msg)
    targets = [imported_target(name) for name in names]
    if len(set(targets)) != len(targets):
        twice = next(name for name in names if targets.count(imported_target(name)) > 1)
        msg = f"{file} has several columns {imported_target(twice)}; import them one by one"
        raise UsageError(msg)
    tables = [source.table(name, name) for name in names]
    for table in tables:
        store.add_latency_table(table, source.imported_at)
    return tables


@dataclass(frozen=True)
class _Source:
    """A file that is being imported.

    Attributes:
        file: Where it lies.
        space: The space of its networks.
        sheet: What it says.
        network: (n,) a number for each row, equal for equal networks.
        provenance: What the user knows of it.
        skip_bad_rows: Whether wrong rows are left out.
        imported_at: The present time.
    """

    file: Path
    space: SearchSpace
    sheet: Sheet
    network: IntArray
    skip_bad_rows: bool
    imported_at: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        file: Path,
        space: str,
        provenance: Mapping[str, Any] | None,
        skip_bad_rows: bool,
        now: datetime | None,
    ) -> _Source:
        """Read the file once, for all its devices."""
        found = SPACES.get(space)
        sheet = read_sheet(file, found)
        network = np.unique(sheet.genes, axis=0, return_inverse=True)[1].reshape(-1)
        imported_at = uniform_time(now or datetime.now(UTC))
        return cls(file, found, sheet, network, skip_bad_rows, imported_at, provenance or {})

    def column_of(self, device: str, column: str | None) -> str:
        """Name of the column that holds a device's latencies."""
        names = list(self.sheet.columns)
        if column is not None:
            if column not in names:
                raise UnknownNameError.of("column", column, names)
            return column
        target = imported_target(device)
        alike = [name for name in names if name == device] or [
            name for name in names if re.search(r"[a-z0-9]", name.lower())
            and imported_target(name) == target
        ]  # fmt: skip
        if len(alike) == 1:
            return alike[0]
        if LATENCY in names:
            return LATENCY
        raise UnknownNameError.of("device", device, names)

    def table(self, device: str, name: str) -> LatencyTable:
        """The table of one device.

        Raises:
            UsageError: If a row is wrong and wrong rows are not to be left out, or all are wrong.
        """
        column = self.sheet.columns[name]
        faults = self._faults(column)
        count = len(column.latency_ms)
        if faults and not self.skip_bad_rows:
            raise UsageError(self._refusal(name, faults))
        good = np.array([row for row in range(count) if row not in faults], dtype=np.int64)
        if len(good) == 0:
            msg = f"{self.file}, column {name}: no row is left of {count}"
            raise UsageError(f"{msg}; {_told(faults)}" if faults else msg)
        # What is left of equal networks has equal values: one of them is enough.
        rows = np.sort(good[np.unique(self.network[good], return_index=True)[1]])
        return LatencyTable(
            space=self.space.name,
            genes=self.sheet.genes[rows].astype(np.int8),
            target=imported_target(device),
            latency_ms=column.latency_ms[rows],
            relative_se=np.zeros(len(rows)),
            kind="imported",
            provenance={
                **self.provenance,
                "device": device,
                "file": self.file.name,
                "sha256": self.sheet.sha256,
                "column": name,
                "rows": len(rows),
                "skipped_rows": len(faults),
                "imported_at": self.imported_at,
            },
        )

    def _faults(self, column: Column) -> Faults:
        """Rows of a column that are of no use."""
        values = column.latency_ms
        faults = {**column.faults, **self.sheet.faults}
        for row in np.flatnonzero(~(np.isfinite(values) & (values > 0))).tolist():
            faults.setdefault(row, f"the latency is {values[row]:g} ms; it must be positive")
        good = np.array([row for row in range(len(values)) if row not in faults], dtype=np.int64)
        _, first, inverse = np.unique(self.network[good], return_index=True, return_inverse=True)
        earlier = good[first[inverse]]
        for row, before in zip(good.tolist(), earlier.tolist(), strict=True):
            if values[row] != values[before]:
                faults[row] = (
                    f"the network of row {before + 1} again, with {values[row]:g} ms instead of "
                    f"{values[before]:g} ms"
                )
        return faults

    def _refusal(self, name: str, faults: Faults) -> str:
        return (
            f"{self.file}, column {name}: {_told(faults)}; nothing was stored. Correct the file, "
            "or leave such rows out with --skip-bad-rows"
        )


def _told(faults: Faults) -> str:
    """The first faults, rows counted from 1 without the header."""
    rows: Sequence[int] = sorted(faults)
    told = "; ".join(f"row {row + 1}: {faults[row]}" for row in rows[:_FAULTS_SHOWN])
    more = len(rows) - _FAULTS_SHOWN
    return f"{told}; and {more} more" if more > 0 else told
