"""Measuring elsewhere: agents say hello, claim jobs and send outcomes; or files go to and fro.

What agents measure become measurements like any other, on a target with the agent's device. What
they send is checked in `nas.outcomes`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from devices.benchmark import Plan
from devices.device import Device, Target
from devices.measurement import Measurement, SubjectKind
from nas.jobs import Agent, Job, JobItem, Lease
from nas.outcomes import (
    device_field,
    object_field,
    read_outcome,
    target_field,
    text_field,
    texts_field,
)
from nas.results_file import read_results
from nas.store import Store
from nas.times import uniform_time
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError
from search_spaces.graph import OpGraph
from search_spaces.graph_json import graph_to_json
from search_spaces.space import SearchSpace

LEASE_S = 60.0
"""How long a claim or a heartbeat keeps a job for an agent [s]."""

PACK, PACK_VERSION = "nas-pack", 1

_GRAPH_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Work:
    """Something to measure elsewhere.

    Attributes:
        subject: Architecture key, or `block:` and the first 16 characters of the digest.
        kind: Whole network or block.
        graph: Its layer graph.
    """

    subject: str
    kind: SubjectKind
    graph: OpGraph


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came of a file of results.

    Attributes:
        added: Measurements that are new.
        repeated: Measurements that were stored before.
        failed: Networks and blocks that could not be measured there.
        cut_off: The last line was not finished; the agent was stopped within it.
    """

    added: int
    repeated: int
    failed: int
    cut_off: bool = False


