"""Measuring through an agent: a job is put up, and its outcomes are taken as they arrive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from devices.benchmark import Plan
from devices.device import Target
from devices.errors import DeviceUnavailableError
from nas.fleet import Fleet
from nas.jobs import Job
from nas.trial import Failure, StoredMeasurement
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace

POLL_S = 0.5
# Without any outcome, and without a sign of the agent, for so long: it is gone.
PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class RemoteEvaluator:
    """Measures architectures on a device that an agent runs on.

    Attributes:
        fleet: Where jobs are put up.
        space: Space of the architectures.
        target: What they are measured on.
        plan: How long to measure.
        owner: Names the job: the same owner goes on with the job it put up before a crash.
        alone: Each network in a process of its own.
        on_wait: Told what is being waited for.
        patience_s: How long the agent may be silent.
    """

    fleet: Fleet
    space: SearchSpace
    target: Target
    plan: Plan
    owner: str
    alone: bool = False
    on_wait: Callable[[str], None] | None = None
    patience_s: float = PATIENCE_S

    def evaluate(self, keys: Sequence[str]) -> Iterator[tuple[int, StoredMeasurement | Failure]]:
        """Yield (position in `keys`, outcome) as the agent sends them; measurements are stored.

        Raises:
            DeviceUnavailableError: If the agent falls silent; the job stays and can be resumed.
        """
        store = self.fleet.store
        number = self._job(keys)
        taken: set[int] = set()
        silent_since, warned = time.monotonic(), False
        while True:
            job = store.job(number)
            fresh = [n for n, item in enumerate(job.items) if item.outcome and n not in taken]
            for position in fresh:
                taken.add(position)
                outcome = job.items[position].outcome
                assert outcome is not None  # it is fresh because it has one
                yield position, outcome
            if len(taken) == len(job.items):
                return
            if fresh or self.fleet.alive(self.target.device):
                silent_since, warned = time.monotonic(), False
            silent_s = time.monotonic() - silent_since
            if silent_s > self.patience_s:
                msg = (
                    f"no agent on {self.target.device} for {self.patience_s:.0f} s; start it there "
                    "(nas agent run --server URL --token T) and resume the run"
                )
                raise DeviceUnavailableError(msg)
            if silent_s > 5.0 and not warned and self.on_wait:
                self.on_wait(f"the agent on {self.target.device}")
                warned = True
            time.sleep(POLL_S)

    def _job(self, keys: Sequence[str]) -> int:
        """The job of this owner for these networks: an earlier one if there is one."""
        for job in self.fleet.store.jobs(self.target.device, owner=self.owner):
            if _subjects(job) == list(keys) and job.state != "cancelled":
                return job.id
        archs = [Architecture.parse(key) for key in keys]
        return self.fleet.enqueue(
            self.space, archs, self.target, self.plan, alone=self.alone, owner=self.owner
        )


def _subjects(job: Job) -> list[str]:
    return [item.subject for item in job.items]
