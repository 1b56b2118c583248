"""Agents, their jobs and leases in SQL.

Only one process writes at a time (see `Database`), so what is read in a transaction that writes
still holds when it ends: two agents never get one job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, or_, select, update

from devices.device import Target
from devices.measurement import Measurement
from nas.errors import StaleLeaseError, StoreError
from nas.jobs import Agent, Job, JobItem, JobState, Lease
from nas.store import schema
from nas.store.measured import insert_measurements, load_environments
from nas.store.part import Part, require_artefact
from nas.store.rows import canonical_json, read_json, read_measurement, storable_text
from nas.times import uniform_time
from nas.trial import Failure, StoredMeasurement
from search_spaces.errors import UnknownNameError, UsageError

_OPEN = schema.job_items.c.measurement_id.is_(None) & schema.job_items.c.failure.is_(None)


class SqlJobs(Part):
    """The agents and jobs of a store; `Store` says what the methods promise."""

    # --- Agents --------------------------------------------------------------------------------

    def add_agent(self, agent: Agent) -> None:
        """Insert an agent or replace what was known of it."""
        table = schema.agents
        values = {
            "device": agent.device,
            "facts": canonical_json(agent.facts),
            "runtimes": json.dumps(list(agent.runtimes)),
            "version": agent.version,
            "last_seen_at": uniform_time(agent.last_seen_at),
        }
        with self._database.write() as connection:
            known = update(table).where(table.c.id == agent.id).values(**values)
            if connection.execute(known).rowcount == 0:
                connection.execute(insert(table), {"id": agent.id, **values})

    def agents(self) -> list[Agent]:
        """All agents by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(schema.agents).order_by(schema.agents.c.id)).all()
        return [_agent(row._asdict()) for row in rows]

    # --- Jobs ----------------------------------------------------------------------------------

    def add_job(
        self,
        target: str,
        plan: Mapping[str, Any],
        alone: bool,
        owner: str,
        items: Sequence[JobItem],
        created_at: str,
    ) -> int:
        """Insert a job and its open items."""
        head = {
            "device": Target.parse(target).device,
            "target": target,
            "plan": canonical_json(plan),
            "alone": alone,
            "owner": owner,
            "cancelled": False,
            "created_at": uniform_time(created_at),
        }
        jobs = schema.jobs
        with self._database.write() as connection:
            for graph in dict.fromkeys(item.graph for item in items):
                require_artefact(connection, graph)
            inserted = insert(jobs).values(**head).returning(jobs.c.id)
            job_id = int(connection.execute(inserted).scalar_one())
            rows = [
                {
                    "job_id": job_id,
                    "position": position,
                    "subject": item.subject,
                    "kind": item.kind,
                    "digest": item.digest,
                    "graph": item.graph,
                }
                for position, item in enumerate(items)
            ]
            if rows:
                connection.execute(insert(schema.job_items), rows)
        return job_id

    def job(self, job_id: int, now: str | None = None) -> Job:
        """The job of that number."""
        with self._database.read() as connection:
            found = _load(connection, now, schema.jobs.c.id == job_id)
        if not found:
            raise _unknown_job(job_id)
        return found[0]

    def jobs(
        self, device: str | None = None, now: str | None = None, owner: str | None = None
    ) -> list[Job]:
        """The jobs of a device or owner, or all, in the order they were added."""
        columns = schema.jobs.c
        wanted = {"device": device, "owner": owner}
        conditions = [columns[name] == value for name, value in wanted.items() if value is not None]
        with self._database.read() as connection:
            return _load(connection, now, *conditions)

    def job_item(self, job_id: int, position: int) -> tuple[str, JobItem]:
        """Target and item of that position."""
        with self._database.read() as connection:
            return _item(connection, job_id, position)

    def cancel_job(self, job_id: int) -> None:
        """Mark a job cancelled and take the lease away."""
        jobs = schema.jobs
        values = {"cancelled": True, **_no_lease()}
        with self._database.write() as connection:
            cancelled = update(jobs).where(jobs.c.id == job_id).values(**values)
            if connection.execute(cancelled).rowcount == 0:
                raise _unknown_job(job_id)

    # --- Leases --------------------------------------------------------------------------------

    def claim_job(self, agent_id: str, now: str, expires_at: str, token: str) -> Lease | None:
        """Lease the oldest job of the agent's device that has open items and no living lease."""
        now, expires_at = uniform_time(now), uniform_time(expires_at)
        jobs, items, agents = schema.jobs, schema.job_items, schema.agents
        own = select(agents.c.device).where(agents.c.id == agent_id)
        lease = {"lease_agent": agent_id, "lease_token": token, "lease_expires_at": expires_at}
        with self._database.write() as connection:
            device = connection.execute(own).scalar()
            if device is None:
                msg = f"unknown agent {agent_id!r}; it must say hello before it claims"
                raise UnknownNameError(msg)
            _see(connection, agent_id, now)
            waiting = (
                select(jobs.c.id)
                .where(
                    jobs.c.device == device,
                    jobs.c.cancelled.is_(False),
                    or_(jobs.c.lease_expires_at.is_(None), jobs.c.lease_expires_at <= now),
                    jobs.c.id.in_(select(items.c.job_id).where(_OPEN)),
                )
                .order_by(jobs.c.id)
                .limit(1)
            )
            job_id = connection.execute(waiting).scalar()
            if job_id is None:
                return None
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**lease))
            [job] = _load(connection, now, jobs.c.id == job_id)
        return Lease(job, token, expires_at)

    def extend_lease(self, job_id: int, token: str, now: str, expires_at: str) -> None:
        """Set the end of a living lease."""
        now, expires_at = uniform_time(now), uniform_time(expires_at)
        jobs = schema.jobs
        with self._database.write() as connection:
            _require_lease(connection, job_id, token, now)
            extended = update(jobs).where(jobs.c.id == job_id)
            connection.execute(extended.values(lease_expires_at=expires_at))

    def add_job_outcome(
        self, job_id: int, token: str, position: int, outcome: Measurement | Failure, now: str
    ) -> StoredMeasurement | Failure:
        """Insert the measurement, if it is one, and fill the item in one transaction."""
        now = uniform_time(now)
        items = schema.job_items
        place = (items.c.job_id == job_id) & (items.c.position == position)
        stored: StoredMeasurement | Failure
        with self._database.write() as connection:
            _require_lease(connection, job_id, token, now)
            target, item = _item(connection, job_id, position)
            if item.outcome is not None:
                return item.outcome
            values: dict[str, object]
            if isinstance(outcome, Failure):
                stored = Failure(storable_text(outcome.reason))
                values = {"failure": stored.reason}
            else:
                _require_match(outcome, target, item)
                [stored] = insert_measurements(connection, [outcome])
                values = {"measurement_id": stored.id}
            connection.execute(update(items).where(place & _OPEN).values(**values))
        return stored


