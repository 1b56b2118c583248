"""What is known of a device before anything was measured on it, learned from other devices.

In the domain z = 2 sqrt(latency / median latency) a device is z = a + b (m(x) + g(x)) + noise, with
g a Gaussian process whose covariance adds up

- how known devices differ from their mean, and how strongly the mean itself shows (`sources`);
- analytic pseudo-devices, machines that know one cost only, for devices unlike all known ones;
- kernels of the architecture for what is left.

The variances of these parts are learned by leaving one family of devices out at a time. The root is
taken because its errors are even: logarithms are wrecked by networks that take almost no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.kernels import (
    KernelRows,
    Standard,
    component_count,
    components,
    diagonal,
    nearest,
    weighted,
)
from predictors.likelihood import adam, covariance_gradient, source_gradient
from predictors.space_features import space_features
from search_spaces import SPACES
from search_spaces.architecture import BoolArray, FloatArray, GeneArray, IntArray

# Networks that the sources' Gaussian processes keep, and those their kernel is learned on.
POOL, _LEARN = 512, 300
_SOURCE_STEPS, _SOURCE_RATE = 60, 0.15
_PRIOR_STEPS, _PRIOR_RATE, _PRIOR_ROWS, _HELD_OUT = 80, 0.1, 40, 6
OFFSET_VARIANCE = 25.0
# Devices whose latencies correlate more than this are one family (one card at two batch sizes).
_FAMILY = 0.985
# Networks predicted at once; bounds memory.
_CHUNK = 4096


def to_z(latency_ms: FloatArray, median_ms: FloatArray | float) -> FloatArray:
    """(n,) latencies in the domain in which the model is linear."""
    return np.asarray(2.0 * np.sqrt(latency_ms / median_ms))


@dataclass(frozen=True)
class DeviceRows:
    """What the prior needs of n networks.

    Attributes:
        basis: (n, sources) what each source would say of them, standardised.
        pseudo: (n, p) what each pseudo-device would say.
        kernels: Features of the networks themselves.
    """

    basis: FloatArray
    pseudo: FloatArray
    kernels: KernelRows

    def __len__(self) -> int:
        """Number of networks."""
        return len(self.basis)

    def take(self, rows: NDArray[np.int64] | slice) -> DeviceRows:
        """Some of the networks."""
        return DeviceRows(self.basis[rows], self.pseudo[rows], self.kernels.take(rows))

    def without(self, sources: BoolArray) -> DeviceRows:
        """The same networks, some sources unknown."""
        return DeviceRows(self.basis[:, ~sources], self.pseudo, self.kernels)

    @cached_property
    def mean(self) -> FloatArray:
        """(n,) mean of the sources."""
        return np.asarray(self.basis.mean(axis=1))

    @cached_property
    def deviation(self) -> FloatArray:
        """(n, sources) of each source from the mean, scaled to a covariance factor."""
        spread = np.sqrt(max(self.basis.shape[1] - 1, 1))
        return np.asarray((self.basis - self.mean[:, None]) / spread)

    @cached_property
    def pseudo_factor(self) -> FloatArray:
        """(n, p) pseudo-devices, scaled to a covariance factor."""
        return np.asarray(self.pseudo / np.sqrt(max(self.pseudo.shape[1], 1)))


@dataclass(frozen=True)
class DevicePrior:
    """The fitted prior of one space.

    Attributes:
        space: Name of the space.
        genes: (n, genes) networks that the sources' processes keep.
        alpha: (n, sources) weights of these networks.
        targets: (n, sources) standardised values of the sources themselves.
        leave_one_out: (n, sources) what each source's process says of a network without it.
        standard: How features are standardised.
        source_weights: (kernels,) variances of the sources' processes.
        residual_weights: (kernels,) variances of what is left.
        variances: (3,) of deviation, mean and pseudo-devices.
        noise: Variance of the noise.
        spread: (sources,) standard deviation of z of each source.
        width: Factor on standard deviations that makes intervals of held-out sources cover.
        typical_distance: Distance of a typical network to the nearest in the pool.
    """

    space: str
    genes: GeneArray
    alpha: FloatArray
    targets: FloatArray
    leave_one_out: FloatArray
    standard: Standard
    source_weights: FloatArray
    residual_weights: FloatArray
    variances: FloatArray
    noise: float
    spread: FloatArray
    width: float
    typical_distance: float

    @cached_property
    def _pool(self) -> KernelRows:
        return self.standard.rows(space_features(SPACES.get(self.space), self.genes))

    def rows(self, genes: GeneArray) -> DeviceRows:
        """What the prior needs of (n, genes) networks."""
        parts = [self._chunk(genes[i : i + _CHUNK]) for i in range(0, max(len(genes), 1), _CHUNK)]
        return parts[0] if len(parts) == 1 else _stack(parts)

    def _chunk(self, genes: GeneArray) -> DeviceRows:
        features = space_features(SPACES.get(self.space), genes)
        kernels = self.standard.rows(features)
        basis = weighted(kernels, self._pool, self.source_weights) @ self.alpha
        return DeviceRows(basis, self.standard.pseudo_devices(features), kernels)

    @cached_property
    def pool_rows(self) -> DeviceRows:
        """The kept networks, each by what the sources say of it without having seen it."""
        features = space_features(SPACES.get(self.space), self.genes)
        pseudo = self.standard.pseudo_devices(features)
        return DeviceRows(self.leave_one_out, pseudo, self._pool)

    def parts(self, first: DeviceRows, second: DeviceRows) -> FloatArray:
        """(4, n, m) covariance by deviation, mean, pseudo-devices and residual, as fitted."""
        deviation, mean, pseudo = self.variances
        return np.stack(
            [
                deviation * (first.deviation @ second.deviation.T),
                mean * np.outer(first.mean, second.mean),
                pseudo * (first.pseudo_factor @ second.pseudo_factor.T),
                weighted(first.kernels, second.kernels, self.residual_weights),
            ]
        )

    def part_variances(self, rows: DeviceRows) -> FloatArray:
        """(4, n) diagonals of `parts(rows, rows)`."""
        deviation, mean, pseudo = self.variances
        return np.stack(
            [
                deviation * (rows.deviation**2).sum(axis=1),
                mean * rows.mean**2,
                pseudo * (rows.pseudo_factor**2).sum(axis=1),
                diagonal(rows.kernels, self.residual_weights),
            ]
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays, by name, for a file."""
        return {
            **{name: getattr(self, name) for name in _ARRAYS},
            "genes": self.genes,
            "scalars": np.array([self.noise, self.width, self.typical_distance]),
            **self.standard.arrays(),
        }

    @classmethod
    def of_arrays(cls, space: str, arrays: Mapping[str, NDArray[Any]]) -> DevicePrior:
        """Read `arrays` back; `wrong_shape` says whether they fit together."""
        noise, width, distance = arrays["scalars"].tolist()
        return cls(
            space=space, genes=arrays["genes"], standard=Standard.of_arrays(arrays), noise=noise,
            width=width, typical_distance=distance, **{name: arrays[name] for name in _ARRAYS},
        )  # fmt: skip

    def wrong_shape(self) -> str | None:
        """Name of an array that does not fit the others or the space; None if all fit."""
        probe = space_features(SPACES.get(self.space), self.genes[:1])
        count, sources = len(self.genes), self.spread.shape[0]
        kernels = component_count(self.standard.rows(probe)) if self._widths_fit(probe) else -1
        wanted: dict[str, tuple[int, ...]] = dict.fromkeys(_BY_SOURCE, (count, sources))
        wanted |= {"source_weights": (kernels,), "residual_weights": (kernels,), "variances": (3,)}
        wrong = [name for name, shape in wanted.items() if getattr(self, name).shape != shape]
        return wrong[0] if wrong else None

    def _widths_fit(self, probe: Any) -> bool:
        widths = {
            "codes": probe.onehots[0], "counts": probe.counts, "analytic": probe.analytic,
            "pseudo": probe.pseudo,
        }  # fmt: skip
        return all(
            scaling.mean.shape == scaling.factor.shape == values.shape[1:]
            for name, values in widths.items()
            for scaling in [getattr(self.standard, name)]
        )


