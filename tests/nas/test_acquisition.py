from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.acquisition import SMALLEST_GAIN, choose, expected_best, short_list
from nas.problem import Problem, Told
from predictors.predictor import Prediction
from search_spaces.architecture import Population

if TYPE_CHECKING:
    from tests.conftest import World

CANDIDATES = st.lists(
    st.tuples(st.integers(0, 10), st.floats(0.0, 1.0)), min_size=0, max_size=6
).map(lambda rows: np.array(rows, dtype=np.float64).reshape(-1, 2))


def by_enumeration(accuracy: np.ndarray, chance: np.ndarray, floor: float) -> float:
    """Every outcome of every candidate, weighted by its probability."""
    total = 0.0
    for holds in product([False, True], repeat=len(accuracy)):
        probability = np.prod([p if held else 1 - p for p, held in zip(chance, holds, strict=True)])
        best = max([floor, *(a for a, held in zip(accuracy, holds, strict=True) if held)])
        total += float(probability) * best
    return total


@given(CANDIDATES, st.floats(-1.0, 11.0))
def test_the_expected_best_equals_its_enumeration(candidates: np.ndarray, floor: float) -> None:
    accuracy, chance = candidates.T

    found = expected_best(accuracy, chance, floor)

    assert found == pytest.approx(by_enumeration(accuracy, chance, floor))


class Fixed:
    """A predictor and an accuracy that say what they are told, network by network."""

    name = "accuracy"
    unit = "%"

    def __init__(self, networks: Population, accuracy: list[float], latency: list[float]) -> None:
        rows = [arch.key for arch in networks.architectures()]
        self._accuracy = dict(zip(rows, accuracy, strict=True))
        self._latency = dict(zip(rows, latency, strict=True))

    def __call__(self, population: Population) -> np.ndarray:
        return np.array([self._accuracy[arch.key] for arch in population.architectures()])

    def predict(self, population: Population) -> Prediction:
        median = np.array([self._latency[arch.key] for arch in population.architectures()])
        return Prediction(
            median, np.full(len(median), 0.02), 30.0, np.zeros(len(median), dtype=bool)
        )


def problem(
    networks: Population, accuracy: list[float], latency: list[float], **changes: Any
) -> Problem:
    fixed = Fixed(networks, accuracy, latency)
    none = networks.genes[:0]
    fields: dict[str, Any] = {
        "space": networks.space, "accuracy": fixed, "latency": fixed, "budget_ms": 5.0,
        "risk": 0.05, "told": Told(none, np.empty(0), np.empty(0), np.empty(0)), "avoid": none,
    }  # fmt: skip
    return Problem(**(fields | changes))


def known(networks: Population, accuracy: list[float], chance: list[float]) -> Told:
    """The first networks, measured."""
    count = len(accuracy)
    return Told(networks.genes[:count], np.array(accuracy), np.full(count, 4.0), np.array(chance))


@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_never_more_than_count_are_chosen(world: World, count: int) -> None:
    networks = world.networks(10)
    varied = [70.0 + row for row in range(10)]
    wanted = problem(networks, varied, [4.9 + 0.02 * row for row in range(10)])

    assert len(choose(wanted, networks, count)) <= count


def test_the_best_network_that_surely_holds_is_all_that_is_chosen(world: World) -> None:
    networks = world.networks(3)

    chosen = choose(problem(networks, [70.0, 75.0, 80.0], [1.0, 1.0, 50.0]), networks, 3)

    assert (chosen == networks.genes[1:2]).all()
    assert len(chosen) == 1


def test_a_sure_network_is_kept_beside_a_better_but_doubtful_one(world: World) -> None:
    networks = world.networks(3)

    chosen = choose(problem(networks, [70.0, 75.0, 80.0], [1.0, 1.0, 5.0]), networks, 3)

    assert {tuple(row) for row in chosen.tolist()} == {
        tuple(row) for row in networks.genes[1:].tolist()
    }


