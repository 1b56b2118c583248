from __future__ import annotations

import numpy as np
import pytest

from nas.supernet.surrogate import Surrogate
from search_spaces import SPACES
from search_spaces.architecture import FloatArray, Population
from search_spaces.costs import costs
from search_spaces.moves import sample

SPACE = SPACES.get("mobilenetv3")


def networks(count: int, seed: int) -> Population:
    return sample(SPACE, count, np.random.default_rng(seed))


def truth(population: Population) -> FloatArray:
    """Grows with MACs, and some genes matter beside."""
    macs = costs(population, ("macs",))["macs"]
    genes = population.genes.astype(np.float64)
    return np.asarray(80.0 + 4.0 * np.log(macs / 3e8) + 0.5 * genes[:, 1:6].sum(axis=1))


def fitted(count: int, noise: float = 0.3) -> Surrogate:
    known = networks(count, 1)
    error = np.random.default_rng(9).standard_normal(count)
    return Surrogate.empty(SPACE).told(
        known.genes, truth(known) + noise * error, np.full(count, noise), np.arange(count)
    )


def test_without_evaluations_more_macs_are_better_and_nothing_is_certain() -> None:
    population = networks(50, 0)

    mean, std, extrapolated = Surrogate.empty(SPACE).predict(population)

    macs = costs(population, ("macs",))["macs"]
    assert (np.diff(mean[np.argsort(macs)]) >= 0).all()
    assert (std > 10.0).all()
    assert extrapolated.all()


def test_evaluations_rank_networks_that_were_not_evaluated() -> None:
    new = networks(200, 2)

    mean, std, _ = fitted(150).predict(new)

    error = mean - truth(new)
    assert np.corrcoef(mean, truth(new))[0, 1] > 0.95
    assert np.sqrt((error**2).mean()) < 0.7
    # The spread says about how large errors are.
    assert 0.5 < np.sqrt(((error / std) ** 2).mean()) < 1.6


def test_more_evaluations_make_smaller_errors() -> None:
    new = networks(200, 2)

    few, many = (np.abs(fitted(n).mean(new) - truth(new)).mean() for n in (10, 200))

    assert many < 0.7 * few


def test_exact_evaluations_are_given_back() -> None:
    known = networks(30, 1)
    surrogate = Surrogate.empty(SPACE).told(known.genes, truth(known), np.zeros(30), np.arange(30))

    assert surrogate.mean(known) == pytest.approx(truth(known), abs=0.05)


def test_a_look_that_was_lucky_is_not_taken_at_its_word() -> None:
    base = fitted(100)
    lucky = networks(1, 7)
    expected = base.mean(lucky)[0]

    told = base.told(lucky.genes, np.array([expected + 5.0]), np.array([1.5]), np.array([1000]))

    assert expected < told.mean(lucky)[0] < expected + 3.0


def test_easy_images_do_not_make_the_networks_judged_by_them_better() -> None:
    base, judged, others = fitted(100), networks(20, 7), networks(50, 8)
    spread = np.full(20, 1.0)

    told = base.told(judged.genes, truth(judged) + 2.0, spread, np.full(20, 1000))

    assert np.abs(told.mean(judged) - truth(judged)).mean() < 0.8
    assert np.abs(told.mean(others) - base.mean(others)).max() < 0.8


def test_a_network_told_twice_counts_once() -> None:
    known = networks(20, 1)
    columns = known.genes, truth(known), np.ones(20), np.arange(20)
    once = Surrogate.empty(SPACE).told(*columns)

    twice = once.told(*columns)

    assert len(twice) == len(once) == 20
    assert (twice.mean(networks(5, 2)) == once.mean(networks(5, 2))).all()


def test_networks_beyond_the_evaluated_sizes_are_marked() -> None:
    population = networks(100, 0)
    macs = costs(population, ("macs",))["macs"]
    middle = population.genes[np.argsort(macs)[30:70]]
    surrogate = Surrogate.empty(SPACE).told(
        middle, np.linspace(70, 80, 40), np.ones(40), np.arange(40)
    )

    _, _, extrapolated = surrogate.predict(population)

    assert extrapolated.sum() == 60


def test_no_networks_have_no_prediction() -> None:
    assert len(fitted(5).mean(SPACE.population([]))) == 0


def test_predictions_do_not_depend_on_their_neighbours() -> None:
    new, surrogate = networks(20, 2), fitted(50)

    alone = [surrogate.mean(SPACE.population([arch]))[0] for arch in new.architectures()]

    assert surrogate.mean(new) == pytest.approx(alone, abs=1e-9)
