"""What every strategy is given: the space, cheap metrics, the limit, and what is known so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from predictors.predictor import LatencyPredictor, Prediction
from search_spaces.architecture import BoolArray, FloatArray, GeneArray, Population
from search_spaces.catalog import Catalog
from search_spaces.moves import unique_rows
from search_spaces.space import SearchSpace

# From this chance on a measured network counts as an answer at hand.
LIKELY = 0.8


class CheapMetric(Protocol):
    """A metric computed for whole populations; what inner loops run on."""

    @property
    def name(self) -> str:
        """Such as `accuracy`."""

    @property
    def unit(self) -> str:
        """Such as `top-1 %`."""

    def __call__(self, population: Population) -> FloatArray:
        """(n,) values."""


@dataclass(frozen=True, slots=True)
class Told:
    """Networks measured in this run or before it, best knowledge of each.

    Attributes:
        genes: (m, genes), canonical, unique.
        accuracy: (m,) predicted accuracy.
        latency_ms: (m,) measured latency [ms].
        chance: (m,) probability that verification will find that the network holds; 0 for those
            it tried in vain.
    """

    genes: GeneArray
    accuracy: FloatArray
    latency_ms: FloatArray
    chance: FloatArray


@dataclass(frozen=True)
class Problem:
    """Maximise accuracy, keep latency below the budget with probability 1 - risk.

    Attributes:
        space: Where to search.
        accuracy: Predicted accuracy.
        latency: Latency predictor, adapted to all that was measured.
        budget_ms: The limit [ms].
        risk: Probability of exceeding it that is accepted.
        told: Measured networks.
        avoid: Genotypes that are not to be proposed again (measured or failed).
        margin: What verification will need below the budget, relative: its own uncertainty.
    """

    space: SearchSpace
    accuracy: CheapMetric
    latency: LatencyPredictor
    budget_ms: float
    risk: float
    told: Told
    avoid: GeneArray
    margin: float = 0.015

    @cached_property
    def incumbent(self) -> float:
        """Accuracy of the best measured network that is likely to hold; -inf if there is none."""
        likely = self.told.chance >= LIKELY
        return float(self.told.accuracy[likely].max()) if likely.any() else -np.inf

    def predict(self, population: Population) -> tuple[FloatArray, Prediction]:
        """(n,) accuracy and the latency prediction."""
        return self.accuracy(population), self.latency.predict(population)

    @cached_property
    def spread(self) -> float:
        """A typical relative spread of predictions, for inner loops that want medians only."""
        return self.latency.typical_spread(self.space)

    def chance(self, prediction: Prediction) -> FloatArray:
        """(n,) probability that a network turns out to hold, verification's margin included."""
        room = np.log(self.budget_ms * (1.0 - self.margin) / prediction.median_ms)
        return probability(room / prediction.relative_sd)

    def is_new(self, genes: GeneArray) -> BoolArray:
        """(n,) whether a genotype was not proposed before."""
        stacked = np.concatenate([self.avoid, genes])
        first = np.zeros(len(stacked), dtype=bool)
        first[unique_rows(stacked)] = True
        return first[len(self.avoid) :]


class SearchStrategy(Protocol):
    """A pure function of problem and randomness; one file in `nas/strategies` as `STRATEGY`."""

    name: str

    def ask(self, problem: Problem, count: int, rng: np.random.Generator) -> GeneArray:
        """Propose networks to measure next.

        Returns:
            (<= count, genes) canonical genotypes, distinct and new; fewer, or none, if measuring
            more cannot change the answer.
        """

    def front(self, problem: Problem, rng: np.random.Generator) -> Population:
        """Networks on the predicted trade-off of accuracy and latency, within the budget."""


STRATEGIES: Catalog[SearchStrategy] = Catalog("nas.strategies", "STRATEGY", "search strategy")


def probability(deviations: FloatArray) -> FloatArray:
    """Normal distribution function, by a logistic curve that stays within 0.01 of it."""
    return np.asarray(1.0 / (1.0 + np.exp(-1.702 * np.clip(deviations, -100.0, 100.0))))


def join(space: SearchSpace, parts: Sequence[Population]) -> Population:
    """Populations one after the other, repeated networks dropped."""
    genes = np.concatenate([part.genes for part in parts])
    return Population(space, genes[unique_rows(genes)])
