"""What sub-networks that were not evaluated are worth, by those that were: a Gaussian process.

Accuracy is a line over the logarithm of MACs plus a smooth function of the genes: networks that
differ in few genes differ little. Source: Rasmussen and Williams, "Gaussian Processes for Machine
Learning", 2006, chapters 2 and 5; the kernel over genes is the exponential of the Hamming distance.

Networks evaluated on the same images share most of the error that the choice of images makes, so
that a thousand images which happen to be easy do not make those networks look better than others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import (
    BoolArray,
    FloatArray,
    GeneArray,
    IntArray,
    Population,
)
from search_spaces.costs import costs
from search_spaces.moves import sample
from search_spaces.space import SearchSpace

# Before anything is evaluated: super-networks on ten classes reach 60 to 90 %, and an e-fold of
# MACs is worth a few points. Both are soon overruled.
_LEVEL, _LEVEL_SD = 75.0, 15.0
_SLOPE, _SLOPE_SD = 3.0, 3.0
# Standard deviation of the function of the genes [points], and the distance over which it forgets.
_AMPLITUDES = (0.3, 1.0, 3.0)
_LENGTHS = (3.0, 8.0, 20.0)
# Rows predicted at a time, so that the kernel's rectangle stays in the cache's neighbourhood.
_CHUNK = 8192
_TYPICAL = 256
# Networks by which amplitude and length are chosen: more would take seconds and tell little.
_CHOOSE_BY = 200
_JITTER = 1e-4
# Part of a look's variance that all looks at the same images have in common.
_SHARED = 0.7


@dataclass(frozen=True)
class Surrogate:
    """A Gaussian process over the networks of a space; nothing in it changes after creation.

    Attributes:
        space: The space; one whose costs are known by look-up.
        genes: (m, genes) evaluated networks, canonical.
        accuracy: (m,) their top-1 [%].
        std: (m,) standard deviation of each from the finite number of images [points].
        images: (m,) number of images; equal numbers mean the same images.
    """

    space: SearchSpace
    genes: GeneArray
    accuracy: FloatArray
    std: FloatArray
    images: IntArray

    @classmethod
    def empty(cls, space: SearchSpace) -> Surrogate:
        """One that knows nothing but the prior."""
        genes = np.zeros((0, len(space.choices)), dtype=np.int8)
        return cls(space, genes, np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        """Number of evaluated networks."""
        return len(self.genes)

    def told(
        self, genes: GeneArray, accuracy: FloatArray, std: FloatArray, images: IntArray
    ) -> Surrogate:
        """With more networks; one that is known already keeps its first value.

        Args:
            genes: (k, genes), canonical.
            accuracy: (k,) [%].
            std: (k,) [points].
            images: (k,) number of images.
        """
        merged = np.concatenate([self.genes, genes])
        _, first = np.unique(merged, axis=0, return_index=True)
        rows = np.sort(first)
        return Surrogate(
            self.space, merged[rows], np.concatenate([self.accuracy, accuracy])[rows],
            np.concatenate([self.std, std])[rows], np.concatenate([self.images, images])[rows],
        )  # fmt: skip

    def mean(self, population: Population) -> FloatArray:
        """(n,) expected top-1 [%]."""
        return self._walk(population, with_std=False)[0]

    def predict(self, population: Population) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Expected accuracy and how far to trust it.

        Returns:
            (n,) mean [%], (n,) standard deviation [points], and (n,) whether the network is larger
            or smaller than all that were evaluated.
        """
        mean, std = self._walk(population, with_std=True)
        if not len(self):
            return mean, std, np.ones(len(mean), dtype=bool)
        x, known = self._x(population), self._known_x
        return mean, std, (x < known.min()) | (x > known.max())

    def _walk(self, population: Population, *, with_std: bool) -> tuple[FloatArray, FloatArray]:
        x, codes = self._x(population), self._one_hot(population.genes)
        mean, variance = _LEVEL + _SLOPE * x, np.zeros(len(x))
        amplitude, length, factor, weights = self._fitted
        for start in range(0, len(x), _CHUNK):
            rows = slice(start, start + _CHUNK)
            shared = self._kernel(x[rows], codes[rows], amplitude, length)
            mean[rows] += shared @ weights
            if with_std:
                own = _LEVEL_SD**2 + (_SLOPE_SD * x[rows]) ** 2 + amplitude**2
                half = np.linalg.solve(factor, shared.T)
                variance[rows] = np.maximum(own - (half**2).sum(axis=0), 1e-6)
        return mean, np.sqrt(variance)

    @cached_property
    def _fitted(self) -> tuple[float, float, FloatArray, FloatArray]:
        """Amplitude and length of greatest evidence, the Cholesky factor, and the weights."""
        rows = slice(_CHOOSE_BY)
        part = Surrogate(
            self.space, self.genes[rows], self.accuracy[rows], self.std[rows], self.images[rows]
        )
        best = max(product(_AMPLITUDES, _LENGTHS), key=lambda pair: part._solved(*pair)[0])
        return *best, *self._solved(*best)[1:]

    def _solved(self, amplitude: float, length: float) -> tuple[float, FloatArray, FloatArray]:
        """Log evidence but for a constant, (m, m) Cholesky factor, (m,) weights."""
        same = self.images[:, None] == self.images
        noise = _SHARED * same * np.outer(self.std, self.std)
        noise += np.diag((1.0 - _SHARED) * self.std**2 + _JITTER)
        matrix = self._kernel(self._known_x, self._codes, amplitude, length) + noise
        factor: FloatArray = np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
        half = np.linalg.solve(factor, self.accuracy - _LEVEL - _SLOPE * self._known_x)
        evidence = -0.5 * float(half @ half) - float(np.log(np.diag(factor)).sum())
        return evidence, factor, np.linalg.solve(factor.T, half)

    def _kernel(
        self, x: FloatArray, codes: NDArray[np.float32], amplitude: float, length: float
    ) -> FloatArray:
        """(n, m) prior covariance of n networks with the evaluated ones."""
        # Equal genes counted by a matrix product: exact, since counts are small whole numbers.
        equal = (codes @ self._codes.T).astype(np.float64)
        smooth = amplitude**2 * np.exp((equal - self.genes.shape[1]) / length)
        return np.asarray(_LEVEL_SD**2 + _SLOPE_SD**2 * np.outer(x, self._known_x) + smooth)

    def _x(self, population: Population) -> FloatArray:
        """(n,) logarithm of MACs over those of a typical network of the space."""
        macs = costs(Population(self.space, population.genes), ("macs",))["macs"]
        return np.asarray(np.log(macs) - self._typical)

    @cached_property
    def _typical(self) -> float:
        networks = sample(self.space, _TYPICAL, np.random.default_rng(0))
        return float(np.log(costs(networks, ("macs",))["macs"]).mean())

    @cached_property
    def _known_x(self) -> FloatArray:
        return self._x(Population(self.space, self.genes))

    @cached_property
    def _codes(self) -> NDArray[np.float32]:
        return self._one_hot(self.genes)

    def _one_hot(self, genes: GeneArray) -> NDArray[np.float32]:
        """(n, options of all genes) ones where an option is taken."""
        counts: Sequence[int] = self.space.option_counts.tolist()
        columns = np.concatenate([[0], np.cumsum(counts)[:-1]]) + genes.astype(np.int64)
        codes = np.zeros((len(genes), sum(counts)), dtype=np.float32)
        codes[np.arange(len(genes))[:, None], columns] = 1.0
        return codes
