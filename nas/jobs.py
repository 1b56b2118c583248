"""Values of measuring elsewhere: agents, the jobs they claim, and the leases they hold.

A job is a list of networks for one target. An agent claims it under a lease, sends each outcome as
it ends, and extends the lease by heartbeats; when a lease runs out another agent, or the same one
after a crash, goes on with the open items. Nothing measured is ever lost or taken twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from devices.measurement import SubjectKind
from nas.trial import Failure, StoredMeasurement

JobState = Literal["open", "leased", "done", "cancelled"]


@dataclass(frozen=True, slots=True)
class Agent:
    """A process that measures on a device we cannot reach ourselves.

    Attributes:
        id: Unique, made by the agent when it first starts.
        device: Name of the device it runs on.
        facts: What the agent found out about the device (JSON values).
        runtimes: Runtimes it can measure with.
        version: Of our software.
        last_seen_at: ISO 8601 in UTC.
    """

    id: str
    device: str
    facts: Mapping[str, Any]
    runtimes: tuple[str, ...]
    version: str
    last_seen_at: str


@dataclass(frozen=True, slots=True)
class JobItem:
    """One network or block of a job.

    Attributes:
        subject: Architecture key, or `block:` and a digest.
        kind: Whole network or block.
        digest: Digest of its layer graph; the agent checks it.
        graph: SHA-256 of the artefact that holds the layer graph as JSON.
        outcome: What became of it; None while it is open.
    """

    subject: str
    kind: SubjectKind
    digest: str
    graph: str
    outcome: StoredMeasurement | Failure | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Networks to measure on one target.

    Attributes:
        id: Number given by the store.
        target: Key of the target.
        plan: Fields of `devices.benchmark.Plan`.
        alone: Each item in a process of its own, loaded first, as verification wants it.
        owner: Who asks.
        items: In order.
        state: `leased` while an agent holds a lease that has not run out.
        created_at: ISO 8601 in UTC.
    """

    id: int
    target: str
    plan: Mapping[str, Any]
    alone: bool
    owner: str
    items: tuple[JobItem, ...]
    state: JobState
    created_at: str

    @property
    def open_items(self) -> list[int]:
        """Positions still without an outcome."""
        return [position for position, item in enumerate(self.items) if item.outcome is None]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one agent to work on a job for a while.

    Attributes:
        job: The job as it was when it was claimed.
        token: Secret of this claim; outcomes sent with another one are refused as stale.
        expires_at: ISO 8601 in UTC.
    """

    job: Job
    token: str
    expires_at: str
