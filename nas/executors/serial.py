"""One slot after the other in this process: for everything that needs the machine to itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from devices.measurement import Measurement
from nas.evaluator import SlotEvaluator
from nas.trial import Estimate, Failure


class BatchEvaluator(Protocol):
    """What measures a batch: the networks of one process share its reference network."""

    def evaluate(self, keys: Sequence[str]) -> Iterator[tuple[int, Measurement | Failure]]:
        """Yield (position in `keys`, outcome) as each ends."""


class SerialExecutor:
    """Measures open slots in order."""

    name = "serial"

    def run(
        self, evaluator: BatchEvaluator, subjects: Sequence[str], slots: Sequence[int]
    ) -> Iterator[tuple[int, Measurement | Failure]]:
        """Yield (slot number, outcome) for the given slots of a batch."""
        for position, outcome in evaluator.evaluate([subjects[slot] for slot in slots]):
            yield slots[position], outcome


EXECUTOR = SerialExecutor()


class SerialSlots:
    """Evaluates open slots in order, in this process; see `Executor`."""

    name = "serial"

    def run(
        self, evaluator: SlotEvaluator, subjects: Sequence[str], slots: Sequence[int]
    ) -> Iterator[tuple[int, Estimate | Failure]]:
        """See `Executor.run`; a death of the worker is one of this process."""
        for slot in slots:
            yield slot, evaluator.evaluate_one(subjects[slot])

    def close(self) -> None:
        """Nothing is held."""


def create(workers: int = 1, address: str | None = None) -> SerialSlots:
    """The serial executor; it has one worker, whatever is asked for, and knows no address."""
    return SerialSlots()
