"""Learning variances by marginal likelihood: every covariance here is a sum of known matrices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from search_spaces.architecture import FloatArray

_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8
# Logarithms of variances, which stand for shares of 1, stay within these.
_LOWEST, _HIGHEST = -12.0, 4.0

Gradient = Callable[[FloatArray, int], FloatArray]
"""(parameters, number of the step) to the gradient of what is to become small."""


def adam(start: FloatArray, gradient: Gradient, steps: int, rate: float) -> FloatArray:
    """Follow a gradient downhill.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """
    place, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for step in range(1, steps + 1):
        slope = gradient(place, step - 1)
        first = _BETA1 * first + (1 - _BETA1) * slope
        second = _BETA2 * second + (1 - _BETA2) * slope**2
        mean, scale = first / (1 - _BETA1**step), np.sqrt(second / (1 - _BETA2**step))
        place = np.clip(place - rate * mean / (scale + _TINY), _LOWEST, _HIGHEST)
    return place


def source_gradient(
    log_weights: FloatArray, log_noise: FloatArray, parts: FloatArray, targets: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Gradient of the negative log likelihood of several devices that share one covariance.

    Args:
        log_weights: (kernels,) logarithms of the kernels' weights.
        log_noise: (devices,) logarithm of each device's own noise variance.
        parts: (kernels, n, n) kernels.
        targets: (n, devices) values.

    Returns:
        (kernels,) and (devices,) gradients, by the number of values.
    """
    weights, noise = np.exp(log_weights), np.exp(log_noise)
    values, vectors = np.linalg.eigh(np.tensordot(weights, parts, axes=1))
    # One decomposition serves all devices, since their covariances differ on the diagonal only.
    inverse = 1.0 / (np.maximum(values, 0.0)[:, None] + noise)
    alpha = vectors @ (inverse * (vectors.T @ targets))
    curvature = np.stack([(vectors * (part @ vectors)).sum(axis=0) for part in parts])
    trace = (curvature @ inverse).sum(axis=1)
    fit = np.array([(alpha * (part @ alpha)).sum() for part in parts])
    scale = 0.5 / targets.size
    by_noise = noise * (inverse.sum(axis=0) - (alpha**2).sum(axis=0))
    return scale * weights * (trace - fit), scale * by_noise


def covariance_gradient(
    variances: FloatArray, parts: FloatArray, fixed: FloatArray, error: FloatArray
) -> FloatArray:
    """(parts,) gradient, by log variance, of the negative log likelihood of one vector of errors.

    Args:
        variances: (parts,) factor of each matrix.
        parts: (parts, n, n) matrices.
        fixed: (n, n) covariance that is not learned.
        error: (n,) values minus their mean.
    """
    inverse = np.linalg.inv(np.tensordot(variances, parts, axes=1) + fixed)
    alpha = inverse @ error
    trace = np.einsum("ij,kji->k", inverse, parts)
    fit = np.einsum("i,kij,j->k", alpha, parts, alpha)
    return np.asarray(0.5 * variances * (trace - fit))