_BY_SOURCE = ("alpha", "targets", "leave_one_out")
_ARRAYS = (*_BY_SOURCE, "source_weights", "residual_weights", "variances", "spread")


def _stack(parts: Sequence[DeviceRows]) -> DeviceRows:
    kernels = [part.kernels for part in parts]
    return DeviceRows(
        np.concatenate([part.basis for part in parts]),
        np.concatenate([part.pseudo for part in parts]),
        KernelRows(
            tuple(np.concatenate(each) for each in zip(*(k.linear for k in kernels), strict=True)),
            np.concatenate([k.analytic for k in kernels]),
            tuple(np.concatenate(each) for each in zip(*(k.onehots for k in kernels), strict=True)),
            kernels[0].positions,
        ),
    )


def fit_prior(
    space: str, genes: GeneArray, latency_ms: FloatArray, rng: np.random.Generator
) -> DevicePrior:
    """Learn the prior from devices on which the same networks were measured.

    Args:
        space: Name of the space.
        genes: (n, genes) canonical networks.
        latency_ms: (n, sources) their latency on each device [ms].
        rng: Source of randomness: which networks kernels are learned on.
    """
    z = to_z(latency_ms, np.median(latency_ms, axis=0))
    spread = np.maximum(z.std(axis=0), 1e-6)
    targets = (z - z.mean(axis=0)) / spread
    features = space_features(SPACES.get(space), genes)
    standard = Standard.of(features)
    rows = standard.rows(features)
    weights, noise = _fit_sources(rows, targets, rng)
    values, vectors = np.linalg.eigh(weighted(rows, rows, weights))
    inverse = 1.0 / (np.maximum(values, 0.0)[:, None] + noise)
    alpha = vectors @ (inverse * (vectors.T @ targets))
    precision = (vectors**2) @ inverse
    prior = DevicePrior(
        space=space, genes=genes, alpha=alpha, targets=targets,
        leave_one_out=targets - alpha / precision, standard=standard, source_weights=weights,
        residual_weights=weights, variances=np.ones(3), noise=0.05, spread=spread, width=1.0,
        typical_distance=_typical_distance(rows, rng),
    )  # fmt: skip
    return _fit_variances(prior, rng)


