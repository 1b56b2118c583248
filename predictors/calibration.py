"""How wide intervals must be: foretelling the known devices as if each were new.

Each family of source devices is left out in turn, a few networks of it are shown, the others are
predicted; the factor is what makes nine in ten of them fall within the interval.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from predictors.adaptation import Posterior
from predictors.design import least_error
from predictors.device_prior import DevicePrior, families, to_z
from search_spaces.architecture import FloatArray

_SAMPLES, _FAMILIES = 10, 12
_LEVEL, _NORMAL = 0.9, 1.645
_RANGE = (1.0, 3.0)


def calibrated(prior: DevicePrior, rng: np.random.Generator) -> DevicePrior:
    """The prior with the width its intervals need."""
    family = families(prior.targets)
    if len(set(family.tolist())) < 3:
        family = np.arange(prior.targets.shape[1])
    ratios = [
        _held_out(prior, int(source), family == family[source])
        for source in rng.permutation(np.unique(family, return_index=True)[1])[:_FAMILIES]
    ]
    # Half of all devices need less: an ordinary device's residuals are what samples are added to.
    width = float(np.median([np.quantile(ratio, _LEVEL) for ratio in ratios])) / _NORMAL
    return replace(prior, width=float(np.clip(width, *_RANGE)))


def _held_out(prior: DevicePrior, source: int, relatives: FloatArray) -> FloatArray:
    """(n,) errors of one source over the standard deviations stated for them."""
    rows = prior.pool_rows.without(relatives.astype(bool))
    less = replace(prior, spread=prior.spread[~relatives.astype(bool)])
    z = prior.targets[:, source] * prior.spread[source] + 2.0
    z = np.maximum(z, 0.05)
    covariance = less.parts(rows, rows).sum(axis=0) + 4.0 + 0.3 * np.outer(rows.mean, rows.mean)
    shown = least_error(covariance, prior.noise, _SAMPLES, np.random.default_rng(0))
    others = np.setdiff1d(np.arange(len(rows)), shown)
    latency_ms = (z / 2.0) ** 2
    posterior = Posterior(less, rows.take(shown), latency_ms[shown], np.zeros(len(shown)))
    mean, variance, _ = posterior.moments(rows.take(others))
    truth = to_z(latency_ms[others], posterior.median_ms) - 2.0
    return np.asarray(np.abs(truth - mean) / np.sqrt(variance))
