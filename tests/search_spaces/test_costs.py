from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import SPACES
from search_spaces.architecture import Architecture, Choice, GeneArray, Population
from search_spaces.costs import COSTS, costs, gather_sum
from search_spaces.errors import UsageError
from search_spaces.graph import OpGraph
from search_spaces.ops import Conv, whole
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


class Pointwise(SearchSpace):
    """One convolution whose width is a gene; the second gene changes nothing."""

    name = "pointwise"
    choices = (Choice("width", (1, 2, 4)), Choice("idle", (0, 1)))

    def __init__(self) -> None:
        self.drawn: list[Architecture] = []

    def canonical(self, genes: GeneArray) -> GeneArray:
        return genes * np.array([1, 0], dtype=np.int8)

    def graph(self, arch: Architecture) -> OpGraph:
        self.drawn.append(arch)
        width = self.choices[0].options[self.check(arch)[0]]
        conv = Conv(
            name="c", inputs=("input",), shape=(width, 4, 4), in_channels=3, kernel=1,
            weight=whole("c", width, 3, 1, 1),
        )  # fmt: skip
        return OpGraph((3, 4, 4), (conv,))


def test_networks_of_a_space_that_is_no_chain_cost_what_their_graphs_say() -> None:
    space = Pointwise()
    population = Population(space, np.array([[2, 0], [0, 1], [2, 1]], dtype=np.int8))

    found = costs(population)

    graphs = [space.graph(arch) for arch in population.architectures()]
    for name in COSTS:
        assert found[name].tolist() == [getattr(graph, name) for graph in graphs], name


def test_each_network_of_a_space_that_is_no_chain_is_drawn_once() -> None:
    space = Pointwise()
    population = Population(space, np.array([[2, 0], [0, 1], [2, 1], [0, 0]], dtype=np.int8))

    costs(population)
    costs(population, ("macs",))

    assert [arch.genes for arch in space.drawn] == [(0, 0), (2, 0)]


def test_remembered_costs_do_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search_spaces.space._REMEMBERED", 2)
    space = Pointwise()
    whole_space = Population(space, np.array([[0, 0], [1, 0], [2, 0]], dtype=np.int8))

    assert costs(whole_space, ("macs",))["macs"].tolist() == [48.0, 96.0, 192.0]
    assert len(space._known_costs) <= 2


def test_an_empty_population_of_such_a_space_costs_nothing() -> None:
    assert costs(Pointwise().population([]), ("macs",))["macs"].shape == (0,)


def test_the_whole_network_is_the_one_block_of_such_a_space() -> None:
    space = Pointwise()
    arch = Architecture("pointwise", (1, 0))

    (block,) = space.blocks_of(arch)

    assert block.graph().digest == space.graph(arch).digest
