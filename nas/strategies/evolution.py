"""Evolution on predictions: NSGA-II with constraint-domination, whole generations as arrays.

Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002. Half of
the survivors are instead the most accurate networks likely to hold: the corner of the front at
the budget is the answer, and crowding alone would leave it few places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.acquisition import choose
from nas.pareto import crowding, front_ranks, non_dominated
from nas.problem import Problem, join
from search_spaces.architecture import FloatArray, GeneArray, IntArray, Population
from search_spaces.moves import crossover, mutate, sample


@dataclass(frozen=True, slots=True)
class Evolution:
    """NSGA-II over accuracy and latency within the budget.

    Attributes:
        population: Networks that survive a generation.
        generations: How many.
        mutations: Expected number of genes that a child changes.
    """

    population: int = 1024
    generations: int = 40
    mutations: float = 1.5
    name: str = "evolution"

    def ask(self, problem: Problem, count: int, rng: np.random.Generator) -> GeneArray:
        """See `SearchStrategy.ask`."""
        return choose(problem, self._evolve(problem, rng), count)

    def front(self, problem: Problem, rng: np.random.Generator) -> Population:
        """See `SearchStrategy.front`."""
        population = self._evolve(problem, rng)
        accuracy, prediction = problem.predict(population)
        keep = np.flatnonzero(prediction.median_ms <= problem.budget_ms)
        points = np.column_stack([-accuracy, prediction.median_ms])[keep]
        return Population(problem.space, population.genes[keep[non_dominated(points)]])

    def _evolve(self, problem: Problem, rng: np.random.Generator) -> Population:
        space = problem.space
        start = [sample(space, 4 * self.population, rng)]
        if len(problem.told.genes):
            start.append(Population(space, problem.told.genes))
        parents = join(space, start)
        parents, scores = self._survive(problem, parents, *_values(problem, parents))
        rate = self.mutations / len(space.choices)
        for _ in range(self.generations):
            first, second = (_tournament(scores, self.population, rng) for _ in range(2))
            children = mutate(
                crossover(
                    Population(space, parents.genes[first]),
                    Population(space, parents.genes[second]),
                    rng,
                ),
                rate,
                rng,
            )
            # A repeated network would take two places and tell nothing.
            merged = join(space, [parents, children])
            new = Population(space, merged.genes[len(parents) :])
            if len(new) == 0:
                continue
            fresh = np.column_stack(_values(problem, new))
            columns = np.concatenate([scores[:, 1:], fresh])
            parents, scores = self._survive(problem, merged, *columns.T)
        return parents

    def _survive(
        self, problem: Problem, everyone: Population,
        accuracy: FloatArray, latency_ms: FloatArray,
    ) -> tuple[Population, FloatArray]:  # fmt: skip
        """The best `population` networks, best first.

        Returns:
            The survivors and (n, 3): order of merit, accuracy, latency.
        """
        # Domination is judged on networks that may hold: beyond three spreads over the budget the
        # excess alone counts (constraint-domination).
        excess = np.log(latency_ms / problem.budget_ms) - 3.0 * problem.spread
        feasible = excess <= 0.0
        rank = np.full(len(everyone), len(everyone), dtype=np.int64)
        inside = np.flatnonzero(feasible)
        points = np.column_stack([-accuracy[inside], latency_ms[inside]])
        rank[inside] = front_ranks(points, self.population)
        spread = np.zeros(len(everyone))
        spread[inside] = crowding(points, rank[inside])
        merit = np.lexsort((-spread, np.maximum(excess, 0.0), rank))
        room = np.log(problem.budget_ms * (1.0 - problem.margin) / latency_ms)
        likely = np.flatnonzero(room > -problem.spread)
        top = likely[np.argsort(-accuracy[likely], kind="stable")][: self.population // 2]
        merit = _first_of(np.concatenate([top, merit]))[: self.population]
        scores = np.column_stack([np.arange(len(merit)), accuracy[merit], latency_ms[merit]])
        return Population(everyone.space, everyone.genes[merit]), scores


def _values(problem: Problem, population: Population) -> tuple[FloatArray, FloatArray]:
    """(n,) accuracy and median latency: what a generation is judged by."""
    return problem.accuracy(population), problem.latency.median_ms(population)


def _first_of(rows: IntArray) -> IntArray:
    """The same numbers, later repeats dropped, order kept."""
    _, first = np.unique(rows, return_index=True)
    return rows[np.sort(first)]


def _tournament(scores: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
    """(count,) winners of random pairs; survivors are in order of merit, so the lower row wins."""
    return np.asarray(rng.integers(0, len(scores), size=(2, count)).min(axis=0))


STRATEGY = Evolution()
