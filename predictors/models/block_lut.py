"""Block look-up table: blocks timed alone on the device, corrected by a few whole networks.

The table answers the bulk: the sum of a network's blocks. What blocks alone cannot know (caches
warmed by the block before, layout changes at a block's ends, call overhead) is a smooth relative
error, learned by Bayesian linear regression of log(network / sum) on the share of each part of the
network. Ten networks suffice, because the prior says that corrections are small.

Everything is kept in units of the reference network's time (ratios), which hold when the
machine's speed drifts; `reference_ms` turns them into milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from predictors.errors import InvalidPredictorFileError
from predictors.features import composition
from predictors.files import dump_pack, load_pack
from predictors.predictor import LatencyPredictor, LatencyTable, Prediction
from search_spaces import SPACES
from search_spaces.architecture import BoolArray, FloatArray, IntArray, Population
from search_spaces.costs import gather_sum
from search_spaces.errors import UsageError
from search_spaces.space import ChainSpace

MODEL = "block-lut"

# Prior standard deviations of the corrections, relative: one scale for all, one for each part of
# the network, one for the count of blocks (each alone pays its own entry and exit), one for size.
_SD_SCALE, _SD_GROUP, _SD_COUNT, _SD_SIZE = 0.3, 0.1, 0.3, 0.1
# Prior of the residual noise: 2 % with the weight of six networks.
_NOISE, _NOISE_WEIGHT = 0.02, 6.0
# A network whose correction is less certain than this many noise units is unlike those measured.
_EXTRAPOLATED = 2.0


@dataclass(frozen=True)
class BlockLut(LatencyPredictor):
    """A block table with its learned correction.

    Attributes:
        space: Name of the space.
        target: Key of the target.
        block_ratio: (blocks,) time of each block alone over the reference's.
        measured: (blocks,) whether the block was measured; others are scaled from their MACs.
        reference_ms: Quiet time of the reference network [ms].
        mean: (features,) correction.
        covariance: (features, features) of the correction, in units of the squared noise.
        noise: Residual standard deviation, relative.
        dof: Degrees of freedom of the noise.
        provenance: Where the numbers come from (JSON values).
    """

    space: str
    target: str
    block_ratio: FloatArray
    measured: BoolArray
    reference_ms: float
    mean: FloatArray
    covariance: FloatArray
    noise: float
    dof: float
    provenance: Mapping[str, Any]

    @classmethod
    def from_blocks(
        cls, space: ChainSpace, target: str, ratio_by_digest: Mapping[str, float],
        reference_ms: float, provenance: Mapping[str, Any] | None = None,
    ) -> BlockLut:  # fmt: skip
        """Build the uncorrected table from blocks measured alone.

        Args:
            space: The space.
            target: Key of the target.
            ratio_by_digest: Median ratio of each measured block by graph digest.
            reference_ms: Quiet time of the reference [ms].
            provenance: Where the numbers come from.

        Raises:
            UsageError: If no block of the space was measured.
        """
        ratio = np.array([ratio_by_digest.get(d, np.nan) for d in space.block_digests])
        measured = np.isfinite(ratio)
        if not measured.any():
            msg = f"no block of {space.name} was measured on {target}; calibrate it first"
            raise UsageError(msg)
        # Power law in MACs over the measured blocks, for the few that failed.
        size = np.log(space.cost_table.macs + 1.0)
        slope, offset = np.polyfit(size[measured], np.log(ratio[measured]), 1)
        filled = np.where(measured, ratio, np.exp(offset + slope * size))
        prior = _prior_variance(len(space.block_groups[0]))
        return cls(
            space.name, target, filled, measured, reference_ms, np.zeros(len(prior)),
            np.diag(prior) / _NOISE**2, _NOISE, _NOISE_WEIGHT, dict(provenance or {}),
        )  # fmt: skip

    def adapt(self, table: LatencyTable) -> Self:
        """Learn the correction from whole networks; see `LatencyPredictor.adapt`."""
        if (table.space, table.target) != (self.space, self.target):
            here = f"{self.space} on {self.target}"
            msg = f"a table of {table.space} on {table.target} cannot adapt a predictor of {here}"
            raise UsageError(msg)
        base, features = self._features(Population(SPACES.get(self.space), table.genes))
        residual = np.log(table.latency_ms / self.reference_ms / base)
        # A noisy measurement counts less: its own error comes on top of the model's.
        weight = 1.0 / (1.0 + (table.relative_se / _NOISE) ** 2)
        prior = _prior_variance(features.shape[1] - 3) / _NOISE**2
        precision = np.diag(1.0 / prior) + (features * weight[:, None]).T @ features
        covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64)
        mean = covariance @ (features.T @ (weight * residual))
        misfit = residual - features @ mean
        squares = float(weight @ misfit**2 + mean @ (mean / prior))
        dof = _NOISE_WEIGHT + len(table)
        noise = float(np.sqrt((_NOISE_WEIGHT * _NOISE**2 + squares) / dof))
        return replace(
            self, mean=mean, covariance=covariance, noise=noise, dof=dof,
            provenance={**self.provenance, "networks": len(table)},
        )  # fmt: skip

    def predict(self, population: Population) -> Prediction:
        """Table sum times the learned correction."""
        base, features = self._features(population)
        unsure = np.einsum("ij,jk,ik->i", features, self.covariance, features, optimize=True)
        absent = gather_sum((~self.measured).astype(float), self._ids(population)) > 0
        return Prediction(
            median_ms=self.reference_ms * base * np.exp(features @ self.mean),
            relative_sd=self.noise * np.sqrt(1.0 + unsure),
            dof=self.dof,
            extrapolated=absent | (unsure > _EXTRAPOLATED**2),
        )

    def select(self, population: Population, count: int, rng: np.random.Generator) -> IntArray:
        """Greedy D-optimal design: each next network is the one least certain after the others."""
        if count > len(population):
            msg = f"{count} networks cannot be selected of {len(population)}"
            raise UsageError(msg)
        _, features = self._features(population)
        covariance, chosen = self.covariance.copy(), []
        open_rows = np.ones(len(population), dtype=bool)
        jitter = 1.0 + 1e-9 * rng.random(len(population))
        for _ in range(count):
            spread = features @ covariance
            unsure = (spread * features).sum(axis=1) * jitter
            row = int(np.argmax(np.where(open_rows, unsure, -np.inf)))
            chosen.append(row)
            open_rows[row] = False
            gain = spread[row]
            covariance -= np.outer(gain, gain) / (1.0 + features[row] @ gain)
        return np.array(chosen, dtype=np.int64)

    def rescaled(self, reference_ms: float) -> Self:
        """The same ratios with another quiet time of the reference [ms]."""
        return replace(self, reference_ms=reference_ms)

    def _ids(self, population: Population) -> IntArray:
        space = population.space
        if space.name != self.space or not isinstance(space, ChainSpace):
            msg = f"this predictor knows {self.space}, not {space.name}; calibrate that space"
            raise UsageError(msg)
        return space.block_ids(population.genes)

    def _features(self, population: Population) -> tuple[FloatArray, FloatArray]:
        """Table sum as a ratio (n,), and features of the relative correction (n, features)."""
        self._ids(population)
        return composition(population, self.block_ratio)

    def _check_shapes(self) -> None:
        space = SPACES.get(self.space)
        count = space.block_count if isinstance(space, ChainSpace) else 0
        features = len(self.mean)
        shapes = [array.shape for array in (self.block_ratio, self.measured, self.covariance)]
        if shapes != [(count,), (count,), (features, features)]:
            msg = (
                f"predictor file of {self.space} has arrays of shapes {shapes}; "
                f"{count} blocks are needed; calibrate the device again"
            )
            raise InvalidPredictorFileError(msg)

    def dumps(self) -> bytes:
        """The predictor as a file."""
        header = {
            "space": self.space, "target": self.target, "reference_ms": self.reference_ms,
            "noise": self.noise, "dof": self.dof, "provenance": dict(self.provenance),
        }  # fmt: skip
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return dump_pack(MODEL, header, arrays)

    @classmethod
    def loads(cls, data: bytes) -> BlockLut:
        """Read `dumps` back.

        Raises:
            InvalidPredictorFileError: If the file is not such a predictor.
        """
        header, arrays = load_pack(data, MODEL)
        try:
            fields: dict[str, Any] = {name: header[name] for name in _HEADER}
            fields |= {name: arrays[name] for name in _ARRAYS}
            predictor = cls(**fields)
        except KeyError as error:
            msg = f"predictor file lacks {error}; calibrate the device again"
            raise InvalidPredictorFileError(msg) from error
        predictor._check_shapes()
        return predictor


_ARRAYS = ("block_ratio", "measured", "mean", "covariance")
_HEADER = ("space", "target", "reference_ms", "noise", "dof", "provenance")


def _prior_variance(groups: int) -> FloatArray:
    sd = [_SD_SCALE, *[_SD_GROUP] * groups, _SD_COUNT, _SD_SIZE]
    return np.asarray(np.square(np.array(sd)))
