"""Runs, their batches and the outcomes of slots in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, overload

from sqlalchemy import Connection, exists, func, insert, select, update

from devices.measurement import Measurement
from nas.errors import StoreError
from nas.store import schema
from nas.store.measured import insert_measurements, load_environments
from nas.store.part import Part, has, require_artefact
from nas.store.rows import estimate_row, read_estimate, read_measurement, storable_text
from nas.trial import (
    Batch,
    Estimate,
    Failure,
    Outcome,
    RunRecord,
    RunState,
    Stage,
    StoredMeasurement,
)
from search_spaces.errors import UnknownNameError

_KNOWN_SHOWN = 20


class SqlRuns(Part):
    """The runs of a store; `Store` says what the methods promise."""

    def open_run(self, run_id: str, request: str, created_at: str) -> RunRecord:
        """Insert a run in state `running`."""
        with self._database.write() as connection:
            if has(connection, schema.runs, id=run_id):
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

    def add_batch(self, run_id: str, number: int, stage: Stage, subjects: Sequence[str]) -> None:
        """Insert a batch and its open slots."""
        with self._database.write() as connection:
            _require_run(connection, run_id)
            if has(connection, schema.batches, run_id=run_id, number=number):
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
        columns = (
            slots.c.batch_number,
            slots.c.subject.label("slot_subject"),
            slots.c.failure,
            slots.c.estimate,
        )
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
        self, run_id: str, batch: int, slot: int, outcome: Measurement | StoredMeasurement
    ) -> StoredMeasurement: ...
    @overload
    def add_outcome(self, run_id: str, batch: int, slot: int, outcome: Estimate) -> Estimate: ...
    @overload
    def add_outcome(self, run_id: str, batch: int, slot: int, outcome: Failure) -> Failure: ...
    def add_outcome(
        self, run_id: str, batch: int, slot: int, outcome: Measurement | Outcome
    ) -> Outcome:
        """Insert the measurement, if it is one, and fill the slot in one transaction."""
        columns = schema.slots.c
        place = (
            (columns.run_id == run_id) & (columns.batch_number == batch) & (columns.slot == slot)
        )
        is_open = (
            columns.measurement_id.is_(None)
            & columns.failure.is_(None)
            & columns.estimate.is_(None)
        )
        stored: Outcome
        with self._database.write() as connection:
            values: dict[str, object]
            if isinstance(outcome, Failure):
                stored = Failure(storable_text(outcome.reason))
                values = {"failure": stored.reason}
            elif isinstance(outcome, Estimate):
                text, stored = estimate_row(outcome)
                values = {"estimate": text}
            else:
                # An agent's measurement was stored when it arrived.
                [stored] = (
                    [outcome]
                    if isinstance(outcome, StoredMeasurement)
                    else insert_measurements(connection, [outcome])
                )
                values = {"measurement_id": stored.id}
            filled = update(schema.slots).where(place & is_open).values(**values)
            if connection.execute(filled).rowcount != 1:
                there = connection.execute(select(exists().where(place))).scalar_one()
                why = "has an outcome already; outcomes are never replaced"
                msg = f"slot {slot} of batch {batch} of run {run_id!r} "
                raise StoreError(msg + (why if there else "does not exist; add its batch first"))
        return stored

    def name_artefact(self, run_id: str, name: str, sha256: str) -> None:
        """Insert a name of an artefact within a run."""
        table = schema.run_artefacts
        named = select(table.c.sha256).where(table.c.run_id == run_id, table.c.name == name)
        with self._database.write() as connection:
            _require_run(connection, run_id)
            require_artefact(connection, sha256)
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


def _outcome(
    row: Mapping[str, Any], environments: Mapping[str, Mapping[str, Any]]
) -> Outcome | None:
    if row["id"] is not None:
        return read_measurement(row, environments)
    if row["estimate"] is not None:
        return read_estimate(row["estimate"], f"the estimate of {row['slot_subject']}")
    return None if row["failure"] is None else Failure(row["failure"])


def _require_run(connection: Connection, run_id: str) -> None:
    if not has(connection, schema.runs, id=run_id):
        raise _unknown_run(connection, run_id)


def _unknown_run(
    connection: Connection, run_id: str, ambiguous: Sequence[str] = ()
) -> UnknownNameError:
    if ambiguous:
        names = ", ".join(ambiguous[:_KNOWN_SHOWN])
        return UnknownNameError(f"{run_id!r} begins several runs; write more of one: {names}")
    newest = select(schema.runs.c.id).order_by(schema.runs.c.created_at.desc())
    known = connection.execute(newest.limit(_KNOWN_SHOWN)).scalars()
    return UnknownNameError.of("run", run_id, known)
