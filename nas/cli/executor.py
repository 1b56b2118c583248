"""Which executor the options `--workers` and `--ray` mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.evaluator import Executor


@contextmanager
def executor_of(workers: int, ray: str | None) -> Iterator[Executor]:
    """The executor; its processes end with the context.

    Raises:
        NasError: If Ray is asked for and not installed; the message names the extra.
    """
    from nas.executors import EXECUTORS

    name = "ray" if ray else "processes" if workers > 1 else "serial"
    executor = EXECUTORS.get(name)(workers=workers, address=None if ray == "local" else ray)
    try:
        yield executor
    finally:
        executor.close()
