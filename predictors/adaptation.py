"""From a prior and a few measured networks to a posterior: a Bayesian model average, closed form.

How strongly a device varies (b), how far it is from the known ones, how noisy it is and which known
or imagined device it starts from are not optimised but averaged over, weighted by how likely each
choice makes the measured latencies. With three samples that is the difference between guessing one
of these and knowing that it is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from predictors.device_prior import OFFSET_VARIANCE, DevicePrior, DeviceRows, to_z
from predictors.predictor import Prediction, student_t_quantile
from search_spaces.architecture import BoolArray, FloatArray, IntArray

# Logarithms of factors on the median spread of the sources, and the width of their prior.
_SPREADS = np.array([-1.2, -0.6, 0.0, 0.6, 1.2])
_SPREAD_SD = 0.7
_DEVIATIONS, _NOISES, _RESIDUALS = (0.4, 1.0, 2.5), (0.3, 1.0, 3.0, 10.0), (0.3, 1.0, 3.0)
# Logarithm of the prior odds of a device that starts from nothing rather than the sources' mean,
# and of one that starts from pseudo-devices. The latter matter at three samples only: with nearly
# even odds for each pseudo-device, cards foretold from phones are ranked at 0.7 instead of 0.4.
_FROM_NOTHING, _FROM_PSEUDO = -2.0, 2.0
_CENTRE = 2.0  # z of the median network
# Models kept: the most likely ones up to this share of probability, and at most so many.
_SHARE, _MODELS = 0.995, 96
# Likelihoods of all choices are compared on so many samples; with more, one choice wins anyway.
_COMPARED, _COMPARED_MODELS = 64, 8
# Level at which intervals are fitted, and how many residuals of an ordinary device count beside
# those of this one.
_LEVEL, _PSEUDO_RESIDUALS = 0.9, 10
# Variance is larger by this, over the squared number of samples: with three of them even the
# weights of the models are guesses. Set on devices of families that the sources do not hold.
_FEW = 30.0
_DOF = 8.0
_FACTORS = (0.6, 4.0)
_LEAST_SD, _LEAST_Z = 0.005, 0.05
# Novelty is distance to the nearest known network over the typical one: each unit adds so much
# relative error at least, and above this the network is unlike what was measured.
_SD_OF_NOVELTY, _NOVEL = 0.01, 2.5
_UNTOLD = 0.6


@dataclass(frozen=True)
class Models:
    """A few likely models, (models,) each but `alpha` and `precision`.

    Attributes:
        weight: Probability.
        spread: b.
        factors: (models, 4) of the prior's parts, b squared included.
        noise: Noise variances in z.
        mean: Column of the mean that the model starts from.
        alpha: (models, k) weights of the samples.
        precision: (models, k, k) inverse covariance of the samples.
    """

    weight: FloatArray
    spread: FloatArray
    factors: FloatArray
    noise: FloatArray
    mean: IntArray
    alpha: FloatArray
    precision: FloatArray


def mean_columns(rows: DeviceRows) -> tuple[FloatArray, FloatArray]:
    """(n, m) means that a device may start from, and (m,) their log prior odds.

    The sources' mean, nothing, each pseudo-device, and each of these blended with the mean.
    """
    count = rows.pseudo.shape[1]
    mean = rows.mean[:, None]
    columns = np.hstack([mean, 0.0 * mean, rows.pseudo, 0.5 * (rows.pseudo + mean)])
    pseudo = np.full(2 * count, _FROM_PSEUDO - np.log(max(count, 1)))
    return columns, np.concatenate([[0.0, _FROM_NOTHING], pseudo])


@dataclass(frozen=True)
class Posterior:
    """What is believed of a device after k networks were measured on it.

    Attributes:
        prior: The prior of the space.
        rows: The k measured networks.
        latency_ms: (k,) their latencies [ms].
        relative_se: (k,) standard errors of these over them.
    """

    prior: DevicePrior
    rows: DeviceRows
    latency_ms: FloatArray
    relative_se: FloatArray

    @cached_property
    def median_ms(self) -> float:
        """Median of the measured latencies [ms]."""
        return float(np.median(self.latency_ms))

    @cached_property
    def z(self) -> FloatArray:
        """(k,) values less those of a median network."""
        return to_z(self.latency_ms, self.median_ms) - _CENTRE

    @cached_property
    def models(self) -> Models:
        """The likely models; see the module."""
        count = len(self.rows)
        if count <= _COMPARED:
            return self._average(_grid(self.prior), slice(None), _MODELS)
        some = np.linspace(0, count - 1, _COMPARED).astype(np.int64)
        likely = self._average(_grid(self.prior), some, _COMPARED_MODELS)
        grid = np.column_stack([likely.spread, likely.factors, likely.noise])
        return self._average(np.unique(grid, axis=0), slice(None), _COMPARED_MODELS)

    def _average(self, grid: FloatArray, chosen: IntArray | slice, most: int) -> Models:
        """Weigh every choice of the grid, with every mean, by the likelihood of some samples."""
        rows, z = self.rows.take(chosen), self.z[chosen]
        error = (self.relative_se[chosen] * (z + _CENTRE) / 2.0) ** 2
        spread, factors, noise = grid[:, 0], grid[:, 1:5], grid[:, 5]
        covariance = np.tensordot(factors, self.prior.parts(rows, rows), axes=1)
        covariance += OFFSET_VARIANCE + noise[:, None, None] * np.eye(len(z)) + np.diag(error)
        precision = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
        means, odds = mean_columns(rows)
        # Quadratic form of z - b m in pieces: the means are the same for every choice.
        weighed = np.asarray(precision @ np.column_stack([z, means]))
        own = np.einsum("i,gi->g", z, weighed[:, :, 0])
        cross = np.einsum("i,gim->gm", z, weighed[:, :, 1:])
        both = np.einsum("im,gim->gm", means, weighed[:, :, 1:])
        b = spread[:, None]
        log = -0.5 * (own[:, None] - 2.0 * b * cross + b**2 * both)
        log += odds - 0.5 * np.linalg.slogdet(covariance)[1][:, None]
        log += -0.5 * (np.log(b / np.median(self.prior.spread)) / _SPREAD_SD) ** 2
        weight = np.exp(log - log.max()).ravel()
        order = np.argsort(-weight, kind="stable")[:most]
        share = np.cumsum(weight[order]) / weight.sum()
        order = order[: int(np.searchsorted(share, _SHARE)) + 1]
        model, mean = np.unravel_index(order, log.shape)
        alpha = weighed[model, :, 0] - spread[model, None] * weighed[model, :, 1 + mean]
        return Models(
            weight=weight[order] / weight[order].sum(), spread=spread[model],
            factors=factors[model], noise=noise[model], mean=mean, alpha=alpha,
            precision=precision[model],
        )  # fmt: skip

    def mean_z(self, rows: DeviceRows) -> FloatArray:
        """(n,) posterior mean, all models averaged at once."""
        models = self.models
        means, _ = mean_columns(rows)
        by_mean = np.bincount(models.mean, models.weight * models.spread, means.shape[1])
        alpha = models.weight[:, None] * models.alpha
        total = means @ by_mean + OFFSET_VARIANCE * alpha.sum()
        for part, factor in zip(self.prior.parts(rows, self.rows), models.factors.T, strict=True):
            total += part @ (factor @ alpha)
        return np.asarray(total)

    def moments(self, rows: DeviceRows) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(n,) mean and variance of z, and (n,) share of prior variance that samples leave."""
        models = self.models
        cross, own = self.prior.parts(rows, self.rows), self.prior.part_variances(rows)
        means, _ = mean_columns(rows)
        mean, square, left, before = (np.zeros(len(rows)) for _ in range(4))
        for weight, spread, factors, noise, column, alpha, precision in zip(
            models.weight, models.spread, models.factors, models.noise, models.mean, models.alpha,
            models.precision, strict=True,
        ):  # fmt: skip
            covariance = np.tensordot(factors, cross, axes=1) + OFFSET_VARIANCE
            here = spread * means[:, column] + covariance @ alpha
            prior = factors @ own
            known = ((covariance @ precision) * covariance).sum(axis=1)
            variance = np.maximum(prior + OFFSET_VARIANCE - known, 1e-9 * prior)
            mean += weight * here
            square += weight * (variance + noise + here**2)
            left += weight * variance
            before += weight * prior
        return mean, np.maximum(square - mean**2, 1e-12), left / np.maximum(before, 1e-12)

    def leave_one_out(self) -> tuple[FloatArray, FloatArray]:
        """(k,) mean and variance of each sample's z, foretold from the other samples."""
        models = self.models
        diagonal = np.einsum("mii->mi", models.precision)
        mean = self.z - models.alpha / diagonal
        average = models.weight @ mean
        square = models.weight @ (1.0 / diagonal + mean**2)
        return average, np.maximum(square - average**2, 1e-12)

    @cached_property
    def dof(self) -> float:
        """Degrees of freedom of the interval."""
        return _DOF + len(self.rows)

    @cached_property
    def factor(self) -> float:
        """Factor on standard deviations, so that the interval holds what it should.

        The conformal quantile of the samples' own left-out residuals, together with those of
        devices the prior was fitted on: few samples alone would say nothing about one in ten.
        """
        z, variance = self.leave_one_out()
        middle, sd = self._relative(z, variance)
        residuals = np.abs(np.log(self.latency_ms / middle)) / sd
        steps = (np.arange(_PSEUDO_RESIDUALS) + 0.5) / _PSEUDO_RESIDUALS
        ordinary = [student_t_quantile(0.5 + p / 2.0, _DOF) for p in steps]
        together = np.concatenate([residuals, self.prior.width * np.array(ordinary)])
        rank = min(_LEVEL * (1.0 + 1.0 / len(together)), 1.0)
        wanted = float(np.quantile(together, rank))
        few = np.sqrt(1.0 + _FEW / len(self.rows) ** 2)
        return float(np.clip(few * wanted / student_t_quantile(0.95, self.dof), *_FACTORS))

    def _relative(self, z: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(n,) latency [ms] and standard deviation of its logarithm."""
        height = np.maximum(z + _CENTRE, max(_LEAST_Z, 0.3 * float(self.z.min() + _CENTRE)))
        return self.median_ms * (height / 2.0) ** 2, 2.0 * np.sqrt(variance) / height

    def latencies_ms(self, rows: DeviceRows) -> FloatArray:
        """(n,) median latencies alone [ms]."""
        return self._relative(self.mean_z(rows), np.zeros(len(rows)))[0]

    def predict(self, rows: DeviceRows, novelty: FloatArray) -> Prediction:
        """Latencies with intervals.

        Args:
            rows: n networks.
            novelty: (n,) distance to the nearest known network, over the typical one.
        """
        z, variance, untold = self.moments(rows)
        middle, sd = self._relative(z, variance)
        floor = _LEAST_SD + _SD_OF_NOVELTY * novelty
        return Prediction(
            median_ms=middle,
            relative_sd=np.maximum(self.factor * sd, floor),
            dof=self.dof,
            extrapolated=_unlike(untold, novelty),
        )


def _unlike(untold: FloatArray, novelty: FloatArray) -> BoolArray:
    return np.asarray((untold > _UNTOLD) | (novelty > _NOVEL))


def _grid(prior: DevicePrior) -> FloatArray:
    """(choices, 6) spread, factors of the four parts and noise variance, all in z."""
    spread = np.median(prior.spread) * np.exp(_SPREADS)
    axes = np.meshgrid(spread, _DEVIATIONS, _NOISES, _RESIDUALS, indexing="ij")
    b, deviation, noise, residual = (axis.ravel() for axis in axes)
    return np.column_stack(
        [b, b**2 * deviation, b**2, b**2, b**2 * residual, b**2 * noise * prior.noise]
    )
