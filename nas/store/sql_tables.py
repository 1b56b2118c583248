"""Latency tables in SQL: a header row each, and the columns as an artefact."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, func, insert, select

from nas.errors import StoreError
from nas.store import schema
from nas.store.part import Part, checked_body, keep_artefact
from nas.store.rows import canonical_json, read_json
from nas.times import uniform_time
from predictors.predictor import LatencyTable
from search_spaces.errors import UsageError

_DAMAGED = (
    ValueError, KeyError, OSError, EOFError, TypeError, AttributeError, RuntimeError,
    zipfile.BadZipFile, zlib.error, UsageError,
)  # fmt: skip


class SqlTables(Part):
    """The latency tables of a store; `Store` says what the methods promise."""

    def add_latency_table(self, table: LatencyTable, created_at: str) -> int:
        """Insert a table unless it is the newest of its space and target already."""
        body = _columns(table)
        stored = schema.latency_tables
        newest = (
            select(stored.c.id, stored.c.artefact, stored.c.kind)
            .where(stored.c.space == table.space, stored.c.target == table.target)
            .order_by(stored.c.id.desc())
            .limit(1)
        )
        row = {
            "space": table.space,
            "target": table.target,
            "kind": table.kind,
            "networks": len(table),
            "provenance": canonical_json(table.provenance),
            "created_at": uniform_time(created_at),
        }
        with self._database.write() as connection:
            row["artefact"] = keep_artefact(connection, body, "application/x-npz", created_at)
            last = connection.execute(newest).first()
            if last and (last.artefact, last.kind) == (row["artefact"], table.kind):
                return int(last.id)
            inserted = insert(stored).values(**row).returning(stored.c.id)
            return int(connection.execute(inserted).scalar_one())

    def latency_tables(
        self, space: str | None = None, target: str | None = None, stored_by: str | None = None
    ) -> list[LatencyTable]:
        """The newest table of each space and target."""
        stored, bodies = schema.latency_tables, schema.artefacts
        newest = select(func.max(stored.c.id)).group_by(stored.c.space, stored.c.target)
        if stored_by is not None:
            newest = newest.where(stored.c.created_at <= uniform_time(stored_by))
        conditions: list[ColumnElement[bool]] = [stored.c.id.in_(newest)]
        if space is not None:
            conditions.append(stored.c.space == space)
        if target is not None:
            conditions.append(stored.c.target == target)
        query = (
            select(stored, bodies.c.body)
            .join(bodies, stored.c.artefact == bodies.c.sha256)
            .where(*conditions)
            .order_by(stored.c.id)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [_table(row._asdict(), self._database.name) for row in rows]


def _columns(table: LatencyTable) -> bytes:
    """The columns as npz: equal tables give equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        genes=np.asarray(table.genes, dtype=np.int8),
        latency_ms=np.asarray(table.latency_ms, dtype=np.float64),
        relative_se=np.asarray(table.relative_se, dtype=np.float64),
    )
    return buffer.getvalue()


def _table(row: Mapping[str, Any], database: str) -> LatencyTable:
    where = f"latency table {row['id']}"
    body = checked_body(row["body"], row["artefact"], database)
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            return LatencyTable(
                space=row["space"],
                genes=archive["genes"],
                target=row["target"],
                latency_ms=archive["latency_ms"],
                relative_se=archive["relative_se"],
                kind=row["kind"],
                provenance=read_json(row["provenance"], where),
            )
    except _DAMAGED as error:
        msg = f"{where} is damaged in {database} ({error}); restore a copy"
        raise StoreError(msg) from error
