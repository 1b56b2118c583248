from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from nas.pareto import crowding, front_ranks, hypervolume, non_dominated

Points = NDArray[np.float64]


def points_of(objectives: int, most: int = 24) -> st.SearchStrategy[Points]:
    """Random points, or points on a coarse grid, where ties and repeats are common."""
    anywhere = st.floats(0.0, 1.0, allow_subnormal=False)
    grid = st.integers(0, 4).map(lambda step: step / 4.0)
    rows = [
        st.lists(st.tuples(*[value] * objectives), min_size=1, max_size=most)
        for value in (anywhere, grid)
    ]
    return st.one_of(rows).map(lambda found: np.array(found, dtype=np.float64))


ANY_POINTS = st.sampled_from([2, 3, 4]).flatmap(points_of)
TWO_OBJECTIVES = points_of(2)


def dominated_by_definition(points: Points) -> NDArray[np.bool_]:
    no_worse = (points[:, None] <= points).all(axis=2)
    better = (points[:, None] < points).any(axis=2)
    return np.asarray((no_worse & better).any(axis=0))


@settings(max_examples=40)
@given(ANY_POINTS)
def test_the_front_is_what_the_definition_says(points: Points) -> None:
    assert (non_dominated(points) == ~dominated_by_definition(points)).all()


@settings(max_examples=40)
@given(ANY_POINTS)
def test_the_front_equals_pymoos(points: Points) -> None:
    first = NonDominatedSorting().do(points, only_non_dominated_front=True)

    assert np.flatnonzero(non_dominated(points)).tolist() == sorted(first)


@settings(max_examples=40)
@given(ANY_POINTS)
def test_the_front_of_a_front_is_itself_and_never_empty(points: Points) -> None:
    front = points[non_dominated(points)]

    assert len(front) > 0
    assert non_dominated(front).all()


@settings(max_examples=40)
@given(ANY_POINTS, st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order_of_points(points: Points, random) -> None:
    order = np.array(random.sample(range(len(points)), len(points)))

    assert (non_dominated(points[order]) == non_dominated(points)[order]).all()


@pytest.mark.parametrize("objectives", [2, 3])
def test_equal_points_do_not_dominate_each_other(objectives: int) -> None:
    points = np.array([[1.0] * objectives] * 3 + [[2.0] * objectives])

    assert non_dominated(points).tolist() == [True, True, True, False]


def test_no_points_have_no_front() -> None:
    assert non_dominated(np.empty((0, 2))).shape == (0,)
    assert non_dominated(np.empty((0, 3))).shape == (0,)


# --- Hypervolume -------------------------------------------------------------------------------


@settings(max_examples=40)
@given(ANY_POINTS)
def test_the_hypervolume_equals_pymoos(points: Points) -> None:
    reference = np.full(points.shape[1], 0.9)

    assert hypervolume(points, reference) == pytest.approx(HV(ref_point=reference)(points))


@settings(max_examples=40)
@given(ANY_POINTS)
def test_the_hypervolume_is_that_of_the_front_alone(points: Points) -> None:
    reference = np.full(points.shape[1], 1.5)

    whole = hypervolume(points, reference)

    assert hypervolume(points[non_dominated(points)], reference) == pytest.approx(whole)


@settings(max_examples=40)
@given(st.sampled_from([2, 3]).flatmap(points_of), st.floats(0.1, 1.0))
def test_the_hypervolume_never_falls_when_a_point_is_added(points: Points, share: float) -> None:
    reference = np.full(points.shape[1], 1.5)
    part = points[: max(1, int(share * len(points)))]

    assert hypervolume(points, reference) >= hypervolume(part, reference) - 1e-12


@pytest.mark.parametrize(
    ("points", "reference", "volume"),
    [
        ([[0.0, 0.0, 0.0]], [2.0, 3.0, 4.0], 24.0),
        # Two unit cubes' worth of overlap counted once: 4 + 4 - 2.
        ([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [2.0, 2.0, 2.0], 6.0),
        ([[1.0], [3.0]], [4.0], 3.0),
        ([[4.0, 0.0]], [4.0, 4.0], 0.0),
        ([], [4.0, 4.0], 0.0),
    ],
)
def test_hypervolumes_counted_by_hand(
    points: list[list[float]], reference: list[float], volume: float
) -> None:
    array = np.array(points, dtype=np.float64).reshape(-1, len(reference))

    assert hypervolume(array, np.array(reference)) == volume


# --- Ranks and crowding ------------------------------------------------------------------------


@settings(max_examples=40)
@given(TWO_OBJECTIVES)
def test_ranks_of_distinct_points_equal_pymoos_sorting(points: Points) -> None:
    assume(len(np.unique(points, axis=0)) == len(points))
    fronts = NonDominatedSorting().do(points)

    ranks = front_ranks(points, len(points))

    assert [np.flatnonzero(ranks == rank).tolist() for rank in range(len(fronts))] == [
        sorted(front) for front in fronts
    ]


@settings(max_examples=40)
@given(TWO_OBJECTIVES, st.integers(1, 24))
def test_peeling_stops_when_enough_points_have_a_rank(points: Points, enough: int) -> None:
    ranks, all_ranks = front_ranks(points, enough), front_ranks(points, len(points))
    last = ranks.max()

    assert (ranks[ranks < last] == all_ranks[ranks < last]).all()
    assert (all_ranks[ranks == last] >= last).all()
    assert (all_ranks < ranks.max() + (ranks == last).any()).sum() >= min(enough, len(points))


def test_no_points_have_no_ranks() -> None:
    assert front_ranks(np.empty((0, 2)), 5).shape == (0,)
    assert crowding(np.empty((0, 2)), np.empty(0, dtype=np.int64)).shape == (0,)


@settings(max_examples=40)
@given(TWO_OBJECTIVES)
def test_the_ends_of_every_front_are_infinitely_far_apart(points: Points) -> None:
    assume(len(np.unique(points, axis=0)) == len(points))
    ranks = front_ranks(points, len(points))

    distance = crowding(points, ranks)

    for rank in range(ranks.max() + 1):
        front = np.flatnonzero(ranks == rank)
        for column in points[front].T:
            assert np.isinf(distance[front[np.argmin(column)]])
            assert np.isinf(distance[front[np.argmax(column)]])


def test_crowding_is_the_one_of_the_paper() -> None:
    """Deb et al. 2002, III-B: gaps between the neighbours over the span, summed."""
    points = np.array([[0.0, 10.0], [1.0, 6.0], [3.0, 5.0], [10.0, 0.0]])

    distance = crowding(points, np.zeros(4, dtype=np.int64))

    assert np.isinf(distance[[0, 3]]).all()
    assert distance[1:3] == pytest.approx([3 / 10 + 5 / 10, 9 / 10 + 6 / 10])


def test_crowding_does_not_look_into_other_fronts() -> None:
    """In one column 1, 2, 3 and 2, 4, 6: the span of all is 5, ends are infinitely far."""
    points = np.array([[1.0], [2.0], [3.0], [2.0], [4.0], [6.0]])

    distance = crowding(points, np.array([0, 0, 0, 1, 1, 1]))

    assert np.isinf(distance[[0, 2, 3, 5]]).all()
    assert distance[[1, 4]] == pytest.approx([2 / 5, 4 / 5])
