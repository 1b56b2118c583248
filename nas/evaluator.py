"""What an evaluator and an executor are: a dear look at one network, and who takes it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from nas.trial import Estimate, Failure
from search_spaces.catalog import Catalog

MOST_DEATHS = 2
"""A slot whose worker process died this often is given up."""


class SlotEvaluator(Protocol):
    """A dear metric of one network at a time; picklable, so that it travels to other processes.

    The value depends on the key alone, never on the process or the order: serial, processes and
    Ray give the same run.
    """

    @property
    def metric(self) -> str:
        """What is found, such as `accuracy`."""

    def evaluate_one(self, key: str) -> Estimate | Failure:
        """Look at one network; what goes wrong with it is a `Failure`, never an exception.

        Raises:
            NasError: If no network can be looked at: the data are gone, an extra is missing.
        """


class Executor(Protocol):
    """Runs the open slots of a batch; one file in `nas/executors` defines `create`."""

    name: str

    def run(
        self, evaluator: SlotEvaluator, subjects: Sequence[str], slots: Sequence[int]
    ) -> Iterator[tuple[int, Estimate | Failure]]:
        """Yield (slot number, outcome) as each ends, in any order, each slot once.

        A worker that dies is replaced and its slot tried again; after `MOST_DEATHS` deaths the
        slot fails. An exception of the evaluator ends the run of the batch and is raised here.
        """

    def close(self) -> None:
        """Let go of processes; the executor is not used afterwards."""


class ExecutorFactory(Protocol):
    """The `create` of a file in `nas/executors`."""

    def __call__(self, workers: int = 1, address: str | None = None) -> Executor:
        """Make an executor.

        Args:
            workers: Evaluations at a time.
            address: Of a cluster, for executors that know clusters.

        Raises:
            NasError: If what it stands on is missing or cannot be reached.
        """


EXECUTORS: Catalog[ExecutorFactory] = Catalog("nas.executors", "create", "executor")


def dead_worker(deaths: int) -> Failure:
    """The outcome of a slot whose worker died too often; the same words in every executor."""
    return Failure(
        f"the worker process died {deaths} times while it was evaluated, as processes do that "
        "run out of memory"
    )


@contextmanager
def environment_of_children(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes started within the context inherit.

    They read them while they import NumPy or Ray, before any code of ours.
    """
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
