"""Which candidates are worth a measurement: those that can still change the answer."""

from __future__ import annotations

import numpy as np

from nas.problem import Problem, probability
from search_spaces.architecture import FloatArray, GeneArray, IntArray, Population

# The accuracy model errs by 0.04 points on average: a smaller gain is no reason to measure.
SMALLEST_GAIN = 0.05
_POOL = 2000
# A measured network with less of a chance is not verified.
_HOPE = 0.2
# How much less accurate than the best at hand a network on the short list may be, in points.
_WORSE = 1.0


def expected_best(accuracy: FloatArray, chance: FloatArray, floor: float) -> float:
    """Expected accuracy of the best network that holds, `floor` if none does.

    Args:
        accuracy: (n,) values.
        chance: (n,) independent probabilities of holding.
        floor: What there is already.
    """
    order = np.argsort(-accuracy, kind="stable")
    reached = np.concatenate([[1.0], np.cumprod(1.0 - chance[order])])
    gain = np.maximum(accuracy[order] - floor, 0.0)
    return floor + float((gain * chance[order] * reached[:-1]).sum())


def choose(problem: Problem, candidates: Population, count: int) -> GeneArray:
    """Greedily choose the set with the largest expected accuracy of its best network that holds.

    Args:
        problem: Budget, predictor and what is known.
        candidates: n networks, any.
        count: How many at most.

    Returns:
        (<= count, genes). Choosing stops when the next network would add less than a hundredth of
        `SMALLEST_GAIN`, and nothing is returned when all together promise less than it.
    """
    fresh = Population(problem.space, candidates.genes[problem.is_new(candidates.genes)])
    if len(fresh) == 0:
        return fresh.genes
    fresh = _screen(problem, fresh)
    accuracy, prediction = problem.predict(fresh)
    chance = problem.chance(prediction)
    # Without a network that holds, the worst candidate is the floor: any that holds is a gain.
    floor = problem.incumbent if np.isfinite(problem.incumbent) else float(accuracy.min()) - 1.0
    picked = _greedy(accuracy, chance, floor, count)
    if expected_best(accuracy[picked], chance[picked], floor) - floor < SMALLEST_GAIN:
        picked = picked[:0]
    return fresh.genes[picked]


def _screen(problem: Problem, population: Population) -> Population:
    """The candidates of most promise by their medians alone, where there are very many."""
    if len(population) <= _POOL:
        return population
    accuracy, median_ms = problem.accuracy(population), problem.latency.median_ms(population)
    room = np.log(problem.budget_ms * (1.0 - problem.margin) / median_ms)
    promise = probability(room / problem.spread) * (accuracy - accuracy.min())
    best = np.sort(np.argsort(-promise, kind="stable")[:_POOL])
    return Population(population.space, population.genes[best])


def short_list(problem: Problem, count: int) -> IntArray:
    """Choose measured networks to verify: the set with the best expected winner.

    Returns:
        (<= count,) rows of `problem.told`, most accurate first.
    """
    told = problem.told
    worth = np.flatnonzero(told.chance > _HOPE)
    if len(worth) == 0:
        return worth
    accuracy, chance = told.accuracy[worth], told.chance[worth]
    # Far below the best answer at hand nothing is worth an occasion.
    best = problem.incumbent if np.isfinite(problem.incumbent) else float(accuracy.max())
    rows = _greedy(accuracy, chance, best - _WORSE, count)
    return worth[rows[np.argsort(-accuracy[rows], kind="stable")]]


def _greedy(accuracy: FloatArray, chance: FloatArray, floor: float, count: int) -> IntArray:
    """Indices of the chosen, in order; all candidates are scored at once in each step."""
    chosen: list[int] = []
    open_rows = np.ones(len(accuracy), dtype=bool)
    for _ in range(min(count, len(accuracy))):
        gain = np.where(open_rows, _marginal(accuracy, chance, floor, chosen), -np.inf)
        best = int(np.argmax(gain))
        if gain[best] < 0.01 * SMALLEST_GAIN:
            break
        chosen.append(best)
        open_rows[best] = False
    return np.array(chosen, dtype=np.int64)


def _marginal(
    accuracy: FloatArray, chance: FloatArray, floor: float, chosen: list[int]
) -> FloatArray:
    """(n,) what each candidate adds to the expected best of the chosen.

    E[max(a - M, 0)] x chance, where M is the best of the chosen that holds (or the floor): M takes
    few values, so the expectation is a short sum for all candidates together.
    """
    order = sorted(chosen, key=lambda row: -accuracy[row])
    levels = np.array([*accuracy[order], floor]) if order else np.array([floor])
    held = np.array([*chance[order], 1.0]) if order else np.array([1.0])
    weight = held * np.concatenate([[1.0], np.cumprod(1.0 - held[:-1])])
    above = np.maximum(accuracy[:, None] - np.maximum(levels, floor)[None, :], 0.0)
    return np.asarray(chance * (above @ weight))
