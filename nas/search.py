"""The loop of a run: decide, measure, store, until there is a conclusion. Resuming is the same.

Everything decided depends on stored outcomes only, so a run that was killed goes on where it
stopped, and a replay of the stored outcomes decides the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from devices.benchmark import NETWORK_PLAN, VERIFY_PLAN
from devices.errors import DeviceError
from devices.measurement import Measurement
from nas.accuracy import AccuracySource
from nas.calibrate import measure_blocks
from nas.decide import Conclusion, Decider, Step
from nas.errors import InvalidRequestError
from nas.evaluator import Executor
from nas.evaluators.latency import LatencyEvaluator
from nas.executors.serial import create as serial_executor
from nas.fleet import Fleet
from nas.knowledge import Knowledge
from nas.memory import stored_knowledge
from nas.places import Place
from nas.problem import LIKELY
from nas.progress import Progress
from nas.remote import RemoteEvaluator
from nas.request import SearchRequest
from nas.store import Store
from nas.trial import Batch, Estimate, Failure, RunRecord, Stage, StoredMeasurement
from nas.verify import GAP_S
from search_spaces.space import ChainSpace

STAGES: dict[Stage, tuple[int, str]] = {
    "calibrate": (1, "calibrate the device"),
    "evaluate": (2, "evaluate accuracies"),
    "search": (2, "search and measure"),
    "verify": (3, "verify the best"),
}


@dataclass(frozen=True)
class Run:
    """A run about to be executed.

    Attributes:
        record: As stored.
        request: What the user wants.
        place: Space, target, and how the device is reached.
        accuracy: Accuracy source of the space.
        store: Where everything goes.
        progress: Who is told.
        executor: Who evaluates accuracies.
        now: The present time, UTC.
        sleep: Waits for seconds.
    """

    record: RunRecord
    request: SearchRequest
    place: Place
    accuracy: AccuracySource
    store: Store
    progress: Progress
    executor: Executor = field(default_factory=serial_executor)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep

    def decider(self, blocks: dict[str, float] | None = None) -> Decider:
        """The decider on what was stored before the run; blocks are never measured twice."""
        start = stored_knowledge(
            self.store, self.place, up_to_id=self.record.baseline_id,
            stored_by=self.record.created_at, blocks=blocks,
        )  # fmt: skip
        return Decider(self.request, self.accuracy, start, self.place.reach != "none")

    def execute(self) -> tuple[Conclusion, Knowledge]:
        """Go on until there is a conclusion.

        Returns:
            The conclusion, and what is known at the end.
        """
        decider = self.decider(self._blocks())
        while True:
            batches = self.store.batches(self.record.id)
            if batches and batches[-1].open_slots:
                self._fill(batches)
                continue
            _refuse_a_blind_start(batches)
            self._tell_best(decider, batches)
            step = decider.next(batches)
            if isinstance(step, Conclusion):
                return step, decider.knowledge(batches)
            self.store.add_batch(self.record.id, len(batches), step.stage, step.subjects)

    def _blocks(self) -> dict[str, float] | None:
        """The block table of this machine; other devices are known by whole networks alone."""
        if self.place.reach != "local" or not isinstance(self.place.space, ChainSpace):
            return None
        self.progress.stage(*_stage("calibrate"))
        return measure_blocks(
            self.store, self.place.measuring(), self.place.space, f"run {self.record.id}",
            self.progress,
        )  # fmt: skip

    def replay(self) -> list[tuple[Batch, Step | Conclusion]]:
        """Decide every batch again from the outcomes stored before it.

        Returns:
            Each stored batch with the step decided now; they should agree.
        """
        decider, batches = self.decider(), self.store.batches(self.record.id)
        return [(batch, decider.next(batches[: batch.number])) for batch in batches]

    def _fill(self, batches: list[Batch]) -> None:
        """Measure the open slots of the last batch, storing each as it ends."""
        batch = batches[-1]
        number, count, name = _stage(batch.stage)
        verify = batch.stage == "verify"
        self.progress.stage(number, count, name)
        if verify:
            self._wait(batches)
        started, slots = time.monotonic(), batch.open_slots
        for done, (slot, outcome) in enumerate(self._outcomes(batch, slots), start=1):
            self.store.add_outcome(self.record.id, batch.number, slot, outcome)
            if isinstance(outcome, Failure):
                what = "evaluated" if batch.stage == "evaluate" else "measured"
                self.progress.note(f"{batch.subjects[slot]} was not {what}: {outcome.reason}")
            left = (time.monotonic() - started) / done * (len(slots) - done)
            self.progress.step(done, len(slots), left)

    def _outcomes(
        self, batch: Batch, slots: list[int]
    ) -> Iterator[tuple[int, Measurement | StoredMeasurement | Estimate | Failure]]:
        """Look at the open slots of a batch, in the way that its stage and device ask for."""
        if batch.stage == "evaluate":
            evaluator = self.accuracy.evaluator()
            if evaluator is None:
                msg = f"run {self.record.id} evaluates accuracies, which {self.place.space.name} "
                raise InvalidRequestError(msg + "no longer offers; start a new run")
            yield from self.executor.run(evaluator, batch.subjects, slots)
            return
        keys = [batch.subjects[slot] for slot in slots]
        for position, outcome in self._timer(batch).evaluate(keys):
            yield slots[position], outcome

    def _timer(self, batch: Batch) -> LatencyEvaluator | RemoteEvaluator:
        verify, owner = batch.stage == "verify", f"run {self.record.id}"
        plan = VERIFY_PLAN if verify else NETWORK_PLAN
        space, target = self.place.space, self.place.measuring()
        if self.place.reach == "agent":
            return RemoteEvaluator(
                Fleet(self.store), space, target, plan, f"{owner} batch {batch.number}",
                alone=verify, on_wait=lambda who: self.progress.note(f"waiting for {who}"),
            )  # fmt: skip
        return LatencyEvaluator(
            space, target, plan, owner, alone=verify,
            on_wait=lambda who: self.progress.note(
                f"waiting for {who}, which is measuring on this host"
            ),
        )  # fmt: skip

    def _wait(self, batches: list[Batch]) -> None:
        """Leave `GAP_S` between the last stored measurement of an occasion and the next one."""
        earlier = _last_taken([b for b in batches[:-1] if b.stage == "verify"])
        if earlier is None or any(batches[-1].outcomes):
            return
        # A clock set back must not make the wait endless.
        left = min((earlier + timedelta(seconds=GAP_S) - self.now()).total_seconds(), GAP_S)
        if left > 0:
            self.progress.note(f"next occasion in {left:.0f} s")
            self.sleep(left)

    def _tell_best(self, decider: Decider, batches: list[Batch]) -> None:
        if not batches or batches[-1].stage == "verify":
            # What is being verified is neither confirmed nor refuted until all occasions are in.
            return
        known = decider.knowledge(batches)
        if not known.networks:
            return
        problem = decider.problem(batches, known)
        accuracy = np.where(problem.told.chance >= LIKELY, problem.told.accuracy, -np.inf)
        if not np.isfinite(accuracy).any():
            self.progress.best("none measured that is likely to hold")
            return
        row = int(np.argmax(accuracy))
        self.progress.best(
            f"{problem.told.accuracy[row]:.2f} % predicted, "
            f"{problem.told.latency_ms[row]:.2f} ms measured"
        )


def _refuse_a_blind_start(batches: list[Batch]) -> None:
    """A device on which none of the first networks could be measured is no device to search on."""
    if not batches or batches[0].stage != "calibrate":
        return
    failures = [outcome for outcome in batches[0].outcomes if isinstance(outcome, Failure)]
    if len(failures) == len(batches[0].subjects):
        msg = f"none of {len(failures)} networks could be measured: {failures[0].reason}"
        raise DeviceError(msg)


def _stage(stage: Stage) -> tuple[int, int, str]:
    number, name = STAGES[stage]
    return number, STAGES["verify"][0], name


def _last_taken(batches: list[Batch]) -> datetime | None:
    taken: list[Measurement] = [
        outcome.measurement
        for batch in batches
        for outcome in batch.outcomes
        if isinstance(outcome, StoredMeasurement)
    ]
    return max((datetime.fromisoformat(m.taken_at) for m in taken), default=None)
