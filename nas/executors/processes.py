"""Slots in worker processes of this machine, which may die without harm to the run.

Each worker is a fresh interpreter (no forked locks, no forked threads), is sent the evaluator
once, computes with one thread, and ends with its parent, however that ends. A pool of the standard
library breaks as a whole when one worker is killed and cannot say which slot it was: hence ours.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from nas.errors import InvalidRequestError
from nas.evaluator import MOST_DEATHS, SlotEvaluator, dead_worker, environment_of_children
from nas.trial import Estimate, Failure
from search_spaces.errors import NasError

logger = logging.getLogger(__name__)

_CONTEXT = multiprocessing.get_context("spawn")
# Threads that the linear algebra under NumPy starts: sums split otherwise round otherwise.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_END_S = 5.0


@dataclass(frozen=True, slots=True)
class _Task:
    """What a worker is sent: the evaluator only with its first task."""

    key: str
    evaluator: SlotEvaluator | None


class ProcessExecutor:
    """A pool of spawned workers, started when first needed; see `Executor`."""

    name = "processes"

    def __init__(self, workers: int) -> None:
        """Start nothing yet.

        Raises:
            InvalidRequestError: If there is not at least one worker.
        """
        if workers < 1:
            msg = f"{workers} workers cannot evaluate anything; give 1 or more"
            raise InvalidRequestError(msg)
        self.workers = workers
        self._idle: list[_Worker] = []

    def run(
        self, evaluator: SlotEvaluator, subjects: Sequence[str], slots: Sequence[int]
    ) -> Iterator[tuple[int, Estimate | Failure]]:
        """See `Executor.run`."""
        waiting = deque(slots)
        deaths: Counter[int] = Counter()
        busy: dict[Connection, tuple[_Worker, int]] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < self.workers:
                    slot = waiting.popleft()
                    worker = self._give(subjects[slot], evaluator)
                    busy[worker.connection] = worker, slot
                for connection in [c for c in wait(list(busy)) if isinstance(c, Connection)]:
                    worker, slot = busy.pop(connection)
                    try:
                        answer = connection.recv()
                    except (EOFError, OSError):
                        deaths[slot] += 1
                        logger.warning("a worker died evaluating %s: %s", subjects[slot], worker)
                        worker.end()
                        if deaths[slot] < MOST_DEATHS:
                            waiting.append(slot)
                        else:
                            yield slot, dead_worker(deaths[slot])
                        continue
                    self._idle.append(worker)
                    if isinstance(answer, Exception):
                        raise answer
                    yield slot, answer
        finally:
            # Left early: what they are at is no longer wanted, and would be taken for an answer
            # to the next task.
            for worker, _ in busy.values():
                worker.end()

    def close(self) -> None:
        """End all workers."""
        while self._idle:
            self._idle.pop().end()

    def _give(self, key: str, evaluator: SlotEvaluator) -> _Worker:
        """Hand a task to an idle worker, or to a new one if none is left alive."""
        while True:
            new = not self._idle
            worker = _Worker() if new else self._idle.pop()
            try:
                worker.give(key, evaluator)
            except OSError:
                # A new one that is dead already counts against the slot: its pipe says so.
                if not new:
                    worker.end()
                    continue
            except BaseException:
                worker.end()
                raise
            return worker


class _Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        self._process: BaseProcess = _CONTEXT.Process(
            target=_work, args=(theirs,), name="nas-worker", daemon=True
        )
        with environment_of_children(_ONE_THREAD):
            self._process.start()
        # The worker must hold the only other end, or its death would not close the pipe.
        theirs.close()
        self._evaluator: SlotEvaluator | None = None

    def __repr__(self) -> str:
        return repr(self._process)

    def give(self, key: str, evaluator: SlotEvaluator) -> None:
        """Send a task, with the evaluator if the worker has another one or none."""
        self.connection.send(_Task(key, None if evaluator is self._evaluator else evaluator))
        self._evaluator = evaluator

    def end(self) -> None:
        """Kill the process if it lives."""
        self.connection.close()
        self._process.kill()
        self._process.join(_END_S)


def _work(connection: Connection) -> None:
    """What a worker does: one task after the other until the pipe closes."""
    # Ctrl-C reaches every process of the terminal; the parent decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    evaluator: SlotEvaluator | None = None
    while True:
        answer: Estimate | Failure | Exception
        try:
            task: _Task = connection.recv()
            evaluator = task.evaluator or evaluator
            if evaluator is None:
                return
            answer = evaluator.evaluate_one(task.key)
        except EOFError:
            return
        except NasError as error:
            answer = error
        except Exception:
            # A traceback does not travel; its text does.
            answer = RuntimeError(f"in a worker process:\n{traceback.format_exc()}")
        connection.send(answer)


def _end_with_parent() -> None:
    """A parent that is killed closes nothing: whoever evaluates for it must notice."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def create(workers: int = 1, address: str | None = None) -> ProcessExecutor:
    """An executor of that many processes on this machine; it knows no address."""
    return ProcessExecutor(workers)
