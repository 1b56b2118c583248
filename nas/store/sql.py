"""The store in an SQL database: one SQLite file by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, overload

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    exists,
    func,
    insert,
    select,
    update,
)

from devices.device import Device
from devices.measurement import Measurement, SubjectKind
from nas.errors import StoreError
from nas.store import schema
from nas.store.database import Database
from nas.store.measured import insert_measurements, load_environments
from nas.store.rows import (
    canonical_json,
    digest_of,
    read_json,
    read_measurement,
    storable_text,
)
from nas.store.store import Store
from nas.trial import Batch, Failure, Outcome, RunRecord, RunState, Stage, StoredMeasurement
from search_spaces.errors import UnknownNameError

_KNOWN_SHOWN = 20


class SqlStore(Store):
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

    # --- Runs ----------------------------------------------------------------------------------

    def open_run(self, run_id: str, request: str, created_at: str) -> RunRecord:
        """Insert a run in state `running`."""
        with self._database.write() as connection:
            if _has(connection, schema.runs, id=run_id):
                msg = f"there is a run {run_id!r} already; resume it or give another name"
                raise StoreError(msg)
            newest = select(func.coalesce(func.max(schema.measurements.c.id), 0))
            baseline_id = connection.execute(newest).scalar_one()
            record = RunRecord(run_id, request, baseline_id, "running", None, created_at, None)
            connection.execute(insert(schema.runs), asdict(record))
        return record

    def run(self, run_id: str) -> RunRecord:
        """The run of that name or unique beginning."""
        ids = schema.runs.c.id
        # Not LIKE: SQLite ignores case there.
        named = func.substr(ids, 1, len(run_id)) == run_id
        with self._database.read() as connection:
            rows = connection.execute(select(schema.runs).where(named).order_by(ids))
            records = [RunRecord(**row._asdict()) for row in rows] if run_id else []
            exact = [record for record in records if record.id == run_id]
            if len(exact or records) != 1:
                raise _unknown_run(connection, run_id, [record.id for record in records])
        return (exact or records)[0]

    def runs(self) -> list[RunRecord]:
        """All runs, newest first."""
        columns = schema.runs.c
        query = select(schema.runs).order_by(columns.created_at.desc(), columns.id.desc())
        with self._database.read() as connection:
            return [RunRecord(**row._asdict()) for row in connection.execute(query)]

    def finish_run(
        self, run_id: str, state: RunState, result: str | None, finished_at: str | None
    ) -> None:
        """Set state, result and end of a run."""
        values = {"state": state, "result": result, "finished_at": finished_at}
        with self._database.write() as connection:
            _require_run(connection, run_id)
            connection.execute(
                update(schema.runs).where(schema.runs.c.id == run_id).values(**values)
            )

    # --- Batches -------------------------------------------------------------------------------

    def add_batch(self, run_id: str, number: int, stage: Stage, subjects: Sequence[str]) -> None:
        """Insert a batch and its open slots."""
        with self._database.write() as connection:
            _require_run(connection, run_id)
            if _has(connection, schema.batches, run_id=run_id, number=number):
                msg = f"run {run_id!r} has a batch {number} already; batches are never replaced"
                raise StoreError(msg)
            batch = {"run_id": run_id, "number": number, "stage": stage}
            connection.execute(insert(schema.batches), batch)
            slots = [
                {"run_id": run_id, "batch_number": number, "slot": slot, "subject": subject}
                for slot, subject in enumerate(subjects)
            ]
            if slots:
                connection.execute(insert(schema.slots), slots)

    def batches(self, run_id: str) -> list[Batch]:
        """The batches of a run, in three queries however many there are."""
        heads, slots, measured = schema.batches, schema.slots, schema.measurements
        own = slots.c.run_id == run_id
        joined = slots.outerjoin(measured, slots.c.measurement_id == measured.c.id)
        columns = (slots.c.batch_number, slots.c.subject.label("slot_subject"), slots.c.failure)
        query = select(*columns, measured).select_from(joined).where(own)
        with self._database.read() as connection:
            _require_run(connection, run_id)
            found = connection.execute(
                select(heads.c.number, heads.c.stage)
                .where(heads.c.run_id == run_id)
                .order_by(heads.c.number)
            ).all()
            rows = connection.execute(query.order_by(slots.c.batch_number, slots.c.slot))
            filled: dict[int, list[tuple[str, Outcome | None]]] = {row.number: [] for row in found}
            environments = load_environments(
                connection, select(measured.c.environment).select_from(joined).where(own)
            )
            for row in rows:
                outcome = _outcome(row._asdict(), environments)
                filled[row.batch_number].append((row.slot_subject, outcome))
        return [
            Batch(
                number=row.number,
                stage=row.stage,
                subjects=tuple(subject for subject, _ in filled[row.number]),
                outcomes=tuple(outcome for _, outcome in filled[row.number]),
            )
            for row in found
        ]

    @overload
    def add_outcome(
        self, run_id: str, batch: int, slot: int, outcome: Measurement
    ) -> StoredMeasurement: ...
    @overload
    def add_outcome(self, run_id: str, batch: int, slot: int, outcome: Failure) -> Failure: ...
    def add_outcome(
        self, run_id: str, batch: int, slot: int, outcome: Measurement | Failure
    ) -> Outcome:
        """Insert the measurement and fill the slot in one transaction."""
        columns = schema.slots.c
        place = (
            (columns.run_id == run_id) & (columns.batch_number == batch) & (columns.slot == slot)
        )
        is_open = columns.measurement_id.is_(None) & columns.failure.is_(None)
        stored: Outcome
        with self._database.write() as connection:
            values: dict[str, object]
            if isinstance(outcome, Failure):
                stored = Failure(storable_text(outcome.reason))
                values = {"failure": stored.reason}
            else:
                [stored] = insert_measurements(connection, [outcome])
                values = {"measurement_id": stored.id}
            filled = update(schema.slots).where(place & is_open).values(**values)
            if connection.execute(filled).rowcount != 1:
                there = connection.execute(select(exists().where(place))).scalar_one()
                why = "has an outcome already; outcomes are never replaced"
                msg = f"slot {slot} of batch {batch} of run {run_id!r} "
                raise StoreError(msg + (why if there else "does not exist; add its batch first"))
        return stored

    # --- Measurements --------------------------------------------------------------------------

    def add_measurements(self, measurements: Sequence[Measurement]) -> list[int]:
        """Insert measurements in one transaction."""
        with self._database.write() as connection:
            return [stored.id for stored in insert_measurements(connection, measurements)]

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
        sha256 = digest_of(body)
        with self._database.write() as connection:
            if not _has(connection, schema.artefacts, sha256=sha256):
                row = {"sha256": sha256, "media_type": media_type, "body": body}
                connection.execute(insert(schema.artefacts), row | {"created_at": created_at})
        return sha256

    def artefact(self, sha256: str) -> bytes:
        """The bytes of a digest, checked."""
        query = select(schema.artefacts.c.body).where(schema.artefacts.c.sha256 == sha256)
        with self._database.read() as connection:
            body: bytes | None = connection.execute(query).scalar()
        if body is None:
            raise _unknown_artefact(sha256)
        if digest_of(body) != sha256:
            msg = f"artefact {sha256} is damaged in {self._database.name}; restore a copy"
            raise StoreError(msg)
        return body

    def name_artefact(self, run_id: str, name: str, sha256: str) -> None:
        """Insert a name of an artefact within a run."""
        table = schema.run_artefacts
        named = select(table.c.sha256).where(table.c.run_id == run_id, table.c.name == name)
        with self._database.write() as connection:
            _require_run(connection, run_id)
            _require_artefact(connection, sha256)
            present = connection.execute(named).scalar()
            if present is None:
                row = {"run_id": run_id, "name": name, "sha256": sha256}
                connection.execute(insert(table), row)
            elif present != sha256:
                msg = f"run {run_id!r} has another {name!r} already; take a new name"
                raise StoreError(msg)

    def run_artefacts(self, run_id: str) -> dict[str, str]:
        """Digests of a run's artefacts by name."""
        table = schema.run_artefacts
        query = select(table.c.name, table.c.sha256).where(table.c.run_id == run_id)
        with self._database.read() as connection:
            _require_run(connection, run_id)
            return {row.name: row.sha256 for row in connection.execute(query.order_by("name"))}

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
            _require_artefact(connection, sha256)
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


