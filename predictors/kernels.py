"""Covariance between networks: a weighted sum of simple kernels, weights learned by likelihood.

Every kernel has a mean diagonal of about 1 over the networks it was standardised on, so that a
weight is a share of variance. Two kernels are linear (which option where; how often which block),
one linear and one Gaussian in the analytic features, the others fall with the share of positions at
which two networks differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.space_features import Features
from search_spaces.architecture import FloatArray

# Shares of differing positions at which similarity has fallen to 1/e.
_HAMMING_SCALES = (0.15, 0.6)
_SMALL = 1e-9


@dataclass(frozen=True)
class KernelRows:
    """What kernels need of n networks.

    Attributes:
        linear: (n, d) each, mean squared length 1.
        analytic: (n, a) standardised, divided by the root of a.
        onehots: (n, w) codes.
        positions: Coded positions in each of `onehots`.
    """

    linear: tuple[FloatArray, ...]
    analytic: FloatArray
    onehots: tuple[FloatArray, ...]
    positions: tuple[int, ...]

    def __len__(self) -> int:
        """Number of networks."""
        return len(self.analytic)

    def take(self, rows: NDArray[np.int64] | slice) -> KernelRows:
        """Some of the networks."""
        return KernelRows(
            tuple(part[rows] for part in self.linear), self.analytic[rows],
            tuple(part[rows] for part in self.onehots), self.positions,
        )  # fmt: skip


@dataclass(frozen=True)
class Scaling:
    """Means and factors that standardise features; columns that never vary get a factor of 0."""

    mean: FloatArray
    factor: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> Scaling:
        """Learn from (n, d) values of typical networks."""
        mean, sd = values.mean(axis=0), values.std(axis=0)
        varies = sd > _SMALL * (1.0 + np.abs(mean))
        return cls(mean, np.where(varies, 1.0 / np.where(varies, sd, 1.0), 0.0))

    def apply(self, values: FloatArray) -> FloatArray:
        """(n, d) standardised."""
        return np.asarray((values - self.mean) * self.factor)

    def unit(self, values: FloatArray) -> FloatArray:
        """(n, d) standardised and of mean squared length 1."""
        varying = max(int(np.count_nonzero(self.factor)), 1)
        return np.asarray(self.apply(values) / np.sqrt(varying))


@dataclass(frozen=True)
class Standard:
    """How the features of one space are standardised."""

    codes: Scaling
    counts: Scaling
    analytic: Scaling
    pseudo: Scaling

    @classmethod
    def of(cls, features: Features) -> Standard:
        """Learn from typical networks of the space."""
        return cls(
            Scaling.of(features.onehots[0]), Scaling.of(features.counts),
            Scaling.of(features.analytic), Scaling.of(np.sqrt(features.pseudo)),
        )  # fmt: skip

    def rows(self, features: Features) -> KernelRows:
        """What kernels need."""
        analytic = self.analytic.unit(features.analytic)
        linear = (
            self.codes.unit(features.onehots[0]), self.counts.unit(features.counts), analytic,
        )  # fmt: skip
        return KernelRows(linear, analytic, features.onehots, features.positions)

    def pseudo_devices(self, features: Features) -> FloatArray:
        """(n, p) standardised; a device whose latency is a cost is linear in the cost's root."""
        return self.pseudo.apply(np.sqrt(features.pseudo))

    def arrays(self) -> dict[str, FloatArray]:
        """All arrays, by name, for a file."""
        return {
            f"{name}_{part}": getattr(getattr(self, name), part)
            for name in ("codes", "counts", "analytic", "pseudo")
            for part in ("mean", "factor")
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.float64]]) -> Standard:
        """Read `arrays` back."""
        return cls(
            *(
                Scaling(arrays[f"{name}_mean"], arrays[f"{name}_factor"])
                for name in ("codes", "counts", "analytic", "pseudo")
            )
        )


def component_count(rows: KernelRows) -> int:
    """Number of kernels."""
    return len(rows.linear) + 1 + len(_HAMMING_SCALES) * len(rows.onehots)


def components(first: KernelRows, second: KernelRows) -> FloatArray:
    """(kernels, n, m) covariance of each network in `first` with each in `second`."""
    parts = [x @ y.T for x, y in zip(first.linear, second.linear, strict=True)]
    parts.append(_gaussian(first, second))
    for differ in _differences(first, second):
        parts += [np.exp(-differ / scale) for scale in _HAMMING_SCALES]
    return np.stack(parts)


def weighted(first: KernelRows, second: KernelRows, weights: FloatArray) -> FloatArray:
    """(n, m) sum of the kernels, each times its weight, without storing each."""
    count = len(first.linear)
    roots = np.sqrt(weights[:count])
    left = np.hstack([part * root for part, root in zip(first.linear, roots, strict=True)])
    right = np.hstack([part * root for part, root in zip(second.linear, roots, strict=True)])
    total = left @ right.T
    total += weights[count] * _gaussian(first, second)
    scales = len(_HAMMING_SCALES)
    for index, (x, y, positions) in enumerate(
        zip(first.onehots, second.onehots, first.positions, strict=True)
    ):
        # Differences are whole numbers of positions: a table answers instead of exponentials.
        share = np.arange(positions + 1) / positions
        own = weights[count + 1 + index * scales : count + 1 + (index + 1) * scales]
        table = sum(w * np.exp(-share / s) for w, s in zip(own, _HAMMING_SCALES, strict=True))
        agree = np.rint(x @ y.T).astype(np.int64)
        total += np.asarray(table)[positions - agree]
    return np.asarray(total)


def diagonal(rows: KernelRows, weights: FloatArray) -> FloatArray:
    """(n,) prior variance of each network: the diagonal of `weighted(rows, rows, weights)`."""
    linear = sum(w * (part**2).sum(axis=1) for w, part in zip(weights, rows.linear, strict=False))
    return np.asarray(linear + weights[len(rows.linear) :].sum())


def nearest(first: KernelRows, second: KernelRows) -> FloatArray:
    """(n,) distance in analytic features of each network in `first` to the nearest in `second`."""
    return np.asarray(np.sqrt(_squared_distances(first, second).min(axis=1)))


def _squared_distances(first: KernelRows, second: KernelRows) -> FloatArray:
    x, y = first.analytic, second.analytic
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2.0 * (x @ y.T)
    return np.asarray(np.maximum(squares, 0.0))


def _gaussian(first: KernelRows, second: KernelRows) -> FloatArray:
    return np.asarray(np.exp(-0.5 * _squared_distances(first, second)))


def _differences(first: KernelRows, second: KernelRows) -> list[FloatArray]:
    """(n, m) share of positions that differ, for each coding."""
    return [
        1.0 - (x @ y.T) / positions
        for x, y, positions in zip(first.onehots, second.onehots, first.positions, strict=True)
    ]
