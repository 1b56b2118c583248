"""What a runtime is: it turns a model into something that can be run once and timed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

from devices.device import Target
from search_spaces.catalog import Catalog

ModelFormat = Literal["onnx", "graph"]
Place = Literal["processor", "accelerator"]


class Timing(NamedTuple):
    """One run [ms]: `clock_ms` on the clock that pairs fairly, `wall_ms` elapsed.

    The paired clock is the process's CPU time for one thread (preemption does not count), elapsed
    time for several (spinning threads burn CPU time while they wait), device events on an
    accelerator.
    """

    clock_ms: float
    wall_ms: float


class Runtime(Protocol):
    """A way to run networks; one file in `devices/runtimes` defines one as `RUNTIME`.

    Attributes:
        name: As in targets.
        format: What `prepare` takes: an ONNX model, or a layer graph as JSON (`graph_json`).
        runs_on: Whether the device is this machine's processor or its accelerator.
    """

    name: str
    format: ModelFormat
    runs_on: Place

    def check(self, target: Target) -> None:
        """Refuse what cannot be run here.

        Raises:
            UnsupportedTargetError: If precision, batch or threads are not supported.
        """

    def versions(self) -> dict[str, str]:
        """Versions and options that change latency, for the environment record.

        An accelerator names its `clock` here, too.
        """

    def prepare(self, model: bytes, target: Target) -> AbstractContextManager[Callable[[], Timing]]:
        """Load a model; within the context each call runs it once, synchronised.

        Args:
            model: In the runtime's format; see `devices.model.encode`.
            target: Precision, batch and threads.

        Raises:
            UnsupportedTargetError: If the model or provider is not supported; never falls back.
        """


RUNTIMES: Catalog[Runtime] = Catalog("devices.runtimes", "RUNTIME", "runtime")
