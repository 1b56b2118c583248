"""One slot after the other in this process: for everything that needs the machine to itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from devices.measurement import Measurement
from nas.trial import Failure


class BatchEvaluator(Protocol):
    """What an executor runs."""

    def evaluate(self, keys: Sequence[str]) -> Iterator[tuple[int, Measurement | Failure]]:
        """Yield (position in `keys`, outcome) as each ends."""


class SerialExecutor:
    """Evaluates open slots in order."""

    name = "serial"

    def run(
        self, evaluator: BatchEvaluator, subjects: Sequence[str], slots: Sequence[int]
    ) -> Iterator[tuple[int, Measurement | Failure]]:
        """Yield (slot number, outcome) for the given slots of a batch."""
        for position, outcome in evaluator.evaluate([subjects[slot] for slot in slots]):
            yield slots[position], outcome


EXECUTOR = SerialExecutor()