def _outcome(
    row: Mapping[str, Any], environments: Mapping[str, Mapping[str, Any]]
) -> Outcome | None:
    if row["id"] is not None:
        return read_measurement(row, environments)
    return None if row["failure"] is None else Failure(row["failure"])


def _has(connection: Connection, table: Table, **key: object) -> bool:
    """Whether the table has a row of that key."""
    row = exists().where(*(table.c[name] == value for name, value in key.items()))
    return bool(connection.execute(select(row)).scalar_one())


def _require_run(connection: Connection, run_id: str) -> None:
    if not _has(connection, schema.runs, id=run_id):
        raise _unknown_run(connection, run_id)


def _require_artefact(connection: Connection, sha256: str) -> None:
    if not _has(connection, schema.artefacts, sha256=sha256):
        raise _unknown_artefact(sha256)


def _unknown_run(
    connection: Connection, run_id: str, ambiguous: Sequence[str] = ()
) -> UnknownNameError:
    if ambiguous:
        names = ", ".join(ambiguous[:_KNOWN_SHOWN])
        return UnknownNameError(f"{run_id!r} begins several runs; write more of one: {names}")
    newest = select(schema.runs.c.id).order_by(schema.runs.c.created_at.desc())
    known = connection.execute(newest.limit(_KNOWN_SHOWN)).scalars()
    return UnknownNameError.of("run", run_id, known)


def _unknown_artefact(sha256: str) -> UnknownNameError:
    return UnknownNameError(f"no artefact has the digest {sha256!r}; store its bytes first")
