"""Slots as Ray tasks: on the cores of this machine, or on a cluster whose machines have us too.

The project's only import of Ray, which is an extra: it comes in when an executor is created.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.errors import InvalidRequestError
from nas.evaluator import MOST_DEATHS, SlotEvaluator, dead_worker, environment_of_children
from nas.trial import Estimate, Failure
from search_spaces.errors import NasError

_OBJECT_STORE_BYTES = 200_000_000
# Nothing is reported to anybody, and a machine without accelerators is not warned about them.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
}
_UNREACHABLE = (
    "no Ray cluster answers at {!r}: {}; `ray start --head` starts one, and without --ray "
    "everything runs on this machine"
)
_CONNECT_S = 5.0


class RayExecutor:
    """One task a slot, tried again when its worker dies; see `Executor`."""

    name = "ray"

    def __init__(self, workers: int, address: str | None) -> None:
        """Join a cluster or start one of our own.

        Args:
            workers: Cores of a cluster of our own.
            address: `auto` for one that runs on this machine, if there is one; `host:port`; None
                for one of our own.

        Raises:
            InvalidRequestError: If there is not at least one worker.
            NasError: If Ray is not installed or the cluster cannot be reached.
        """
        if workers < 1:
            msg = f"{workers} workers cannot evaluate anything; give 1 or more"
            raise InvalidRequestError(msg)
        self._ray = _ray()
        # Someone else's connection, such as a notebook's, is used and left as it is.
        self._ours = not self._ray.is_initialized()
        if self._ours:
            with _own_signals():
                _join(self._ray, workers, address)

    def run(
        self, evaluator: SlotEvaluator, subjects: Sequence[str], slots: Sequence[int]
    ) -> Iterator[tuple[int, Estimate | Failure]]:
        """See `Executor.run`."""
        ray = self._ray
        shared = ray.put(evaluator)
        task = ray.remote(num_cpus=1, max_retries=MOST_DEATHS - 1)(_look)
        open_slots = {task.remote(shared, subjects[slot]): slot for slot in slots}
        try:
            while open_slots:
                (done,), _ = ray.wait(list(open_slots), num_returns=1)
                slot = open_slots.pop(done)
                yield slot, self._outcome(done)
        finally:
            for left in open_slots:
                ray.cancel(left, force=True)

    def close(self) -> None:
        """Leave the cluster; one of our own ends."""
        if self._ours:
            self._ray.shutdown()
            self._ours = False

    def _outcome(self, done: Any) -> Estimate | Failure:
        errors = self._ray.exceptions
        try:
            outcome: Estimate | Failure = self._ray.get(done)
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError):
            return dead_worker(MOST_DEATHS)
        except errors.RayTaskError as error:
            if isinstance(error.cause, NasError):
                raise error.cause from None
            raise
        return outcome


def _look(evaluator: SlotEvaluator, key: str) -> Estimate | Failure:
    return evaluator.evaluate_one(key)


def _ray() -> Any:
    """The module, if the extra is installed."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        msg = (
            f"Ray is not installed ({error}); pip install 'hardware-aware-nas[ray]' brings it. "
            "--workers N uses several processes of this machine without it"
        )
        raise NasError(msg) from error
    return ray


def _join(ray: Any, workers: int, address: str | None) -> None:
    """Connect to a cluster, or start one of our own.

    Raises:
        NasError: If the cluster cannot be reached or has no cores for tasks.
    """
    # Workers import what we import, from the same folders.
    path = {"PYTHONPATH": os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)}
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        _refuse_unreachable(address)
        try:
            ray.init(address=address, runtime_env={"env_vars": path}, **quiet)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            if address != "auto":
                raise NasError(_UNREACHABLE.format(address, error)) from error
    if not ray.is_initialized():
        with environment_of_children({**path, **_QUIET}):
            ray.init(
                address="local", num_cpus=workers, include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES, **quiet,
            )  # fmt: skip
    if ray.cluster_resources().get("CPU", 0) < 1:
        ray.shutdown()
        msg = f"the Ray cluster at {address!r} has no core for tasks; add a machine to it"
        raise NasError(msg)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself; whoever handled it before, to end a run in order, goes on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before):
            signal.signal(signal.SIGTERM, before)


def _refuse_unreachable(address: str) -> None:
    """Knock first: Ray itself waits for minutes.

    Raises:
        NasError: If nobody listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise NasError(_UNREACHABLE.format(address, error)) from error


def create(workers: int = 1, address: str | None = None) -> RayExecutor:
    """An executor on Ray; see `RayExecutor`."""
    return RayExecutor(workers, address)
