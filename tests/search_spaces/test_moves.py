from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import SPACES
from search_spaces.architecture import Architecture, Population
from search_spaces.moves import crossover, mutate, neighbours, sample, unique_rows

if TYPE_CHECKING:
    from tests.conftest import World

SPACE = SPACES.get("mobilenetv3")
DEPTHS = slice(1, 6)
SEEDS = st.integers(0, 2**32)


def at_full_depth(count: int, seed: int) -> Population:
    """Networks none of whose genes are hidden: what a move did is there to see."""
    genes = np.random.default_rng(seed).integers(0, SPACE.option_counts, (count, 46))
    genes[:, DEPTHS] = 2
    return Population(SPACE, genes.astype(np.int8))


@settings(max_examples=20)
@given(SEEDS)
def test_samples_are_canonical_networks_of_the_space(seed: int) -> None:
    population = sample(SPACE, 50, np.random.default_rng(seed))

    SPACE.check_genes(population.genes)
    assert (SPACE.canonical(population.genes) == population.genes).all()


def test_every_option_is_sampled_about_equally_often() -> None:
    population = sample(SPACE, 7000, np.random.default_rng(0))

    resolutions = np.bincount(population.genes[:, 0], minlength=7)
    depths = np.bincount(population.genes[:, 3], minlength=3)

    assert (np.abs(resolutions - 1000) < 150).all()
    assert (np.abs(depths - 7000 / 3) < 250).all()


@settings(max_examples=20)
@given(SEEDS, st.floats(0.0, 1.0))
def test_mutation_stays_inside_and_canonical(seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    mutated = mutate(sample(SPACE, 20, rng), rate, rng)

    SPACE.check_genes(mutated.genes)
    assert (SPACE.canonical(mutated.genes) == mutated.genes).all()


def test_mutation_at_rate_0_is_the_identity(world: World) -> None:
    population = world.networks(20)

    assert (mutate(population, 0.0, np.random.default_rng(0)).genes == population.genes).all()


def test_mutation_at_rate_1_changes_every_gene_that_shows() -> None:
    population = at_full_depth(200, 0)

    mutated = mutate(population, 1.0, np.random.default_rng(0))

    # Depths change too, and hide genes; resolution and depths themselves always show.
    assert (mutated.genes[:, :6] != population.genes[:, :6]).all()


def test_the_mutation_rate_is_the_expected_share_of_changed_genes() -> None:
    population = at_full_depth(2000, 0)

    mutated = mutate(population, 0.1, np.random.default_rng(0))

    changed = (mutated.genes[:, :6] != population.genes[:, :6]).mean()
    assert changed == pytest.approx(0.1, abs=0.01)


def test_mutation_leaves_its_argument_alone() -> None:
    population = at_full_depth(20, 0)
    before = population.genes.copy()

    mutate(population, 1.0, np.random.default_rng(0))

    assert (population.genes == before).all()


@settings(max_examples=20)
@given(SEEDS)
def test_each_gene_of_a_child_is_one_of_its_parents(seed: int) -> None:
    first, second = at_full_depth(20, seed), at_full_depth(20, seed + 1)

    child = crossover(first, second, np.random.default_rng(seed))

    assert ((child.genes == first.genes) | (child.genes == second.genes)).all()


def test_a_child_takes_half_of_its_genes_from_each_parent() -> None:
    first, second = at_full_depth(500, 0), at_full_depth(500, 0)
    second.genes[:] = (first.genes + 1) % SPACE.option_counts
    second.genes[:, DEPTHS] = 2

    child = crossover(first, second, np.random.default_rng(0))

    kernels = slice(6, 26)
    share = (child.genes[:, kernels] == first.genes[:, kernels]).mean()
    assert share == pytest.approx(0.5, abs=0.02)


def test_a_child_of_hidden_genes_is_canonical(world: World) -> None:
    child = crossover(world.networks(50, 0), world.networks(50, 1), np.random.default_rng(0))

    assert (SPACE.canonical(child.genes) == child.genes).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_neighbours_are_all_networks_one_gene_away(seed: int) -> None:
    arch = sample(SPACE, 1, np.random.default_rng(seed))[0]
    expected = {
        SPACE.canonical_arch(
            Architecture(SPACE.name, (*arch.genes[:gene], option, *arch.genes[gene + 1 :]))
        )
        for gene, count in enumerate(SPACE.option_counts)
        for option in range(count)
    }

    found = neighbours(SPACE, arch).architectures()

    assert len(set(found)) == len(found)
    assert set(found) == expected - {arch}


def test_neighbours_at_full_depth_differ_in_one_gene_or_hide_some() -> None:
    population = at_full_depth(1, 0)

    genes = neighbours(SPACE, population[0]).genes

    same_depth = (genes[:, DEPTHS] == 2).all(axis=1)
    assert ((genes != population.genes)[same_depth].sum(axis=1) == 1).all()
    # A resolution has six others; forty kernels and expansions have two; five depths have two.
    assert same_depth.sum() == 6 + 40 * 2
    assert (~same_depth).sum() == 5 * 2


def test_unique_rows_are_first_occurrences_in_order_of_appearance() -> None:
    genes = np.array([[2, 1], [0, 0], [2, 1], [1, 2], [0, 0]], dtype=np.int8)

    assert unique_rows(genes).tolist() == [0, 1, 3]
    assert unique_rows(genes[:0]).tolist() == []
    assert unique_rows(genes[:, ::-1]).tolist() == [0, 1, 3]


def test_the_same_seed_makes_the_same_moves() -> None:
    def walk() -> list[int]:
        rng = np.random.default_rng(7)
        population = sample(SPACE, 10, rng)
        child = crossover(population, mutate(population, 0.2, rng), rng)
        return [int(gene) for gene in child.genes.ravel()]

    assert walk() == walk()
