"""The dear evaluator: measure networks on this machine, in a process of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from devices.benchmark import Plan
from devices.device import Target
from devices.local import Subject, measure_locally
from devices.measurement import Measurement
from devices.model import encode
from devices.runtime import RUNTIMES
from devices.wire import Job
from nas.trial import Failure
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace


@dataclass(frozen=True, slots=True)
class LatencyEvaluator:
    """Measures architectures on a local target.

    Attributes:
        space: Their space.
        target: Resolved target.
        plan: How long to measure.
        owner: Who asks, told to those who wait for the host's lock.
        on_wait: Called if another process is measuring.
        alone: Each network in a process of its own, as it will be deployed; for verification.
    """

    space: SearchSpace
    target: Target
    plan: Plan
    owner: str
    on_wait: Callable[[str], None] | None = None
    alone: bool = False

    def evaluate(self, keys: Sequence[str]) -> Iterator[tuple[int, Measurement | Failure]]:
        """Measure architectures, yielding each as it ends.

        Yields:
            (position in `keys`, measurement or failure).
        """
        subjects = [self._subject(key) for key in keys]
        job = Job(self.target, self.plan, owner=self.owner)
        # Alone means a process for each network, in which it is loaded first.
        parts = [[n] for n in range(len(keys))] if self.alone else [list(range(len(keys)))]
        for part in parts:
            chosen = [subjects[number] for number in part]
            for position, outcome in measure_locally(chosen, job, on_wait=self.on_wait):
                yield part[position], Failure(outcome) if isinstance(outcome, str) else outcome

    def _subject(self, key: str) -> Subject:
        graph = self.space.graph(Architecture.parse(key))
        runtime = RUNTIMES.get(self.target.runtime)
        return Subject(
            key,
            "network",
            graph.digest,
            lambda: encode(graph, runtime, self.target.batch),
        )
