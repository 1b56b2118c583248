"""What an evaluator and an executor are: a dear look at one network, and who takes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from nas.trial import Estimate, Failure


class SlotEvaluator(Protocol):
    """A dear metric of one network at a time; picklable, so that it travels to other processes.

    The value depends on the key alone, never on the process or the order: serial, processes and
    Ray give the same run.

    Attributes:
        metric: Such as `accuracy`.
    """

    metric: str

    def evaluate_one(self, key: str) -> Estimate | Failure:
        """Look at one network; what goes wrong with it is a `Failure`, never an exception."""


class Executor(Protocol):
    """Runs the open slots of a batch; one file in `nas/executors` defines `create`."""

    name: str

    def run(
        self, evaluator: SlotEvaluator, subjects: Sequence[str], slots: Sequence[int]
    ) -> Iterator[tuple[int, Estimate | Failure]]:
        """Yield (slot number, outcome) as each ends, in any order, each slot once.

        A worker that dies is replaced and its slot tried again; after two deaths the slot fails.
        """

    def close(self) -> None:
        """Let go of processes; the executor is not used afterwards."""
