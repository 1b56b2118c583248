"""What every store promises: values in, values out, and nothing stored is ever replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, overload

from devices.device import Device
from devices.measurement import Measurement, SubjectKind
from nas.jobs import Agent, Job, JobItem, Lease
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
from predictors.predictor import LatencyTable


class Store(Protocol):
    """Append-only memory of all runs, shared by processes.

    Each method is one transaction: it happened entirely or not at all, whenever the process is
    killed. Times are ISO 8601 in UTC and come from the caller. What the store returns is what it
    would return after a restart, so that a resumed run decides as the interrupted one.

    Every method raises StoreError if the database refuses or is damaged.
    """

    def close(self) -> None:
        """Let go of the database; the store is not used afterwards."""

    def add_device(self, device: Device, created_at: str | None = None) -> None:
        """Remember a device; the facts of a known one are replaced, its time is kept."""

    def devices(self) -> list[Device]:
        """All devices by name."""

    def open_run(self, run_id: str, request: str, created_at: str) -> RunRecord:
        """Start a run in state `running`; its baseline is the newest measurement so far.

        Raises:
            StoreError: If a run of that name exists.
        """

    def run(self, run_id: str) -> RunRecord:
        """The run of that name, or the only one whose name starts so.

        Raises:
            UnknownNameError: If there is none, or more than one.
        """

    def runs(self) -> list[RunRecord]:
        """All runs, newest first."""

    def finish_run(
        self, run_id: str, state: RunState, result: str | None, finished_at: str | None
    ) -> None:
        """Set how a run stands; a resumed one goes back to `running`, without result and time.

        Raises:
            UnknownNameError: If there is no such run.
        """

    def add_batch(self, run_id: str, number: int, stage: Stage, subjects: Sequence[str]) -> None:
        """Append a decided batch, all slots open.

        Raises:
            UnknownNameError: If there is no such run.
            StoreError: If the run has a batch of that number.
        """

    def batches(self, run_id: str) -> list[Batch]:
        """The batches of a run in order, with the outcomes there are.

        Raises:
            UnknownNameError: If there is no such run.
        """

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
        """Fill an open slot and return the outcome as stored: go on with that one.

        A measurement that is stored already, as one that an agent sent, is not stored again.

        Raises:
            StoreError: If there is no such slot or it has an outcome; nothing is stored then.
        """

    def add_measurements(self, measurements: Sequence[Measurement]) -> list[int]:
        """Append measurements of no run; all or none. Returns their numbers in order."""

    def add_missing_measurements(self, measurements: Sequence[Measurement]) -> list[int]:
        """Append those of no run that are not there yet, so that importing twice stores once.

        The same are those of one subject and target that one process took at one time. Returns
        the numbers of the added ones in order.
        """

    def measurements(
        self,
        target: str,
        *,
        kind: SubjectKind | None = None,
        space: str | None = None,
        up_to_id: int | None = None,
        reference: str | None = None,
    ) -> list[StoredMeasurement]:
        """What was measured on a target, in the order of storing.

        Args:
            target: Key of the target.
            kind: Only networks or only blocks.
            space: Only networks of this space.
            up_to_id: Nothing newer, such as a run's baseline.
            reference: Only those paired with the reference network of this digest.
        """

    def add_artefact(self, body: bytes, media_type: str, created_at: str | None = None) -> str:
        """Keep bytes under their SHA-256, which is returned; equal bytes are kept once."""

    def artefact(self, sha256: str) -> bytes:
        """The bytes of that digest, checked against it.

        Raises:
            UnknownNameError: If there are none.
            StoreError: If they were altered.
        """

    def name_artefact(self, run_id: str, name: str, sha256: str) -> None:
        """Name an artefact within a run; the same again changes nothing.

        Raises:
            UnknownNameError: If there is no such run or artefact.
            StoreError: If the run gave the name to another artefact.
        """

    def run_artefacts(self, run_id: str) -> dict[str, str]:
        """SHA-256 of each artefact of a run by name.

        Raises:
            UnknownNameError: If there is no such run.
        """

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
        """Register a fitted predictor, kept as an artefact; returns its number.

        Args:
            target: Key of the target it predicts for.
            space: Name of the space.
            model: Name of the predictor plug-in.
            sha256: The artefact that holds it.
            provenance: What it was fitted on (JSON values).
            created_at: When it was fitted.
            reference: Digest of the reference network its ratios are for.

        Raises:
            UnknownNameError: If there is no such artefact.
        """

    def latest_predictor(self, target: str, space: str) -> str | None:
        """SHA-256 of the predictor registered last for a target and space."""

    # --- Latency tables ------------------------------------------------------------------------

    def add_latency_table(self, table: LatencyTable, created_at: str) -> int:
        """Append a table of latencies and return its number.

        A table that is the newest of its space and target already is not stored again; the first
        provenance of it stays.
        """

    def latency_tables(
        self, space: str | None = None, target: str | None = None, stored_by: str | None = None
    ) -> list[LatencyTable]:
        """The newest table of each space and target, in the order of storing.

        Args:
            space: Only tables of this space.
            target: Only tables of this target.
            stored_by: As it was at this time, such as when a run was opened.
        """

    # --- Agents and their jobs -----------------------------------------------------------------
    # Times of agents and leases may have any zone; they are kept, and compared, in UTC. A text
    # that is no time raises UsageError.

    def add_agent(self, agent: Agent) -> None:
        """Remember an agent; what was known of one with its name is replaced."""

    def agents(self) -> list[Agent]:
        """All agents by name. Claims, heartbeats and outcomes renew when one was last seen."""

    def add_job(
        self,
        target: str,
        plan: Mapping[str, Any],
        alone: bool,
        owner: str,
        items: Sequence[JobItem],
        created_at: str,
    ) -> int:
        """Append a job, all its items open, and return its number; see `Job` for the arguments.

        Raises:
            UsageError: If the target is none.
            UnknownNameError: If the layer graph of an item is no artefact.
        """

    def job(self, job_id: int, now: str | None = None) -> Job:
        """The job of that number.

        Args:
            job_id: Its number.
            now: Leases that have run out by then do not count; without it every lease does.

        Raises:
            UnknownNameError: If there is none.
        """

    def jobs(
        self, device: str | None = None, now: str | None = None, owner: str | None = None
    ) -> list[Job]:
        """All jobs, or those of a device or owner, in the order they were added.

        `now` is as for `job`.
        """

    def job_item(self, job_id: int, position: int) -> tuple[str, JobItem]:
        """Key of the target of a job, and its item of that position.

        Raises:
            UnknownNameError: If there is no such job.
            UsageError: If it has no such item.
        """

    def claim_job(self, agent_id: str, now: str, expires_at: str, token: str) -> Lease | None:
        """Lease the oldest job of the agent's device that has open items and no living lease.

        Several agents may claim at once; each job goes to one of them.

        Args:
            agent_id: Who claims.
            now: The present time; leases that end by then have run out.
            expires_at: The end of the new lease.
            token: Secret of the new lease.

        Returns:
            None if there is nothing to do.

        Raises:
            UnknownNameError: If there is no such agent.
        """

    def extend_lease(self, job_id: int, token: str, now: str, expires_at: str) -> None:
        """Let a living lease end at another time.

        Raises:
            UnknownNameError: If there is no such job.
            StaleLeaseError: If the lease has run out, was taken over, or the job was cancelled.
        """

    def add_job_outcome(
        self, job_id: int, token: str, position: int, outcome: Measurement | Failure, now: str
    ) -> StoredMeasurement | Failure:
        """Fill an open item under a living lease and return the outcome as stored.

        An item that has an outcome keeps it, and it is returned: an agent that heard no answer
        may send again.

        Raises:
            UnknownNameError: If there is no such job.
            StaleLeaseError: If the lease has run out, was taken over, or the job was cancelled.
            UsageError: If there is no such item, or the measurement is of something else.
        """

    def cancel_job(self, job_id: int) -> None:
        """Give up the open items of a job; outcomes stay, and its lease becomes stale.

        Raises:
            UnknownNameError: If there is no such job.
        """
