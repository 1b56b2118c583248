from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from nas.problem import Problem, Told, join, probability
from predictors.predictor import Prediction
from search_spaces.architecture import Population

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.fixture
def problem(world: World) -> Problem:
    networks = world.networks(3)
    told = Told(
        networks.genes, np.array([70.0, 72.0, 74.0]), np.array([3.0, 4.0, 4.9]),
        np.array([0.99, 0.85, 0.6]),
    )  # fmt: skip
    return Problem(world.space, world.accuracy, world.predictor(), 5.0, 0.05, told, networks.genes)


def prediction(median_ms: list[float], spread: float, dof: float) -> Prediction:
    count = len(median_ms)
    return Prediction(np.array(median_ms), np.full(count, spread), dof, np.zeros(count, dtype=bool))


def test_the_incumbent_is_the_most_accurate_that_is_likely_to_hold(problem: Problem) -> None:
    told = problem.told

    assert problem.incumbent == 72.0
    assert replace(problem, told=replace(told, chance=np.ones(3))).incumbent == 74.0
    assert replace(problem, told=replace(told, chance=np.full(3, 0.5))).incumbent == -np.inf


def test_the_chance_is_within_a_hundredth_of_the_normal_distributions(problem: Problem) -> None:
    steps = np.linspace(-6.0, 6.0, 241)
    limit = problem.budget_ms * (1.0 - problem.margin)
    medians = limit * np.exp(-0.03 * steps)

    found = problem.chance(prediction(medians.tolist(), 0.03, 20))

    assert found == pytest.approx(probability(steps))
    assert np.abs(found - stats.norm.cdf(steps)).max() < 0.01


def test_a_hopeless_network_has_no_chance_and_causes_no_warning(problem: Problem) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = problem.chance(prediction([1e-6, 1e6], 0.005, 20))

    assert found == pytest.approx([1.0, 0.0])


def test_at_the_budget_less_the_margin_the_chance_is_even(problem: Problem) -> None:
    limit = problem.budget_ms * (1.0 - problem.margin)

    assert problem.chance(prediction([limit], 0.02, 20)) == pytest.approx([0.5])


def test_new_is_what_was_not_proposed_and_does_not_repeat(problem: Problem, world: World) -> None:
    old, fresh = problem.avoid, world.networks(2, seed=9).genes
    genes = np.concatenate([old[:1], fresh, fresh[:1], old[2:]])

    assert problem.is_new(genes).tolist() == [False, True, True, False, False]
    assert problem.is_new(genes[:0]).tolist() == []


def test_joined_populations_keep_their_order_without_repeats(world: World) -> None:
    first, second = world.networks(3), world.networks(2, seed=9)
    again = Population(world.space, first.genes[:1])

    joined = join(world.space, [first, again, second])

    assert (joined.genes == np.concatenate([first.genes, second.genes])).all()
