"""Random sampling: the baseline that every other strategy must beat."""

from __future__ import annotations

import numpy as np

from nas.acquisition import choose
from nas.pareto import non_dominated
from nas.problem import Problem
from search_spaces.architecture import GeneArray, Population
from search_spaces.moves import sample

_SAMPLES = 20_000


class RandomSearch:
    """Of many random networks, the ones most worth measuring."""

    name = "random"

    def ask(self, problem: Problem, count: int, rng: np.random.Generator) -> GeneArray:
        """See `SearchStrategy.ask`."""
        return choose(problem, sample(problem.space, _SAMPLES, rng), count)

    def front(self, problem: Problem, rng: np.random.Generator) -> Population:
        """See `SearchStrategy.front`."""
        population = sample(problem.space, _SAMPLES, rng)
        accuracy, prediction = problem.predict(population)
        keep = np.flatnonzero(prediction.median_ms <= problem.budget_ms)
        points = np.column_stack([-accuracy, prediction.median_ms])[keep]
        return Population(problem.space, population.genes[keep[non_dominated(points)]])


STRATEGY = RandomSearch()
