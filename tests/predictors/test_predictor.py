from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from predictors.predictor import LatencyTable, Prediction, student_t_quantile
from search_spaces.errors import UsageError

if TYPE_CHECKING:
    from tests.conftest import World


def prediction(**changes: Any) -> Prediction:
    fields: dict[str, Any] = {
        "median_ms": np.array([2.0, 8.0]),
        "relative_sd": np.array([0.02, 0.1]),
        "dof": 18.0,
        "extrapolated": np.array([False, True]),
    }
    return Prediction(**(fields | changes))


@pytest.mark.parametrize("dof", [4, 5, 7.5, 10, 18, 30, 100])
def test_students_quantile_is_within_one_per_cent_of_scipys(dof: float) -> None:
    probabilities = np.linspace(0.01, 0.99, 99)

    found = [student_t_quantile(float(p), dof) for p in probabilities]

    assert found == pytest.approx(stats.t.ppf(probabilities, dof), rel=0.01, abs=1e-9)


@pytest.mark.parametrize("dof", [10, 18, 30, 100])
def test_students_quantile_is_far_closer_from_ten_degrees_of_freedom(dof: float) -> None:
    probabilities = np.linspace(0.01, 0.99, 99)

    found = [student_t_quantile(float(p), dof) for p in probabilities]

    assert found == pytest.approx(stats.t.ppf(probabilities, dof), rel=3e-4, abs=1e-9)


@given(st.floats(0.001, 0.999), st.floats(1.0, 1000.0))
def test_students_quantile_is_antisymmetric(probability: float, dof: float) -> None:
    mirrored = -student_t_quantile(1.0 - probability, dof)

    assert student_t_quantile(probability, dof) == pytest.approx(mirrored, rel=1e-6, abs=1e-9)


def test_half_of_the_latencies_lie_below_the_median() -> None:
    assert prediction().quantile(0.5) == pytest.approx([2.0, 8.0])


def test_quantiles_are_those_of_log_student_t() -> None:
    expected = 8.0 * np.exp(0.1 * stats.t.ppf(0.9, 18))

    assert prediction().quantile(0.9)[1] == pytest.approx(expected, rel=1e-4)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_quantiles_rise_with_the_probability(first: float, second: float) -> None:
    low, high = sorted((first, second))

    assert (prediction().quantile(low) <= prediction().quantile(high)).all()


@given(st.floats(0.02, 0.98), st.floats(0.02, 0.98))
def test_a_higher_level_makes_a_wider_interval_around_the_median(
    first: float, second: float
) -> None:
    narrow, wide = (prediction(level=level) for level in sorted((first, second)))

    assert (wide.lower_ms <= narrow.lower_ms).all()
    assert (narrow.lower_ms < narrow.median_ms).all()
    assert (narrow.median_ms < narrow.upper_ms).all()
    assert (narrow.upper_ms <= wide.upper_ms).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"median_ms": np.array([2.0, 0.0])},
        {"median_ms": np.array([2.0, np.nan])},
        {"relative_sd": np.array([0.02, 0.0])},
        {"relative_sd": np.array([0.02, -0.1])},
        {"dof": 0.0},
    ],
    ids=str,
)
def test_a_prediction_without_a_positive_median_and_spread_is_a_bug(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="positive medians and spreads"):
        prediction(**changes)


def table(world: World, **changes: Any) -> LatencyTable:
    fields: dict[str, Any] = {
        "space": world.space.name,
        "genes": world.networks(2).genes,
        "target": world.target,
        "latency_ms": np.array([3.0, 4.0]),
        "relative_se": np.zeros(2),
        "kind": "measured",
    }
    return LatencyTable(**(fields | changes))


def test_a_table_is_as_long_as_its_networks(world: World) -> None:
    assert len(table(world)) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"latency_ms": np.array([3.0])}, "2 networks needs 2 latencies"),
        ({"relative_se": np.zeros(3)}, "2 networks needs 2 latencies"),
        ({"latency_ms": np.array([3.0, 0.0])}, "positive and finite"),
        ({"latency_ms": np.array([3.0, np.nan])}, "positive and finite"),
        ({"latency_ms": np.array([3.0, np.inf])}, "positive and finite"),
    ],
    ids=str,
)
def test_a_ragged_table_or_an_impossible_latency_is_refused(
    world: World, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        table(world, **changes)
