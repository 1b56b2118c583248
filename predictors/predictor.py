"""What a latency predictor is, what it learns from, and what it answers: never a bare number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, ClassVar, Literal, Self

import numpy as np

from search_spaces.architecture import BoolArray, FloatArray, GeneArray, IntArray, Population
from search_spaces.errors import UsageError
from search_spaces.moves import sample
from search_spaces.space import SearchSpace

TableKind = Literal["imported", "measured"]

# Networks that stand for a space when a typical figure is wanted.
_TYPICAL = 64


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """Latencies of networks on one target, by column; what predictors learn from.

    Attributes:
        space: Name of the search space.
        genes: (n, genes) option indices.
        target: Key of the target.
        latency_ms: (n,) latencies [ms].
        relative_se: (n,) standard error of each over the latency; 0 where unknown.
        kind: Others' numbers (`imported`) or our own (`measured`).
        provenance: Where they come from.
    """

    space: str
    genes: GeneArray
    target: str
    latency_ms: FloatArray
    relative_se: FloatArray
    kind: TableKind
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse ragged columns and impossible latencies."""
        count = len(self.genes)
        if self.latency_ms.shape != (count,) or self.relative_se.shape != (count,):
            msg = f"a latency table of {count} networks needs {count} latencies and errors"
            raise UsageError(msg)
        if not (np.isfinite(self.latency_ms) & (self.latency_ms > 0)).all():
            msg = "latencies must be positive and finite; drop the rows that are not"
            raise UsageError(msg)

    def __len__(self) -> int:
        """Number of networks."""
        return len(self.genes)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Latencies with their uncertainty: log-latency is Student-t distributed.

    Attributes:
        median_ms: (n,) [ms].
        relative_sd: (n,) scale of log-latency, about the relative error.
        dof: Degrees of freedom; few measurements make wide tails.
        extrapolated: (n,) the network is unlike what was measured; distrust the interval.
        level: Probability between `lower_ms` and `upper_ms`.
    """

    median_ms: FloatArray
    relative_sd: FloatArray
    dof: float
    extrapolated: BoolArray
    level: float = 0.9

    def __post_init__(self) -> None:
        """A prediction that is not positive, or has no uncertainty, is a bug of ours."""
        if not ((self.median_ms > 0).all() and (self.relative_sd > 0).all() and self.dof > 0):
            msg = "a prediction needs positive medians and spreads"
            raise ValueError(msg)

    def __len__(self) -> int:
        """Number of networks."""
        return len(self.median_ms)

    def quantile(self, probability: float) -> FloatArray:
        """(n,) latency that is not exceeded with that probability [ms]."""
        return np.asarray(
            self.median_ms * np.exp(student_t_quantile(probability, self.dof) * self.relative_sd)
        )

    @property
    def lower_ms(self) -> FloatArray:
        """(n,) lower end of the interval [ms]."""
        return self.quantile((1.0 - self.level) / 2.0)

    @property
    def upper_ms(self) -> FloatArray:
        """(n,) upper end of the interval [ms]."""
        return self.quantile((1.0 + self.level) / 2.0)


class LatencyPredictor(ABC):
    """A model of one target's latency; immutable, every step returns a new predictor.

    Attributes:
        model: Name of the plug-in.
        space: Name of the space.
        target: Key of the target.
        provenance: What it was learned from (JSON values).
    """

    model: ClassVar[str]
    space: str
    target: str
    provenance: Mapping[str, Any]

    @abstractmethod
    def adapt(self, table: LatencyTable) -> Self:
        """Learn from whole networks measured on the target; replaces what was adapted before.

        Raises:
            UsageError: If the table is of another space or target.
        """

    @abstractmethod
    def predict(self, population: Population) -> Prediction:
        """Predict n networks; vectorised."""

    def median_ms(self, population: Population) -> FloatArray:
        """(n,) the medians of `predict` alone [ms]; models override it if that is quicker."""
        return self.predict(population).median_ms

    def typical_spread(self, space: SearchSpace) -> float:
        """Median relative spread of predictions for networks drawn at random."""
        networks = sample(space, _TYPICAL, np.random.default_rng(0))
        return float(np.median(self.predict(networks).relative_sd))

    @abstractmethod
    def select(self, population: Population, count: int, rng: np.random.Generator) -> IntArray:
        """Choose which networks to measure next, the most telling ones.

        Args:
            population: n candidates.
            count: How many, at most n.
            rng: Source of randomness, for ties.

        Returns:
            (count,) row numbers, no repeats; a shorter list is the beginning of a longer one.
        """


def student_t_quantile(probability: float, dof: float) -> float:
    """Quantile of Student's t, without SciPy; within 1 % for dof >= 4 and 0.01 <= p <= 0.99.

    Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.5.

    Example:
        >>> round(student_t_quantile(0.95, 10), 2)
        1.81
    """
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / dof**order for order, term in enumerate(terms, start=1))
