"""Whatever agents do and whenever leases run out: no outcome is lost, none is stored twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from devices.measurement import Measurement, Samples
from nas.errors import StaleLeaseError
from nas.jobs import Agent, JobItem, Lease
from nas.store import SqlStore
from nas.trial import Failure, StoredMeasurement

pytestmark = pytest.mark.slow

START = datetime(2026, 1, 2, tzinfo=UTC)
LEASE_S = 60
DEVICES = {"a1": "pi", "a2": "pi", "b1": "phone"}
SAMPLES = Samples((1.0,), (1.0,), (1.0,), (1.0,))


@dataclass
class Expected:
    """What a job should be.

    Attributes:
        device: Where it runs.
        outcomes: A word for the first outcome of each item.
        token: Of the last claim.
        end: When its lease ends [s].
        cancelled: Whether it was.
    """

    device: str
    outcomes: list[str | None]
    token: str = ""
    end: int = 0
    cancelled: bool = False
    tokens: list[str] = field(default_factory=list)


class Leases(RuleBasedStateMachine):
    """A store, and what we expect of it, by a clock that only the test moves."""

    leases: Bundle[Lease] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.store = SqlStore.in_memory()
        self.seconds = 0
        self.count = 0
        self.jobs: dict[int, Expected] = {}
        for name, device in DEVICES.items():
            self.store.add_agent(Agent(name, device, {}, (), "1", self.now()))
        self.graph = self.store.add_artefact(b"{}", "application/json")

    def teardown(self) -> None:
        """Close the store."""
        self.store.close()

    def now(self, later_s: int = 0) -> str:
        """The time of the test's clock."""
        return (START + timedelta(seconds=self.seconds + later_s)).isoformat()

    def living(self, lease: Lease) -> bool:
        """Whether the store should accept the lease."""
        job = self.jobs[lease.job.id]
        return not job.cancelled and job.token == lease.token and job.end > self.seconds

    @rule(device=st.sampled_from(["pi", "phone"]), count=st.integers(1, 3))
    def add_job(self, device: str, count: int) -> None:
        """Somebody wants networks measured."""
        target = f"{device}:ort-fp32-t1"
        number = len(self.jobs) + 1
        items = [
            JobItem(f"toy:{number}-{position}", "network", "d", self.graph)
            for position in range(count)
        ]
        assert self.store.add_job(target, {}, False, "me", items, self.now()) == number
        self.jobs[number] = Expected(device, [None] * count)

    @rule(seconds=st.sampled_from([1, 20, 59, 60, 61]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.seconds += seconds

    @rule(target=leases, agent=st.sampled_from(sorted(DEVICES)))
    def claim(self, agent: str) -> Lease | MultipleResults[Lease]:
        """An agent asks for work."""
        self.count += 1
        token = f"t{self.count}"
        waiting = [
            number
            for number, job in self.jobs.items()
            if job.device == DEVICES[agent]
            and not job.cancelled
            and job.end <= self.seconds
            and None in job.outcomes
        ]
        lease = self.store.claim_job(agent, self.now(), self.now(LEASE_S), token)
        assert (lease.job.id if lease else None) == min(waiting, default=None)
        if lease is None:
            return multiple()
        job = self.jobs[lease.job.id]
        assert lease.job.open_items == [n for n, one in enumerate(job.outcomes) if one is None]
        job.token, job.end = token, self.seconds + LEASE_S
        return lease

    @rule(lease=leases)
    def heartbeat(self, lease: Lease) -> None:
        """An agent is still there."""
        if self.living(lease):
            self.store.extend_lease(lease.job.id, lease.token, self.now(), self.now(LEASE_S))
            self.jobs[lease.job.id].end = self.seconds + LEASE_S
        else:
            with pytest.raises(StaleLeaseError):
                self.store.extend_lease(lease.job.id, lease.token, self.now(), self.now(LEASE_S))

    @rule(lease=leases, position=st.integers(0, 2), fails=st.booleans())
    def send(self, lease: Lease, position: int, fails: bool) -> None:
        """An agent sends an outcome, be it the first time or again."""
        job = self.jobs[lease.job.id]
        position %= len(job.outcomes)
        self.count += 1
        word = f"o{self.count}"
        outcome: Measurement | Failure = Failure(word)
        if not fails:
            item = lease.job.items[position]
            outcome = Measurement(
                item.subject, "network", "d", lease.job.target, SAMPLES, "r", word, {}, self.now()
            )
        place = (lease.job.id, lease.token, position)
        if self.living(lease):
            job.outcomes[position] = job.outcomes[position] or word
            stored = self.store.add_job_outcome(*place, outcome, self.now())
            assert _word(stored) == job.outcomes[position]
        else:
            with pytest.raises(StaleLeaseError):
                self.store.add_job_outcome(*place, outcome, self.now())

    @rule(lease=consumes(leases))
    def cancel(self, lease: Lease) -> None:
        """Somebody gives up."""
        self.store.cancel_job(lease.job.id)
        self.jobs[lease.job.id].cancelled = True

    @invariant()
    def jobs_are_as_expected(self) -> None:
        """Every outcome that was accepted is there, and is the first one."""
        stored = {job.id: job for job in self.store.jobs(now=self.now())}
        assert list(stored) == list(self.jobs)
        for number, job in self.jobs.items():
            assert [_word(item.outcome) for item in stored[number].items] == job.outcomes
            if None not in job.outcomes:
                state = "done"
            elif job.cancelled:
                state = "cancelled"
            else:
                state = "leased" if job.end > self.seconds else "open"
            assert stored[number].state == state

    @invariant()
    def nothing_was_measured_twice(self) -> None:
        """Measurements are those that items hold, each once."""
        held = [
            item.outcome
            for job in self.store.jobs()
            for item in job.items
            if isinstance(item.outcome, StoredMeasurement)
        ]
        stored = [
            row
            for device in ("pi", "phone")
            for row in self.store.measurements(f"{device}:ort-fp32-t1")
        ]
        assert sorted(held, key=lambda row: row.id) == sorted(stored, key=lambda row: row.id)


def _word(outcome: StoredMeasurement | Failure | None) -> str | None:
    if isinstance(outcome, StoredMeasurement):
        return outcome.measurement.occasion
    return None if outcome is None else outcome.reason


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=20, stateful_step_count=30)