def _no_lease() -> dict[str, None]:
    return {"lease_agent": None, "lease_token": None, "lease_expires_at": None}


def _see(connection: Connection, agent_id: str, now: str) -> None:
    """An agent that asks for something is there."""
    table = schema.agents
    older = (table.c.id == agent_id) & (table.c.last_seen_at < now)
    connection.execute(update(table).where(older).values(last_seen_at=now))


def _require_lease(connection: Connection, job_id: int, token: str, now: str) -> None:
    """Refuse a token that does not hold the lease now."""
    row = connection.execute(select(schema.jobs).where(schema.jobs.c.id == job_id)).first()
    if row is None:
        raise _unknown_job(job_id)
    why = None
    if row.cancelled:
        why = "was cancelled"
    elif row.lease_token != token:
        why = "is leased to another claim, or to none"
    elif row.lease_expires_at <= now:
        why = f"was leased until {row.lease_expires_at} only"
    if why:
        msg = f"job {job_id} {why}; claim again and go on with what is open then"
        raise StaleLeaseError(msg)
    _see(connection, row.lease_agent, now)


def _require_match(outcome: Measurement, target: str, item: JobItem) -> None:
    given = (outcome.target, outcome.subject, outcome.kind, outcome.digest)
    wanted = (target, item.subject, item.kind, item.digest)
    if given != wanted:
        msg = f"a measurement of {given[:2]} cannot be the outcome of {wanted[:2]}"
        raise UsageError(msg)


