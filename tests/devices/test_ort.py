from __future__ import annotations

import time
from collections.abc import Callable

import onnxruntime
import pytest

from devices.device import Target
from devices.errors import UnsupportedTargetError
from devices.local import Subject
from devices.runtime import RUNTIMES
from search_spaces.graph import OpGraph
from search_spaces.onnx_build import build_onnx
from search_spaces.ops import GlobalAveragePool

ORT = RUNTIMES.get("ort")
TARGET = Target("local")


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_another_precision_is_refused_with_the_one_that_is_not(precision: str) -> None:
    target = Target("local", precision=precision)

    with pytest.raises(UnsupportedTargetError, match=f"ort-{precision}-t1: .* local:ort-fp32-t1"):
        ORT.check(target)


def test_garbage_is_refused_naming_the_target() -> None:
    with (
        pytest.raises(UnsupportedTargetError, match="refused the model on local:ort-fp32-t1"),
        ORT.prepare(b"garbage", TARGET),
    ):
        pass


def test_a_library_without_the_cpu_provider_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["OtherProvider"])

    with pytest.raises(UnsupportedTargetError, match="has no CPUExecutionProvider"):
        ORT.check(TARGET)


def test_a_session_that_falls_back_to_another_provider_is_refused(
    monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Subject]
) -> None:
    class Fallen:
        def __init__(self, *args: object, **options: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["OtherProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallen)

    with (
        pytest.raises(UnsupportedTargetError, match=r"fell back to \['OtherProvider'\]"),
        ORT.prepare(tiny().model(), TARGET),
    ):
        pass


def test_one_thread_is_timed_by_cpu_time_and_more_by_elapsed_time(
    tiny: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake clocks advance by 1 ms of CPU time and 3 ms of elapsed time a call."""
    cpu, wall = iter(range(0, 10**9, 10**6)), iter(range(0, 10**9, 3 * 10**6))
    timings = []
    for threads in (1, 2):
        with (
            ORT.prepare(tiny().model(), Target("local", threads=threads)) as run_once,
            monkeypatch.context() as patch,
        ):
            patch.setattr(time, "process_time_ns", lambda: next(cpu))
            patch.setattr(time, "perf_counter_ns", lambda: next(wall))
            timings.append(run_once())

    assert timings == [(1.0, 3.0), (3.0, 3.0)]


def test_versions_name_library_provider_and_optimisation() -> None:
    assert ORT.versions() == {
        "onnxruntime": onnxruntime.__version__,
        "optimisation_level": "all",
        "provider": "CPUExecutionProvider",
    }


def test_a_model_runs_at_the_batch_it_was_built_for() -> None:
    pool = GlobalAveragePool(name="pool", inputs=("input",), shape=(3, 1, 1))
    model = build_onnx(OpGraph((3, 16, 16), (pool,)), batch=8)

    with ORT.prepare(model, Target("local", batch=8)) as run_once:
        assert run_once().wall_ms > 0


def test_a_model_of_another_batch_is_refused(tiny: Callable[..., Subject]) -> None:
    """Its latency would be stored under the wrong batch."""
    with (
        pytest.raises(UnsupportedTargetError, match="batch 1"),
        ORT.prepare(tiny().model(), Target("local", batch=8)),
    ):
        pass
