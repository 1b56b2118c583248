from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.supernet.recipe import Recipe, extremes
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError

SPACE = SPACES.get("mobilenetv3")


@given(epochs=st.integers(1, 50), warmup=st.floats(0, 5), step=st.integers(0, 500))
def test_the_rate_stays_between_nothing_and_its_highest(
    epochs: int, warmup: float, step: int
) -> None:
    recipe = Recipe(epochs=epochs, warmup_epochs=warmup, rate=0.7)

    assert 0.0 <= recipe.rate_at(step, 10) <= 0.7 + 1e-12


def test_the_rate_ends_at_nothing() -> None:
    assert Recipe(epochs=3, warmup_epochs=1).rate_at(30, 10) == pytest.approx(0.0)


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own() -> None:
    recipe = Recipe()

    first, second = recipe.order(0, 100), recipe.order(1, 100)

    assert sorted(first) == list(range(100))
    assert (first != second).any()
    assert (recipe.order(0, 100) == first).all()


def test_a_pool_changes_by_as_many_networks_as_are_refreshed() -> None:
    recipe = Recipe(pool=8, refreshed=2, random_networks=8)

    pools = [set(recipe.random_archs(SPACE, step, epoch)) for step, epoch in enumerate((0, 0, 1))]

    assert pools[0] == pools[1]
    assert len(pools[0]) == 8
    assert len(pools[0] & pools[2]) == 6


def test_recipes_survive_json() -> None:
    recipe = Recipe(epochs=7, rate=0.25, seed=3)

    assert Recipe.from_json(recipe.as_json()) == recipe


@pytest.mark.parametrize("values", [{"speed": 1}, {"epochs": "many"}, {"epochs": 1.5}])
def test_recipes_of_others_are_refused(values: dict) -> None:
    with pytest.raises(UsageError, match="is not known"):
        Recipe.from_json(values)


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"rate": -1.0}, {"ema": 1.0}, {"random_networks": 65}, {"seed": -1}]
)
def test_recipes_that_cannot_be_trained_are_refused(change: dict) -> None:
    with pytest.raises(UsageError, match=f"recipe: {next(iter(change))} is"):
        Recipe(**change)


def test_the_extremes_have_most_and_fewest_macs() -> None:
    largest, smallest = extremes(SPACE)

    assert largest == Architecture(SPACE.name, tuple(int(n) - 1 for n in SPACE.option_counts))
    assert smallest == Architecture(SPACE.name, (0,) * len(SPACE.choices))
