"""ONNX Runtime on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from devices.device import Target
from devices.errors import UnsupportedTargetError
from devices.runtime import ModelFormat, Place, Timing

_PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeCpu:
    """`onnxruntime` with all graph optimisations and the CPU provider, nothing else.

    The library is imported when something is run: an agent that waits does without its 30 MB.
    """

    name = "ort"
    format: ModelFormat = "onnx"
    runs_on: Place = "processor"

    def check(self, target: Target) -> None:
        """fp32, any batch, one thread or more.

        Raises:
            UnsupportedTargetError: For another precision or a runtime without the CPU provider.
        """
        if target.precision != "fp32":
            msg = f"{target.key}: this runtime measures fp32 only; try {target.device}:ort-fp32-t1"
            raise UnsupportedTargetError(msg)
        try:
            import onnxruntime
        except ImportError as error:
            msg = f"{target.key} needs onnxruntime ({error}); run: pip install onnxruntime"
            raise UnsupportedTargetError(msg) from error
        if _PROVIDER not in onnxruntime.get_available_providers():
            msg = f"onnxruntime {onnxruntime.__version__} has no {_PROVIDER}; reinstall onnxruntime"
            raise UnsupportedTargetError(msg)

    def versions(self) -> dict[str, str]:
        """Library version and the optimisation level, which changes latency up to fivefold."""
        import onnxruntime

        return {
            "onnxruntime": str(onnxruntime.__version__),
            "optimisation_level": "all",
            "provider": _PROVIDER,
        }

    @contextmanager
    def prepare(self, model: bytes, target: Target) -> Iterator[Callable[[], Timing]]:
        """Create a session on seeded normal input; see `Runtime.prepare`."""
        self.check(target)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = target.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(model, options, providers=[_PROVIDER])
        except Exception as error:
            msg = f"onnxruntime refused the model on {target.key}: {error}"
            raise UnsupportedTargetError(msg) from error
        if session.get_providers() != [_PROVIDER]:
            msg = f"onnxruntime fell back to {session.get_providers()} instead of {_PROVIDER}"
            raise UnsupportedTargetError(msg)
        feeds = {}
        for entry in session.get_inputs():
            if not all(isinstance(extent, int) for extent in entry.shape):
                msg = f"input {entry.name!r} has open extents {entry.shape}; fix them in the model"
                raise UnsupportedTargetError(msg)
            if entry.shape[0] != target.batch:
                msg = f"the model is built for batch {entry.shape[0]}, not for that of {target.key}"
                raise UnsupportedTargetError(msg)
            values = np.random.default_rng(0).standard_normal(entry.shape, dtype=np.float32)
            feeds[entry.name] = values
        cpu = target.threads == 1

        def run_once() -> Timing:
            wall, clock = time.perf_counter_ns(), time.process_time_ns()
            session.run(None, feeds)
            clock, wall = time.process_time_ns() - clock, time.perf_counter_ns() - wall
            return Timing((clock if cpu else wall) / 1e6, wall / 1e6)

        yield run_once


RUNTIME = OnnxRuntimeCpu()
