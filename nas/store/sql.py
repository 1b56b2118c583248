"""The store in an SQL database: one SQLite file by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, insert, select, update

from devices.device import Device
from devices.measurement import Measurement, SubjectKind
from nas.store import schema
from nas.store.database import Database
from nas.store.measured import insert_measurements, load_environments, not_yet_stored
from nas.store.part import checked_body, keep_artefact, require_artefact, unknown_artefact
from nas.store.rows import canonical_json, read_json, read_measurement
from nas.store.sql_jobs import SqlJobs
from nas.store.sql_runs import SqlRuns
from nas.store.sql_tables import SqlTables
from nas.store.store import Store
from nas.trial import StoredMeasurement


class SqlStore(SqlRuns, SqlJobs, SqlTables, Store):
    """A store in the database at a path or SQLAlchemy URL; `Store` says what the methods promise.

    Opening creates what is missing and upgrades what is older. Processes and threads may share
    the database; each opens its own store or, for threads, uses the same.

    Raises:
        StoreError: If the database cannot be opened, or a newer version wrote it.

    Example:
        >>> with SqlStore.in_memory() as store:
        ...     store.open_run("first", "{}", "2026-01-01T00:00:00Z").state
        'running'
    """

    def __init__(self, url_or_path: str | Path) -> None:
        self._database = Database(url_or_path)

    @classmethod
    def in_memory(cls) -> Self:
        """A store that ends with the process."""
        return cls("sqlite://")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # --- Devices -------------------------------------------------------------------------------

    def add_device(self, device: Device, created_at: str | None = None) -> None:
        """Insert a device or replace its facts."""
        table, facts = schema.devices, canonical_json(device.facts)
        with self._database.write() as connection:
            known = update(table).where(table.c.name == device.name).values(facts=facts)
            if connection.execute(known).rowcount == 0:
                row = {"name": device.name, "facts": facts, "created_at": created_at}
                connection.execute(insert(table), row)

    def devices(self) -> list[Device]:
        """All devices by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(schema.devices).order_by(schema.devices.c.name))
            return [Device(row.name, read_json(row.facts, f"device {row.name}")) for row in rows]

    # --- Measurements --------------------------------------------------------------------------

    def add_measurements(self, measurements: Sequence[Measurement]) -> list[int]:
        """Insert measurements in one transaction."""
        with self._database.write() as connection:
            return [stored.id for stored in insert_measurements(connection, measurements)]

    def add_missing_measurements(self, measurements: Sequence[Measurement]) -> list[int]:
        """Insert in one transaction those that are not there."""
        with self._database.write() as connection:
            missing = not_yet_stored(connection, measurements)
            return [stored.id for stored in insert_measurements(connection, missing)]

    def measurements(
        self,
        target: str,
        *,
        kind: SubjectKind | None = None,
        space: str | None = None,
        up_to_id: int | None = None,
        reference: str | None = None,
    ) -> list[StoredMeasurement]:
        """The measurements of a target by number."""
        columns = schema.measurements.c
        wanted = {"kind": kind, "space": space, "reference": reference}
        conditions: list[ColumnElement[bool]] = [columns.target == target]
        conditions += [
            columns[name] == value for name, value in wanted.items() if value is not None
        ]
        if up_to_id is not None:
            conditions.append(columns.id <= up_to_id)
        query = select(schema.measurements).where(*conditions).order_by(columns.id)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            environments = load_environments(
                connection, select(columns.environment).where(*conditions)
            )
        return [read_measurement(row._asdict(), environments) for row in rows]

    # --- Artefacts and predictors --------------------------------------------------------------

    def add_artefact(self, body: bytes, media_type: str, created_at: str | None = None) -> str:
        """Insert bytes unless they are there."""
        with self._database.write() as connection:
            return keep_artefact(connection, body, media_type, created_at)

    def artefact(self, sha256: str) -> bytes:
        """The bytes of a digest, checked."""
        query = select(schema.artefacts.c.body).where(schema.artefacts.c.sha256 == sha256)
        with self._database.read() as connection:
            body: bytes | None = connection.execute(query).scalar()
        if body is None:
            raise unknown_artefact(sha256)
        return checked_body(body, sha256, self._database.name)

    def add_predictor(
        self,
        target: str,
        space: str,
        model: str,
        sha256: str,
        provenance: Mapping[str, Any],
        created_at: str,
        *,
        reference: str | None = None,
    ) -> int:
        """Insert a predictor; its artefact is there already."""
        row = {
            "target": target,
            "space": space,
            "model": model,
            "artefact": sha256,
            "reference": reference,
            "provenance": canonical_json(provenance),
            "created_at": created_at,
        }
        with self._database.write() as connection:
            require_artefact(connection, sha256)
            inserted = insert(schema.predictors).values(**row).returning(schema.predictors.c.id)
            return int(connection.execute(inserted).scalar_one())

    def latest_predictor(self, target: str, space: str) -> str | None:
        """Digest of the newest predictor of a target and space."""
        columns = schema.predictors.c
        fitting = select(columns.artefact).where(columns.target == target, columns.space == space)
        with self._database.read() as connection:
            found: str | None = connection.execute(
                fitting.order_by(columns.id.desc()).limit(1)
            ).scalar()
        return found
