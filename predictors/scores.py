"""How good predictions are: rank agreement, relative error, coverage of intervals."""

from __future__ import annotations

import numpy as np

from predictors.predictor import Prediction
from search_spaces.architecture import FloatArray


def ranks(values: FloatArray) -> FloatArray:
    """(n,) ranks from 0, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - counts + ends - 1) / 2.0)[inverse]


def spearman(truth: FloatArray, guess: FloatArray) -> float:
    """Rank correlation; ties share ranks; nan if one side is constant.

    Example:
        >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]))
        0.5
    """
    a, b = ranks(truth), ranks(guess)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else float("nan")


def mape_percent(truth_ms: FloatArray, guess_ms: FloatArray) -> float:
    """Mean absolute relative error [%]."""
    return float(100.0 * np.mean(np.abs(guess_ms / truth_ms - 1.0)))


def coverage(truth_ms: FloatArray, prediction: Prediction) -> float:
    """Share of truths within the interval; should be near `prediction.level`."""
    return float(np.mean((truth_ms >= prediction.lower_ms) & (truth_ms <= prediction.upper_ms)))
