from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.points import KINDS, Filter, Points, order_by_interest, slider_ends
from nas.errors import StoreError
from tests.dashboard import stored


@pytest.fixture(scope="module")
def points() -> Points:
    return Points.read(stored.candidates())


def test_columns_are_the_stored_numbers(points: Points) -> None:
    candidates = stored.candidates()

    assert len(points) == sum(stored.COUNTS.values()) == len(candidates)
    assert points.latency_ms.tolist() == [c["latency_ms"] for c in candidates]
    assert points.peak_bytes.tolist() == [c["peak_activation_bytes"] for c in candidates]
    assert points.kinds() == list(KINDS)
    assert points.holds[points.kind == "verified"].tolist() == [1, 1, 1, 0]
    assert set(points.holds[points.kind != "verified"].tolist()) == {-1}


def test_what_older_runs_did_not_store_is_unknown() -> None:
    points = Points.read(
        [{"key": "toy:0", "kind": "predicted", "latency_ms": 1, "top1_percent": 7}]
    )

    assert math.isnan(points.macs[0])
    assert Filter(macs=(5.0, 6.0)).passing(points).tolist() == [True]


@pytest.mark.parametrize(
    "candidate",
    [
        {"key": "toy:0"},
        {"key": "toy:0", "kind": "measured", "latency_ms": "x", "top1_percent": 1},
        7,
    ],
)
def test_damaged_networks_are_a_store_error(candidate: object) -> None:
    with pytest.raises(StoreError, match=r"cannot be read .* nas run resume"):
        Points.read([candidate])  # type: ignore[list-item]  # that is the point


def test_no_network_at_all_is_fine() -> None:
    points = Points.read([])

    assert points.kinds() == []
    assert order_by_interest(points, None) == []
    assert Filter(on_front=True).passing(points).tolist() == []


_ranges = st.tuples(st.floats(0, 12), st.floats(0, 12)).map(lambda ends: (min(ends), max(ends)))


@given(
    kinds=st.none() | st.frozensets(st.sampled_from(KINDS)), latency=_ranges, on_front=st.booleans()
)
def test_a_filter_keeps_exactly_what_it_says(
    points: Points, kinds: frozenset[str] | None, latency: tuple[float, float], on_front: bool
) -> None:
    wanted = Filter(kinds=kinds, latency_ms=latency, on_front=on_front)
    passed = wanted.passing(points)
    kept = points.take(passed)

    expected = [
        key
        for key, kind, ms, front in zip(
            points.key, points.kind, points.latency_ms, points.on_front, strict=True
        )
        if (kinds is None or kind in kinds)
        and latency[0] <= ms <= latency[1]
        and (front or not on_front)
    ]
    assert kept.key.tolist() == expected
    assert wanted.passing(kept).all()


def test_an_open_filter_lets_all_pass(points: Points) -> None:
    assert Filter().passing(points).all()
    assert not Filter(kinds=frozenset()).passing(points).any()


def test_the_winner_comes_first_then_what_is_known_best(points: Points) -> None:
    winner = str(points.key[points.kind == "verified"][1])
    keys = order_by_interest(points, winner)

    assert keys[0] == winner
    assert sorted(keys) == sorted(points.key.tolist())
    kinds = [str(points.kind[points.key == key][0]) for key in keys[1:]]
    assert kinds == sorted(kinds, key=lambda kind: -KINDS.index(kind))


@given(st.lists(st.floats(1e-3, 1e10), min_size=1, max_size=8))
def test_a_slider_reaches_all_values(numbers: list[float]) -> None:
    values = np.array(numbers)
    ends = slider_ends(values)

    if ends is None:
        assert values.max() == values.min()
        return
    low, high, step = ends
    tolerance = 1e-9 * abs(high)
    assert low - tolerance <= values.min() < low + step + tolerance
    assert high - step - tolerance < values.max() <= high + tolerance
    assert (high - low) / step <= 1002


def test_a_slider_over_unknown_numbers_is_no_slider() -> None:
    assert slider_ends(np.array([np.nan, 3.0])) is None
    assert slider_ends(np.array([])) is None
