from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from predictors.predictor import Prediction
from predictors.scores import coverage, mape_percent, ranks, spearman

# Few distinct values, so that ties are common.
PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=30)


@given(PAIRS)
def test_spearman_equals_scipys(pairs: list[tuple[int, int]]) -> None:
    truth, guess = np.array(pairs, dtype=np.float64).T
    constant = len(set(truth)) == 1 or len(set(guess)) == 1

    found = spearman(truth, guess)

    if constant:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(stats.spearmanr(truth, guess).statistic)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_ranks_equal_scipys(values: list[int]) -> None:
    column = np.array(values, dtype=np.float64)

    assert ranks(column) == pytest.approx(stats.rankdata(column) - 1.0)


def test_relative_error_is_the_one_computed_by_hand() -> None:
    """10 % too long and 20 % too short."""
    assert mape_percent(np.array([1.0, 5.0]), np.array([1.1, 4.0])) == pytest.approx(15.0)


def test_coverage_counts_truths_within_the_interval_ends_included() -> None:
    prediction = Prediction(
        np.full(4, 10.0), np.full(4, 0.1), dof=1e9, extrapolated=np.zeros(4, dtype=bool), level=0.8
    )
    low, high = prediction.lower_ms[0], prediction.upper_ms[0]

    assert coverage(np.array([low, 10.0, high, high * 1.001]), prediction) == 0.75
