from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.measurement import Measurement, Samples, relative_se
from search_spaces.errors import UsageError

# What the wire and the store keep: positive and rounded to 10 ns.
TIMES = st.floats(1e-3, 1e4).map(lambda value: round(value, 5))
ROWS = st.lists(st.tuples(TIMES, TIMES, TIMES, TIMES), min_size=1, max_size=30)


def samples_of(clock: list[float], before: list[float], after: list[float]) -> Samples:
    return Samples(tuple(clock), tuple(clock), tuple(before), tuple(after))


def test_a_ratio_is_the_subject_over_the_mean_of_its_neighbours() -> None:
    samples = samples_of([3.0, 4.0, 10.0], [1.0, 2.0, 2.0], [2.0, 2.0, 3.0])

    assert samples.ratios == pytest.approx([2.0, 2.0, 4.0])
    assert samples.ratio == 2.0


def test_a_machine_twice_as_slow_has_the_same_ratios() -> None:
    fast = samples_of([3.0, 4.0, 10.0], [1.0, 2.0, 2.0], [2.0, 2.0, 3.0])
    slow = samples_of([6.0, 8.0, 20.0], [2.0, 4.0, 4.0], [4.0, 4.0, 6.0])

    assert slow.ratios == pytest.approx(fast.ratios)


def test_standard_error_on_a_worked_example() -> None:
    """Median 1, median absolute deviation 0.1: 1.2533 x 1.4826 x 0.1 / sqrt(5)."""
    found = relative_se(np.array([0.8, 0.9, 1.0, 1.1, 1.2]))

    assert found == pytest.approx(0.0831, abs=1e-4)


def test_standard_error_agrees_with_resampling_on_normal_samples() -> None:
    rng = np.random.default_rng(0)
    rows = 1.0 + 0.05 * rng.standard_normal((4000, 50))

    claimed = np.mean([relative_se(row) for row in rows])

    assert claimed == pytest.approx(float(np.median(rows, axis=1).std()), rel=0.06)


def test_equal_samples_are_certain_and_one_outlier_changes_nothing() -> None:
    assert relative_se(np.ones(10)) == 0.0
    assert relative_se(np.array([1.0] * 9 + [100.0])) == 0.0


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_is_said_of_fewer_than_three_samples(count: int) -> None:
    samples = samples_of([1.0] * count, [1.0] * count, [1.0] * count)

    assert math.isinf(samples.ratio_se)


@given(rows=ROWS)
def test_samples_survive_json(rows: list[tuple[float, float, float, float]]) -> None:
    samples = Samples(*(tuple(column) for column in zip(*rows, strict=True)))

    assert Samples.from_json(json.loads(json.dumps(samples.as_json()))) == samples


@given(rows=ROWS, factor=st.floats(0.01, 100.0))
def test_the_ratio_lies_between_the_smallest_and_the_largest(
    rows: list[tuple[float, float, float, float]], factor: float
) -> None:
    samples = Samples(*(tuple(column) for column in zip(*rows, strict=True)))

    assert samples.ratios.min() <= samples.ratio <= samples.ratios.max()
    assert samples.ratio_se >= 0.0


@pytest.mark.parametrize(
    "columns",
    [
        ((), (), (), ()),
        ((1.0,), (1.0,), (1.0,), ()),
        ((1.0, 1.0), (1.0,), (1.0,), (1.0,)),
    ],
)
def test_ragged_or_empty_samples_are_refused(columns: tuple) -> None:
    with pytest.raises(UsageError, match="equally long"):
        Samples(*columns)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("column", range(4))
def test_a_clock_that_stood_still_or_jumped_is_refused(wrong: float, column: int) -> None:
    columns = [(1.0, 1.0)] * 4
    columns[column] = (1.0, wrong)

    with pytest.raises(UsageError, match="positive and finite"):
        Samples(*columns)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"clock_ms": [1.0]},
        {"clock_ms": ["x"], "wall_ms": [1.0], "before_ms": [1.0], "after_ms": [1.0]},
        {"clock_ms": 1.0, "wall_ms": [1.0], "before_ms": [1.0], "after_ms": [1.0]},
        {"clock_ms": [None], "wall_ms": [1.0], "before_ms": [1.0], "after_ms": [1.0]},
    ],
)
def test_json_that_is_not_samples_is_refused(data: dict) -> None:
    with pytest.raises(UsageError, match="columns needed: clock_ms, wall_ms"):
        Samples.from_json(data)


def test_latency_is_the_median_ratio_times_the_quiet_time() -> None:
    samples = Samples((2.0, 2.0, 4.0), (9.0, 5.0, 7.0), (1.0, 1.5, 1.0), (1.5, 1.0, 1.0))
    measurement = Measurement(
        "tiny:0", "network", "digest", "box", samples, "reference", "occasion", {}, "now"
    )

    assert measurement.latency_ms(5.0) == pytest.approx(5.0 * 1.6)
    assert measurement.wall_ms == 7.0


def test_each_reference_run_is_counted_once() -> None:
    """Neighbouring rounds share one: n rounds have n + 1."""
    samples = samples_of([1.0, 1.0], [1.0, 2.0], [2.0, 3.0])
    measurement = Measurement("tiny:0", "network", "d", "box", samples, "r", "o", {}, "now")

    assert measurement.reference_ms.tolist() == [1.0, 2.0, 3.0]
