"""Which networks to measure: greedy designs, each a beginning of every longer one."""

from __future__ import annotations

import numpy as np

from search_spaces.architecture import FloatArray, IntArray
from search_spaces.errors import UsageError

# Candidates that a covariance matrix is set up for; of more, so many are drawn at random.
CANDIDATES = 1024
_TIE = 1e-9


def check_count(count: int, candidates: int) -> None:
    """Refuse to choose more than there are.

    Raises:
        UsageError: If `count` exceeds `candidates`.
    """
    if count > candidates:
        msg = f"{count} networks cannot be selected of {candidates}"
        raise UsageError(msg)


def shortlist(count: int, candidates: int, rng: np.random.Generator) -> IntArray:
    """Rows to choose among, in an order that does not depend on how many are wanted.

    Up to `CANDIDATES` rows, or more if more are wanted.
    """
    if candidates <= CANDIDATES:
        return np.arange(candidates)
    return rng.permutation(candidates)[: max(CANDIDATES, count)]


def least_error(
    covariance: FloatArray, noise: float, count: int, rng: np.random.Generator
) -> IntArray:
    """Choose the rows that, once measured, leave the least variance over all rows.

    Args:
        covariance: (n, n) of what is not yet known.
        noise: Variance of a measurement.
        count: How many, at most n.
        rng: Source of randomness, for ties.

    Returns:
        (count,) rows in the order of choice.
    """
    left = covariance.copy()
    tie = 1.0 + _TIE * rng.random(len(left))
    free = np.ones(len(left), dtype=bool)
    chosen: list[int] = []
    for _ in range(count):
        variance = np.maximum(np.diagonal(left), 0.0) + noise
        gain = tie * (left**2).sum(axis=1) / variance
        row = int(np.argmax(np.where(free, gain, -1.0)))
        column = left[:, row].copy()
        left -= np.outer(column, column / variance[row])
        free[row] = False
        chosen.append(row)
    return np.array(chosen, dtype=np.int64)


def most_uncertain(
    factor: FloatArray, noise: float, count: int, rng: np.random.Generator
) -> IntArray:
    """Choose each next row as the one least certain after those before it (D-optimal, greedy).

    Args:
        factor: (n, f) with F F' the covariance of what is not yet known.
        noise: Variance of a measurement.
        count: How many, at most n.
        rng: Source of randomness, for ties.

    Returns:
        (count,) rows in the order of choice.
    """
    variance = (factor**2).sum(axis=1) * (1.0 + _TIE * rng.random(len(factor)))
    columns = np.empty((len(factor), count))
    free = np.ones(len(factor), dtype=bool)
    chosen: list[int] = []
    for step in range(count):
        row = int(np.argmax(np.where(free, variance, -1.0)))
        column = factor @ factor[row] - columns[:, :step] @ columns[row, :step]
        columns[:, step] = column / np.sqrt(max(variance[row], 0.0) + noise)
        variance = np.maximum(variance - columns[:, step] ** 2, 0.0)
        free[row] = False
        chosen.append(row)
    return np.array(chosen, dtype=np.int64)
