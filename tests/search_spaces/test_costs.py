from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import SPACES
from search_spaces.architecture import Architecture, Choice, Population
from search_spaces.costs import COSTS, costs, gather_sum
from search_spaces.errors import UsageError
from search_spaces.graph import OpGraph
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from tests.conftest import World

SPACE = SPACES.get("mobilenetv3")
GENOTYPES = st.tuples(*[st.integers(0, len(choice.options) - 1) for choice in SPACE.choices])


@settings(max_examples=25)
@given(st.lists(GENOTYPES, min_size=1, max_size=3))
def test_costs_of_a_population_equal_those_of_its_layer_graphs(
    genotypes: list[tuple[int, ...]],
) -> None:
    population = Population(SPACE, np.array(genotypes, dtype=np.int8))

    found = costs(population)

    graphs = [SPACE.graph(arch) for arch in population.architectures()]
    for name in COSTS:
        assert found[name].tolist() == [getattr(graph, name) for graph in graphs], name


def test_costs_do_not_depend_on_the_chunks_they_are_computed_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    population = world.networks(100)
    whole = costs(population)

    monkeypatch.setattr("search_spaces.costs._CHUNK", 7)

    for name, values in costs(population).items():
        assert (values == whole[name]).all(), name


def test_an_empty_population_costs_nothing() -> None:
    assert costs(SPACE.population([]), ("macs",))["macs"].shape == (0,)


def test_missing_blocks_add_nothing_to_a_sum() -> None:
    ids = np.array([[0, -1, 2], [-1, -1, -1]])

    assert gather_sum(np.array([1.0, 10.0, 100.0]), ids).tolist() == [101.0, 0.0]


def test_an_unknown_cost_is_refused_with_those_there_are(world: World) -> None:
    with pytest.raises(UsageError, match=r"joules.*macs, parameters"):
        costs(world.networks(1), ("joules",))


class NoChain(SearchSpace):
    name = "no-chain"
    choices = (Choice("a", (1,)),)

    def graph(self, arch: Architecture) -> OpGraph:
        raise NotImplementedError


def test_a_space_that_is_no_chain_is_refused() -> None:
    with pytest.raises(UsageError, match="no-chain"):
        costs(Population(NoChain(), np.zeros((1, 1), dtype=np.int8)))