def _typical_distance(rows: KernelRows, rng: np.random.Generator) -> float:
    """Median distance of a network to the nearest of the others."""
    order = rng.permutation(len(rows))
    half = len(rows) // 2
    return float(np.median(nearest(rows.take(order[:half]), rows.take(order[half:]))))


def _fit_sources(
    rows: KernelRows, targets: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """(kernels,) shared weights and (sources,) noise variances."""
    chosen = rng.permutation(len(rows))[:_LEARN]
    some, values = rows.take(chosen), targets[chosen]
    parts = components(some, some)
    kernels = len(parts)

    def gradient(place: FloatArray, _: int) -> FloatArray:
        slopes = source_gradient(place[:kernels], place[kernels:], parts, values)
        return np.concatenate(slopes)

    start = np.concatenate([np.full(kernels, np.log(1.0 / kernels)), np.full(values.shape[1], -3)])
    place = adam(start, gradient, _SOURCE_STEPS, _SOURCE_RATE)
    return np.exp(place[:kernels]), np.exp(place[kernels:])


def families(targets: FloatArray) -> IntArray:
    """(sources,) family of each device: linked by correlations above a bound."""
    close = np.atleast_2d(np.corrcoef(targets.T) > _FAMILY)
    np.fill_diagonal(close, True)
    family = np.arange(targets.shape[1])
    for _ in range(len(family)):
        family = np.array([family[row].min() for row in close])
    return family


def _fit_variances(prior: DevicePrior, rng: np.random.Generator) -> DevicePrior:
    """Variances of the parts, by likelihood of held-out families of sources."""
    rows, targets = prior.pool_rows, prior.targets
    family = families(targets)
    if len(set(family.tolist())) < 3:
        family = np.arange(targets.shape[1])
    kernels = len(prior.source_weights)
    ones = np.ones((_PRIOR_ROWS, _PRIOR_ROWS))

    def gradient(place: FloatArray, _: int) -> FloatArray:
        variances = np.exp(place)
        slope = np.zeros_like(place)
        held_out = rng.permutation(targets.shape[1])[:_HELD_OUT]
        for source in held_out:
            chosen = rng.permutation(len(rows))[:_PRIOR_ROWS]
            some = rows.take(chosen).without(family == family[source])
            matrices = np.concatenate(
                [
                    (some.deviation @ some.deviation.T)[None],
                    np.outer(some.mean, some.mean)[None],
                    (some.pseudo_factor @ some.pseudo_factor.T)[None],
                    components(some.kernels, some.kernels),
                    np.eye(len(chosen))[None],
                ]
            )
            fixed = OFFSET_VARIANCE * ones[: len(chosen), : len(chosen)]
            error = targets[chosen, source] - some.mean
            slope += covariance_gradient(variances, matrices, fixed, error) / len(held_out)
        return slope + _penalty(place, kernels)

    start = np.concatenate([[0.0, -2.0, -0.4], np.full(kernels, -3.0), [-3.0]])
    place = adam(start, gradient, _PRIOR_STEPS, _PRIOR_RATE)
    values = np.exp(place)
    return replace(
        prior, variances=values[:3], residual_weights=values[3:-1], noise=float(values[-1])
    )


def _penalty(place: FloatArray, kernels: int) -> FloatArray:
    """Gradient of weak prior beliefs: sources much alike would otherwise claim that all are."""
    slope = np.zeros_like(place)
    slope[0] = 0.02 * place[0]
    slope[2] = 0.4 * (place[2] + 0.4)
    slope[3 : 3 + kernels] = -0.04 * np.maximum(-5.0 - place[3 : 3 + kernels], 0.0)
    slope[-1] = -0.04 * max(-3.5 - place[-1], 0.0)
    return slope
