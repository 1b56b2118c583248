"""Vectorised moves in any space: sample, mutate, crossover, neighbours, unique.

No Python loop per network: everything works on (n, genes) arrays and keeps every gene in range.
"""

from __future__ import annotations

import numpy as np

from search_spaces.architecture import Architecture, GeneArray, IntArray, Population
from search_spaces.space import SearchSpace


def sample(space: SearchSpace, count: int, rng: np.random.Generator) -> Population:
    """Draw networks with every gene uniform and independent, in canonical form.

    Args:
        space: The space.
        count: How many, n.
        rng: Source of randomness.

    Returns:
        (n, genes); repeats are possible.
    """
    genes = rng.integers(0, space.option_counts, size=(count, len(space.choices)), dtype=np.int64)
    return Population(space, space.canonical(genes.astype(np.int8)))


def mutate(population: Population, rate: float, rng: np.random.Generator) -> Population:
    """Give each gene another option with probability `rate`.

    A chosen gene always changes (if it has two options or more), so `rate` is the expected share
    of changed genes before the canonical form is taken.
    """
    space, genes = population.space, population.genes
    counts = space.option_counts
    chosen = (rng.random(genes.shape, dtype=np.float32) < rate) & (counts > 1)
    rows, columns = np.nonzero(chosen)
    shift = rng.integers(1, np.maximum(counts[columns], 2))
    mutated = genes.copy()
    mutated[rows, columns] = (genes[rows, columns] + shift) % counts[columns]
    return Population(space, space.canonical(mutated))


def crossover(first: Population, second: Population, rng: np.random.Generator) -> Population:
    """Uniform crossover: each gene of child i from row i of either parent, with equal chance."""
    take = rng.integers(0, 2, size=first.genes.shape, dtype=np.int8).astype(bool)
    genes = np.where(take, first.genes, second.genes)
    return Population(first.space, first.space.canonical(genes))


def neighbours(space: SearchSpace, arch: Architecture) -> Population:
    """All distinct networks one gene away from `arch`, in canonical form, without itself."""
    origin = np.array([space.check(arch)], dtype=np.int8)
    counts = space.option_counts
    columns = np.repeat(np.arange(len(counts)), counts - 1)
    genes = np.repeat(origin, len(columns), axis=0)
    step = np.concatenate([np.arange(1, count) for count in counts]) if len(columns) else columns
    genes[np.arange(len(columns)), columns] = (origin[0, columns] + step) % counts[columns]
    genes = space.canonical(genes)
    genes = genes[(genes != space.canonical(origin)).any(axis=1)]
    return Population(space, genes[unique_rows(genes)])


def unique_rows(genes: GeneArray) -> IntArray:
    """Indices of the first occurrence of each distinct row, in order of appearance."""
    if len(genes) == 0:
        return np.empty(0, dtype=np.int64)
    packed = np.ascontiguousarray(genes).view(np.dtype((np.void, genes.shape[1])))[:, 0]
    _, first = np.unique(packed, return_index=True)
    return np.sort(first).astype(np.int64)