@dataclass(frozen=True)
class Fleet:
    """Use cases of agents and of those who wait for them.

    Attributes:
        store: Where everything is kept.
        now: The present time, with its zone.
        sleep: Waits for seconds.
    """

    store: Store
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep

    # --- What agents ask -----------------------------------------------------------------------

    def hello(
        self,
        agent_id: str,
        device: str,
        facts: Mapping[str, Any],
        runtimes: Sequence[str],
        version: str,
    ) -> Agent:
        """Register an agent and its device; the same agent may say hello again.

        Raises:
            UsageError: If a field is not what it should be.
        """
        given = {"agent_id": agent_id, "device": device, "facts": facts,
                 "runtimes": runtimes, "version": version}  # fmt: skip
        agent = Agent(
            id=text_field(given, "agent_id"),
            device=device_field(given, "device"),
            facts=object_field(given, "facts"),
            runtimes=texts_field(given, "runtimes"),
            version=text_field(given, "version"),
            last_seen_at=self._moment(),
        )
        self.store.add_device(Device(agent.device, agent.facts), agent.last_seen_at)
        self.store.add_agent(agent)
        return agent

    def claim(self, agent_id: str) -> Lease | None:
        """Lease the next job for an agent's device; None if there is nothing to do.

        Raises:
            UnknownNameError: If the agent has not said hello.
        """
        token = secrets.token_urlsafe(24)
        return self.store.claim_job(agent_id, self._moment(), self._moment(LEASE_S), token)

    def offer(self, lease: Lease) -> dict[str, Any]:
        """A lease as it goes to the agent, with the layer graphs of the open items."""
        job = lease.job
        return {
            "job_id": job.id,
            "token": lease.token,
            "lease_s": LEASE_S,
            "target": job.target,
            "plan": dict(job.plan),
            "alone": job.alone,
            "items": [
                _wire_item(
                    position, item.subject, item.kind, item.digest,
                    self.store.artefact(item.graph).decode(),
                )
                for position, item in enumerate(job.items)
                if item.outcome is None
            ],
        }  # fmt: skip

    def heartbeat(self, job_id: int, token: str) -> None:
        """Keep a lease for another `LEASE_S` seconds.

        Raises:
            UnknownNameError: If there is no such job.
            StaleLeaseError: If the lease has run out, was taken over, or the job was cancelled.
        """
        self.store.extend_lease(job_id, token, self._moment(), self._moment(LEASE_S))

    def finish(self, job_id: int, token: str, position: int, outcome: Mapping[str, Any]) -> None:
        """Store what became of one item; sent again, it changes nothing.

        Args:
            job_id: The job.
            token: Of the lease.
            position: Of the item.
            outcome: JSON object; see `nas.outcomes.read_outcome`.

        Raises:
            UnknownNameError: If there is no such job.
            StaleLeaseError: If the lease has run out, was taken over, or the job was cancelled.
            UsageError: If there is no such item, or a field is not what it should be.
        """
        target, item = self.store.job_item(job_id, position)
        read = read_outcome(
            outcome, subject=item.subject, kind=item.kind, digest=item.digest, target=target
        )
        self.store.add_job_outcome(job_id, token, position, read, self._moment())

    # --- What those who wait for measurements ask ----------------------------------------------

    def enqueue(
        self,
        space: SearchSpace,
        archs: Sequence[Architecture],
        target: Target,
        plan: Plan,
        alone: bool = False,
        owner: str = "nas",
    ) -> int:
        """Have networks measured by an agent of the target's device; returns the job's number.

        Args:
            space: Their space.
            archs: The networks; each is measured as its canonical genotype.
            target: Where; not `local`, but the name of the device.
            plan: How long to measure.
            alone: Each in a process of its own, as verification wants it.
            owner: Who asks, told to those who wait.

        Raises:
            UsageError: If there are no networks, one is not of the space, or the device is local.
        """
        return self.enqueue_work(_networks(space, archs), target, plan, alone, owner)

    def enqueue_work(
        self,
        work: Sequence[Work],
        target: Target,
        plan: Plan,
        alone: bool = False,
        owner: str = "nas",
    ) -> int:
        """Have layer graphs measured, such as blocks; as `enqueue`.

        Raises:
            UsageError: If there is no work, or the device is local.
        """
        _require_work(work, target)
        now = self._moment()
        items = [
            JobItem(
                subject=one.subject,
                kind=one.kind,
                digest=one.graph.digest,
                graph=self.store.add_artefact(graph_to_json(one.graph).encode(), _GRAPH_TYPE, now),
            )
            for one in work
        ]
        return self.store.add_job(target.key, asdict(plan), alone, owner, items, now)

    def wait(
        self,
        job_id: int,
        timeout_s: float,
        poll_s: float = 0.5,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Job:
        """Wait until a job is done or cancelled, but no longer than `timeout_s`.

        Args:
            job_id: The job.
            timeout_s: How long in all [s].
            poll_s: How often to look [s].
            on_progress: Called with the number of items that have an outcome, and of all, at
                first and whenever it changes.

        Returns:
            The job as it is then; `open_items` are left if the time was too short.

        Raises:
            UnknownNameError: If there is no such job.
        """
        end = self.now() + timedelta(seconds=timeout_s)
        told = -1
        while True:
            job = self.store.job(job_id, self._moment())
            done = len(job.items) - len(job.open_items)
            if on_progress and done != told:
                on_progress(done, len(job.items))
            told = done
            left = (end - self.now()).total_seconds()
            if job.state in ("done", "cancelled") or left <= 0:
                return job
            self.sleep(min(poll_s, left))

    def alive(self, device: str, within_s: float = 90.0) -> bool:
        """Whether an agent of that device was heard of lately."""
        since = self._moment(-within_s)
        return any(a.device == device and a.last_seen_at >= since for a in self.store.agents())

    # --- Files instead of a network ------------------------------------------------------------

    def pack(
        self,
        space: SearchSpace,
        archs: Sequence[Architecture],
        target: Target,
        plan: Plan,
        alone: bool = False,
    ) -> dict[str, Any]:
        """Networks to measure on a machine without a network, as a JSON document.

        Raises:
            UsageError: If there are no networks, one is not of the space, or the device is local.
        """
        work = _networks(space, archs)
        _require_work(work, target)
        return {
            "format": PACK,
            "version": PACK_VERSION,
            "target": target.key,
            "plan": asdict(plan),
            "alone": alone,
            "items": [
                _wire_item(n, w.subject, w.kind, w.graph.digest, graph_to_json(w.graph))
                for n, w in enumerate(work)
            ],
        }

    def import_results(self, lines: Iterable[str]) -> ImportReport:
        """Store what a pack became, all or nothing; importing it twice stores it once.

        Args:
            lines: JSON lines: target, device and facts, then one for each network or block.

        Raises:
            UsageError: If a line is not what it should be; the message has its number.
        """
        results = read_results(lines)
        measured = [one for one in results.outcomes if isinstance(one, Measurement)]
        added = len(self.store.add_missing_measurements(measured))
        self.store.add_device(results.device, self._moment())
        failed = len(results.outcomes) - len(measured)
        return ImportReport(added, len(measured) - added, failed, results.cut_off)

    def _moment(self, after_s: float = 0.0) -> str:
        return uniform_time(self.now() + timedelta(seconds=after_s))


def _networks(space: SearchSpace, archs: Sequence[Architecture]) -> list[Work]:
    canonical = [space.canonical_arch(arch) for arch in archs]
    return [Work(arch.key, "network", space.graph(arch)) for arch in canonical]


def _require_work(work: Sequence[Work], target: Target) -> None:
    target_field({"target": target.key}, "target")
    if not work:
        msg = "there is nothing to measure; name at least one network"
        raise UsageError(msg)


def _wire_item(
    position: int, subject: str, kind: SubjectKind, digest: str, graph: str
) -> dict[str, Any]:
    return {
        "position": position, "subject": subject, "kind": kind, "digest": digest, "graph": graph
    }  # fmt: skip