def _unknown_job(job_id: int) -> UnknownNameError:
    return UnknownNameError(f"there is no job {job_id}; a claim tells the number of a job")


# --- Reading -----------------------------------------------------------------------------------


def _load(connection: Connection, now: str | None, *wanted: ColumnElement[bool]) -> list[Job]:
    """Jobs with their items, in three queries however many there are."""
    jobs = schema.jobs
    moment = None if now is None else uniform_time(now)
    heads = connection.execute(select(jobs).where(*wanted).order_by(jobs.c.id)).all()
    filled: dict[int, list[JobItem]] = {row.id: [] for row in heads}
    of_these = schema.job_items.c.job_id.in_(select(jobs.c.id).where(*wanted))
    for job_id, item in _items(connection, of_these):
        filled[job_id].append(item)
    return [_job(row, filled[row.id], moment) for row in heads]


def _items(connection: Connection, wanted: ColumnElement[bool]) -> list[tuple[int, JobItem]]:
    """Items by job and position, each with the number of its job."""
    items, measured = schema.job_items, schema.measurements
    joined = items.outerjoin(measured, items.c.measurement_id == measured.c.id)
    named = [
        items.c[name].label(f"item_{name}")
        for name in ("job_id", "subject", "kind", "digest", "graph", "failure")
    ]
    query = select(*named, measured).select_from(joined).where(wanted)
    rows = connection.execute(query.order_by(items.c.job_id, items.c.position)).all()
    environments = load_environments(
        connection, select(measured.c.environment).select_from(joined).where(wanted)
    )
    return [(row.item_job_id, _read_item(row._asdict(), environments)) for row in rows]


def _item(connection: Connection, job_id: int, position: int) -> tuple[str, JobItem]:
    jobs, items = schema.jobs, schema.job_items
    head = connection.execute(select(jobs.c.target).where(jobs.c.id == job_id)).first()
    if head is None:
        raise _unknown_job(job_id)
    found = _items(connection, (items.c.job_id == job_id) & (items.c.position == position))
    if not found:
        count = connection.execute(
            select(func.count()).select_from(items).where(items.c.job_id == job_id)
        ).scalar_one()
        msg = f"job {job_id} has no item {position}; it has {count}, counted from 0"
        raise UsageError(msg)
    return head.target, found[0][1]


def _read_item(row: Mapping[str, Any], environments: Mapping[str, Mapping[str, Any]]) -> JobItem:
    outcome: StoredMeasurement | Failure | None = None
    if row["id"] is not None:
        outcome = read_measurement(row, environments)
    elif row["item_failure"] is not None:
        outcome = Failure(row["item_failure"])
    return JobItem(
        subject=row["item_subject"],
        kind=row["item_kind"],
        digest=row["item_digest"],
        graph=row["item_graph"],
        outcome=outcome,
    )


def _job(row: Row[Any], items: Sequence[JobItem], now: str | None) -> Job:
    return Job(
        id=row.id,
        target=row.target,
        plan=read_json(row.plan, f"the plan of job {row.id}"),
        alone=row.alone,
        owner=row.owner,
        items=tuple(items),
        state=_state(row, items, now),
        created_at=row.created_at,
    )


def _state(row: Row[Any], items: Sequence[JobItem], now: str | None) -> JobState:
    if all(item.outcome is not None for item in items):
        return "done"
    if row.cancelled:
        return "cancelled"
    leased = row.lease_expires_at is not None and (now is None or row.lease_expires_at > now)
    return "leased" if leased else "open"


def _agent(row: Mapping[str, Any]) -> Agent:
    where = f"agent {row['id']}"
    try:
        runtimes = tuple(json.loads(row["runtimes"]))
    except (TypeError, ValueError) as error:
        msg = f"{where} is damaged ({error}); restore a copy of the database"
        raise StoreError(msg) from error
    return Agent(**{**row, "facts": read_json(row["facts"], where), "runtimes": runtimes})