def test_the_greedy_choice_is_the_best_pair(world: World) -> None:
    networks = world.networks(6)
    accuracy = [70.0, 71.5, 72.0, 73.1, 74.0, 74.2]
    wanted = problem(networks, accuracy, [4.0, 4.8, 4.9, 4.94, 5.0, 5.05])
    chance = wanted.chance(wanted.latency.predict(networks))
    floor = min(accuracy) - 1.0

    chosen = choose(wanted, networks, 2)

    def worth(rows: list[int]) -> float:
        return expected_best(np.array(accuracy)[rows], chance[rows], floor)

    rows = [networks.genes.tolist().index(row) for row in chosen.tolist()]
    best = max(worth([a, b]) for a in range(6) for b in range(a))
    assert worth(rows) == pytest.approx(best, rel=0.001)


@pytest.mark.parametrize(("gain", "expected"), [(0.9, 0), (1.1, 1)])
def test_a_gain_below_what_can_be_told_apart_is_not_measured(
    world: World, gain: float, expected: int
) -> None:
    networks = world.networks(2)
    told = known(networks, [75.0], [1.0])
    better = 75.0 + gain * SMALLEST_GAIN

    chosen = choose(
        problem(networks, [75.0, better], [4.0, 1.0], told=told, avoid=told.genes), networks, 6
    )

    assert len(chosen) == expected


def test_what_was_proposed_before_is_not_chosen_again(world: World) -> None:
    networks = world.networks(3)
    wanted = problem(networks, [70.0, 71.0, 72.0], [1.0] * 3, avoid=networks.genes[2:])

    chosen = choose(wanted, networks, 3)

    assert (chosen == networks.genes[1:2]).all()


def test_a_repeated_candidate_is_chosen_once(world: World) -> None:
    networks = world.networks(2)
    twice = Population(networks.space, np.concatenate([networks.genes, networks.genes]))

    assert len(choose(problem(networks, [70.0, 71.0], [4.9, 4.95]), twice, 4)) == 2


def test_no_candidates_make_no_choice(world: World) -> None:
    networks = world.networks(1)

    assert len(choose(problem(networks, [70.0], [1.0]), world.space.population([]), 3)) == 0
    assert len(choose(problem(networks, [70.0], [1.0], avoid=networks.genes), networks, 3)) == 0


@pytest.mark.parametrize(
    ("accuracy", "chance", "rows"),
    [
        # Surely the best: nothing else could win.
        ([70.0, 75.0, 72.0], [1.0, 1.0, 1.0], [1]),
        # A doubtful best beside the surest of the others, most accurate first.
        ([70.0, 75.0, 74.6], [1.0, 0.5, 1.0], [1, 2]),
        # Hopeless networks are not worth an occasion.
        ([70.0, 75.0, 74.5], [0.1, 0.1, 0.0], []),
        # Nor are those a point below the best at hand.
        ([75.0, 73.0, 72.0], [0.9, 1.0, 1.0], [0]),
    ],
    ids=["sure", "doubtful", "hopeless", "much worse"],
)
def test_the_short_list_has_the_best_expected_winner(
    world: World, accuracy: list[float], chance: list[float], rows: list[int]
) -> None:
    networks = world.networks(3)
    told = known(networks, accuracy, chance)

    found = short_list(problem(networks, accuracy, [4.0] * 3, told=told), 3)

    assert found.tolist() == rows


def test_the_short_list_is_as_short_as_asked_for(world: World) -> None:
    networks = world.networks(6)
    accuracy = [74.0 + 0.1 * row for row in range(6)]
    told = known(networks, accuracy, [0.6] * 6)

    found = short_list(problem(networks, accuracy, [4.0] * 6, told=told), 3)

    assert found.tolist() == [5, 4, 3]


def test_without_measured_networks_the_short_list_is_empty(world: World) -> None:
    networks = world.networks(1)

    assert len(short_list(problem(networks, [70.0], [4.0]), 3)) == 0
