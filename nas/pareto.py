"""Pareto fronts and hypervolume; everything is minimised here, negate what is to be maximised."""

from __future__ import annotations

import numpy as np

from search_spaces.architecture import BoolArray, FloatArray, IntArray


def non_dominated(points: FloatArray) -> BoolArray:
    """Which points no other point dominates; equal points do not dominate each other.

    Args:
        points: (n, m) objectives, all minimised.

    Returns:
        (n,) mask. Two objectives take O(n log n); more take O(n x front).
    """
    count, objectives = points.shape
    mask = np.ones(count, dtype=bool)
    if objectives == 2 and count:
        order = np.lexsort((points[:, 1], points[:, 0]))
        first, second = points[order, 0], points[order, 1]
        best_before = np.concatenate([[np.inf], np.minimum.accumulate(second)[:-1]])
        # Equal points stand together after the sort; all of them follow the first one's fate.
        starts = np.ones(count, dtype=bool)
        starts[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)
        mask[order] = (second < best_before)[np.flatnonzero(starts)][np.cumsum(starts) - 1]
        return mask
    for index in np.lexsort(points.T[::-1]):
        if mask[index]:
            worse = (points >= points[index]).all(axis=1) & (points > points[index]).any(axis=1)
            mask &= ~worse
    return mask


def front_ranks(points: FloatArray, enough: int) -> IntArray:
    """Front number of each point, 0 the best, until `enough` points have one.

    Args:
        points: (n, 2) objectives, both minimised.
        enough: Peeling stops when this many points are ranked.

    Returns:
        (n,) ranks; points beyond have the number of fronts peeled.
    """
    ranks = np.full(len(points), -1, dtype=np.int64)
    order = np.lexsort((points[:, 1], points[:, 0]))
    second = points[order, 1]
    rank, done = 0, 0
    while done < min(enough, len(points)):
        best = np.minimum.accumulate(second)
        best_before = np.concatenate([[np.inf], best[:-1]])
        peel = second < best_before
        if not peel.any():
            break
        ranks[order[peel]] = rank
        done += int(peel.sum())
        order, second = order[~peel], second[~peel]
        rank += 1
    ranks[ranks < 0] = rank
    return ranks


def crowding(points: FloatArray, ranks: IntArray) -> FloatArray:
    """Crowding distance within each front; the ends of a front are infinitely far.

    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002.
    """
    distance = np.zeros(len(points))
    for column in range(points.shape[1] if len(points) else 0):
        values = points[:, column]
        order = np.lexsort((values, ranks))
        sorted_values, sorted_ranks = values[order], ranks[order]
        span = float(np.ptp(values)) or 1.0
        gap = np.full(len(points), np.inf)
        gap[1:-1] = (sorted_values[2:] - sorted_values[:-2]) / span
        edge = sorted_ranks[1:] != sorted_ranks[:-1]
        gap[1:][edge] = np.inf
        gap[:-1][edge] = np.inf
        distance[order] += gap
    return distance


def hypervolume(points: FloatArray, reference: FloatArray) -> float:
    """Volume that the points dominate up to a reference point.

    Args:
        points: (n, m) objectives, minimised; points beyond the reference count nothing.
        reference: (m,) corner.

    Source: slicing of objectives, While et al., "A faster algorithm for calculating
        hypervolume", 2006, section 2; exact in any dimension, quick in two and three.

    Example:
        >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([3.0, 3.0]))
        3.0
    """
    inside = points[(points < reference).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    inside = np.unique(inside[non_dominated(inside)], axis=0)
    if inside.shape[1] == 1:
        return float(reference[0] - inside[0, 0])
    if inside.shape[1] == 2:
        ends = np.append(inside[1:, 0], reference[0])
        return float(((ends - inside[:, 0]) * (reference[1] - inside[:, 1])).sum())
    ends = np.append(inside[1:, 0], reference[0])
    return sum(
        float(ends[k] - inside[k, 0]) * hypervolume(inside[: k + 1, 1:], reference[1:])
        for k in range(len(inside))
        if ends[k] > inside[k, 0]
    )
