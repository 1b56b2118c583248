"""What every search strategy promises; a new file in `nas/strategies` is tested by existing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nas.decide import Decider
from nas.problem import STRATEGIES, Problem, SearchStrategy, Told
from nas.request import SearchRequest
from search_spaces.architecture import GeneArray, Population
from search_spaces.moves import unique_rows

if TYPE_CHECKING:
    from tests.conftest import World

# Strategies evolve for a quarter of a second; each test asks once or twice.
BUDGET_MS = 4.0


@pytest.fixture(params=STRATEGIES.names())
def strategy(request: pytest.FixtureRequest) -> SearchStrategy:
    return STRATEGIES.get(request.param)


@pytest.fixture(scope="module")
def decider(world: World) -> Decider:
    """After a calibration: twelve networks were measured."""
    rng = np.random.default_rng(0)
    keys = [arch.key for arch in world.networks(12).architectures()]
    known = world.knowledge([world.measure(key, rng) for key in keys])
    return Decider(SearchRequest.build(budget_ms=BUDGET_MS), world.accuracy, known)


def problem_of(decider: Decider, budget_ms: float) -> Problem:
    """The problem at another budget."""
    request = decider.request.model_copy(update={"budget_ms": budget_ms})
    return replace(decider, request=request).problem([], decider.start)


@pytest.fixture(scope="module")
def problem(decider: Decider) -> Problem:
    return problem_of(decider, BUDGET_MS)


def ask(strategy: SearchStrategy, problem: Problem, count: int = 6, seed: int = 0) -> GeneArray:
    return strategy.ask(problem, count, np.random.default_rng(seed))


def as_set(genes: GeneArray) -> set[tuple[int, ...]]:
    return {tuple(row) for row in genes.tolist()}


def test_the_strategy_is_called_as_its_file(strategy: SearchStrategy) -> None:
    assert STRATEGIES.get(strategy.name) is strategy


def test_proposals_are_distinct_canonical_and_at_most_as_many_as_asked(
    strategy: SearchStrategy, problem: Problem
) -> None:
    genes = ask(strategy, problem)

    problem.space.check_genes(genes)
    assert 1 <= len(genes) <= 6
    assert (problem.space.canonical(genes) == genes).all()
    assert len(unique_rows(genes)) == len(genes)
    assert genes.dtype == np.int8


def test_proposals_are_new(strategy: SearchStrategy, problem: Problem) -> None:
    first = ask(strategy, problem)

    again = ask(strategy, replace(problem, avoid=np.concatenate([problem.avoid, first])))

    assert not as_set(again) & as_set(first)
    assert not as_set(again) & as_set(problem.avoid)
    assert not as_set(first) & as_set(problem.avoid)


def test_the_same_problem_and_rng_give_the_same_proposals(
    strategy: SearchStrategy, problem: Problem
) -> None:
    assert (ask(strategy, problem, seed=5) == ask(strategy, problem, seed=5)).all()


def test_asking_leaves_the_problem_alone(strategy: SearchStrategy, problem: Problem) -> None:
    before = (problem.avoid.copy(), problem.told.genes.copy(), problem.told.latency_ms.copy())

    ask(strategy, problem)

    assert (problem.avoid == before[0]).all()
    assert (problem.told.genes == before[1]).all()
    assert (problem.told.latency_ms == before[2]).all()


def test_an_impossible_budget_proposes_nothing(strategy: SearchStrategy, decider: Decider) -> None:
    assert len(ask(strategy, problem_of(decider, 1e-3))) == 0


@pytest.mark.parametrize("budget_ms", [BUDGET_MS, 100.0])
def test_a_generous_budget_proposes_better_networks_than_are_known(
    strategy: SearchStrategy, decider: Decider, budget_ms: float
) -> None:
    generous = problem_of(decider, budget_ms)

    genes = ask(strategy, generous)

    accuracy = generous.accuracy(Population(generous.space, genes))
    assert len(genes) > 0
    assert accuracy.max() > generous.incumbent > -np.inf


def test_proposals_are_likely_enough_to_hold(strategy: SearchStrategy, problem: Problem) -> None:
    genes = ask(strategy, problem)

    prediction = problem.latency.predict(Population(problem.space, genes))
    assert (problem.chance(prediction) > 0.02).all()


def test_before_anything_is_measured_networks_are_proposed(
    strategy: SearchStrategy, problem: Problem
) -> None:
    none = problem.told.genes[:0]
    empty = Told(none, np.empty(0), np.empty(0), np.empty(0))

    assert len(ask(strategy, replace(problem, told=empty, avoid=none))) > 0


def test_one_proposal_is_one(strategy: SearchStrategy, problem: Problem) -> None:
    assert len(ask(strategy, problem, count=1)) == 1


def test_the_front_is_within_the_budget_and_undominated(
    strategy: SearchStrategy, problem: Problem
) -> None:
    front = strategy.front(problem, np.random.default_rng(0))

    accuracy, prediction = problem.predict(front)
    latency = prediction.median_ms
    assert len(front) > 3
    assert (latency <= problem.budget_ms).all()
    better = (accuracy[:, None] >= accuracy) & (latency[:, None] <= latency)
    strictly = (accuracy[:, None] > accuracy) | (latency[:, None] < latency)
    assert not (better & strictly).any()
    assert len(unique_rows(front.genes)) == len(front)


def test_nothing_is_on_the_front_of_an_impossible_budget(
    strategy: SearchStrategy, decider: Decider
) -> None:
    front = strategy.front(problem_of(decider, 1e-3), np.random.default_rng(0))

    assert len(front) == 0
