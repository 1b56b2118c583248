"""One slot after the other in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas.evaluator import SlotEvaluator
from nas.trial import Estimate, Failure


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
