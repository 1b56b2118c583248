"""What every runtime promises; a new file in `devices/runtimes` is tested by existing."""

from __future__ import annotations

import json

import pytest

from devices.device import Target
from devices.errors import UnsupportedTargetError
from devices.model import encode
from devices.runtime import RUNTIMES, Runtime, Timing
from search_spaces.graph import OpGraph
from search_spaces.ops import Conv, WeightSlice

GRAPH = OpGraph(
    (4, 16, 16),
    (
        Conv(
            name="conv", inputs=("input",), shape=(8, 16, 16), in_channels=4, kernel=3,
            weight=WeightSlice("conv", (0, 0, 0, 0), (8, 4, 3, 3)), activation="relu",
        ),
    ),
)  # fmt: skip


@pytest.fixture(params=RUNTIMES.names())
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return RUNTIMES.get(request.param)


def target(runtime: Runtime, **changes: object) -> Target:
    """The plainest target of a runtime."""
    fields: dict = {"runtime": runtime.name, "precision": "fp32", "threads": 1, "batch": 1}
    return Target("local", **(fields | changes))


@pytest.fixture
def supported(runtime: Runtime) -> Target:
    plain = target(runtime)
    try:
        runtime.check(plain)
    except UnsupportedTargetError as error:
        pytest.skip(f"not here: {error}")
    return plain


def run_twice(runtime: Runtime, where: Target) -> list[Timing]:
    with runtime.prepare(encode(GRAPH, runtime, where.batch), where) as run_once:
        return [run_once(), run_once()]


def test_the_runtime_is_called_as_its_file(runtime: Runtime) -> None:
    assert RUNTIMES.get(runtime.name) is runtime
    assert Target.parse(f"local:{runtime.name}-fp32-t1").runtime == runtime.name


def test_each_run_is_timed_on_both_clocks(runtime: Runtime, supported: Target) -> None:
    for timing in run_twice(runtime, supported):
        assert timing.clock_ms > 0
        assert timing.wall_ms > 0
        assert timing.wall_ms < 1000


def test_a_model_may_run_on_several_threads_or_says_that_it_cannot(
    runtime: Runtime, supported: Target
) -> None:
    two = target(runtime, threads=2)
    try:
        runtime.check(two)
    except UnsupportedTargetError:
        return

    assert all(timing.clock_ms > 0 for timing in run_twice(runtime, two))


def test_a_batch_runs_or_is_refused(runtime: Runtime, supported: Target) -> None:
    """A batch that `check` accepts must not fail when the first network is measured."""
    eight = target(runtime, batch=8)
    try:
        runtime.check(eight)
        timings = run_twice(runtime, eight)
    except UnsupportedTargetError:
        return

    assert all(timing.clock_ms > 0 for timing in timings)


def test_an_unknown_precision_is_refused_before_anything_is_loaded(runtime: Runtime) -> None:
    wrong = target(runtime, precision="int3")

    with pytest.raises(UnsupportedTargetError, match="fp32"):
        runtime.check(wrong)
    with pytest.raises(UnsupportedTargetError, match="fp32"), runtime.prepare(b"", wrong):
        pass


def test_what_is_no_model_is_refused(runtime: Runtime, supported: Target) -> None:
    with (
        pytest.raises(UnsupportedTargetError, match="local:"),
        runtime.prepare(b"no model", supported),
    ):
        pass


def test_versions_are_texts_for_the_environment_record(runtime: Runtime, supported: Target) -> None:
    versions = runtime.versions()

    assert versions
    assert json.loads(json.dumps(versions)) == versions
    assert all(isinstance(value, str) for value in versions.values())
