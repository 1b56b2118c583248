"""Block look-up table: blocks timed alone on the device, corrected by a few whole networks.

The table answers the bulk: the sum of a network's blocks. What blocks alone cannot know is a small
relative error r = log(network / sum), learned by a Gaussian process whose covariance has two parts:

- smooth: linear in the share of each part of the network, the count of blocks and the size (caches
  warmed by the block before, layout changes at a block's ends, call overhead);
- each block's own error of measurement, weighted by its share. A search looks for networks of
  blocks that seem quick, so it finds those whose time was measured too short; without this part
  they come out 3 % slower than predicted, and no number of measurements mends it.

Ten networks suffice, because the prior says that corrections are small. Everything is kept in units
of the reference network's time (ratios), which hold when the machine's speed drifts; `reference_ms`
turns them into milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

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
# the network, one for the count of blocks (each alone pays its own entry and exit), one for size,
# one for each block's own error. With residual noise they explain 150 networks of one device best.
_SD_SCALE, _SD_GROUP, _SD_COUNT, _SD_SIZE = 0.3, 0.1, 0.3, 0.1
_SD_BLOCK, _NOISE = 0.04, 0.008
# The scale of all these is learned too; the prior weighs as much as so many networks.
_SCALE_WEIGHT = 8.0
# A network whose correction is less certain than this is unlike those measured.
_EXTRAPOLATED = 0.05
# The Gaussian process is exact: its cost grows with the square of the networks it keeps.
_MOST_NETWORKS = 256


@dataclass(frozen=True)
class BlockLut(LatencyPredictor):
    """A block table with its learned correction.

    Attributes:
        space: Name of the space.
        target: Key of the target.
        block_ratio: (blocks,) time of each block alone over the reference's.
        measured: (blocks,) whether the block was measured; others are scaled from their MACs.
        reference_ms: Quiet time of the reference network [ms].
        ids: (m, slots) blocks of the networks learned from.
        inverse: (m, m) inverse covariance of their errors.
        smooth: (features,) learned smooth correction.
        block_error: (blocks,) learned relative error of each block.
        scale: Learned factor on all standard deviations.
        provenance: Where the numbers come from (JSON values).
    """

    model: ClassVar[str] = MODEL

    space: str
    target: str
    block_ratio: FloatArray
    measured: BoolArray
    reference_ms: float
    ids: IntArray
    inverse: FloatArray
    smooth: FloatArray
    block_error: FloatArray
    scale: float
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
        if measured.sum() > 1:
            slope, offset = np.polyfit(size[measured], np.log(ratio[measured]), 1)
        else:
            slope, offset = 0.0, float(np.log(ratio[measured])[0])
        filled = np.where(measured, ratio, np.exp(offset + slope * size))
        slots = space.block_ids(np.zeros((1, len(space.choices)), dtype=np.int8)).shape[1]
        return cls(
            space=space.name, target=target, block_ratio=filled, measured=measured,
            reference_ms=reference_ms, ids=np.empty((0, slots), dtype=np.int64),
            inverse=np.empty((0, 0)), smooth=np.zeros(len(space.block_groups[0]) + 3),
            block_error=np.zeros(len(filled)), scale=1.0, provenance=dict(provenance or {}),
        )  # fmt: skip

    def adapt(self, table: LatencyTable) -> Self:
        """Learn the correction from whole networks; see `LatencyPredictor.adapt`.

        Of more than 256 networks the last ones are used.
        """
        if (table.space, table.target) != (self.space, self.target):
            msg = (
                f"a table of {table.space} on {table.target} cannot adapt a predictor of "
                f"{self.space} on {self.target}"
            )
            raise UsageError(msg)
        last = slice(-_MOST_NETWORKS, None)
        ids = self._ids(Population(SPACES.get(self.space), table.genes[last]))
        base, features, shares = self._compose(ids)
        error = np.log(table.latency_ms[last] / self.reference_ms / base)
        covariance = self._covariance((features, shares), (features, shares))
        covariance += np.diag(_NOISE**2 + table.relative_se[last] ** 2)
        inverse = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
        weight = inverse @ error
        return replace(
            self,
            ids=ids,
            inverse=inverse,
            smooth=_smooth_variance(features.shape[1]) * (features.T @ weight),
            block_error=_SD_BLOCK**2 * (shares.T @ weight),
            scale=float(np.sqrt((_SCALE_WEIGHT + error @ weight) / (_SCALE_WEIGHT + len(error)))),
            provenance={**self.provenance, "networks": len(table)},
        )

    def predict(self, population: Population) -> Prediction:
        """Table sum times the learned correction, with its uncertainty."""
        ids = self._ids(population)
        base, features, shares = self._compose(ids)
        variance = self._variance(features, shares)
        absent = gather_sum((~self.measured).astype(float), ids) > 0
        return Prediction(
            median_ms=self._median_ms(base, features, ids),
            relative_sd=self.scale * np.sqrt(variance + _NOISE**2),
            dof=_SCALE_WEIGHT + len(self.ids),
            extrapolated=absent | (self.scale * np.sqrt(variance) > _EXTRAPOLATED),
        )

    def median_ms(self, population: Population) -> FloatArray:
        """The medians alone; see `LatencyPredictor.median_ms`."""
        ids = self._ids(population)
        base, features = composition(self._space, ids, self.block_ratio)
        return self._median_ms(base, features, ids)

    def select(self, population: Population, count: int, rng: np.random.Generator) -> IntArray:
        """Greedy: each next network is the one least certain after those before it."""
        if count > len(population):
            msg = f"{count} networks cannot be selected of {len(population)}"
            raise UsageError(msg)
        _, features, shares = self._compose(self._ids(population))
        variance = self._variance(features, shares) * (1.0 + 1e-9 * rng.random(len(population)))
        # Pivoted Cholesky of the covariance given what is known; one column for each chosen.
        columns = np.empty((len(population), count))
        known = self._whitened(features, shares)
        chosen: list[int] = []
        for step in range(count):
            row = int(np.argmax(np.where(np.isin(range(len(variance)), chosen), -1.0, variance)))
            one = (features[row : row + 1], shares[row : row + 1])
            column = self._covariance((features, shares), one)[:, 0]
            column -= known @ known[row] + columns[:, :step] @ columns[row, :step]
            columns[:, step] = column / np.sqrt(variance[row] + _NOISE**2)
            variance = np.maximum(variance - columns[:, step] ** 2, 0.0)
            chosen.append(row)
        return np.array(chosen, dtype=np.int64)

    def rescaled(self, reference_ms: float) -> Self:
        """The same ratios with another quiet time of the reference [ms]."""
        return replace(self, reference_ms=reference_ms)

    @property
    def _space(self) -> ChainSpace:
        space = SPACES.get(self.space)
        if not isinstance(space, ChainSpace):
            msg = f"{self.space} is no chain of blocks, so it has no block table"
            raise UsageError(msg)
        return space

    def _ids(self, population: Population) -> IntArray:
        space = population.space
        if space.name != self.space or not isinstance(space, ChainSpace):
            msg = f"this predictor knows {self.space}, not {space.name}; calibrate that space"
            raise UsageError(msg)
        return space.block_ids(population.genes)

    def _compose(self, ids: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(n,) table sum, (n, features), and (n, blocks) share of each block in the sum."""
        base, features = composition(self._space, ids, self.block_ratio)
        shares = np.zeros((len(ids), len(self.block_ratio)))
        rows, slots = np.nonzero(ids >= 0)
        blocks = ids[rows, slots]
        np.add.at(shares, (rows, blocks), self.block_ratio[blocks] / base[rows])
        return base, features, shares

    def _median_ms(self, base: FloatArray, features: FloatArray, ids: IntArray) -> FloatArray:
        own = gather_sum(self.block_error * self.block_ratio, ids) / base
        return np.asarray(self.reference_ms * base * np.exp(features @ self.smooth + own))

    def _covariance(
        self, first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]
    ) -> FloatArray:
        """(n, m) prior covariance of relative errors, from features and shares of either side."""
        smooth = (first[0] * _smooth_variance(first[0].shape[1])) @ second[0].T
        return np.asarray(smooth + _SD_BLOCK**2 * (first[1] @ second[1].T))

    def _whitened(self, features: FloatArray, shares: FloatArray) -> FloatArray:
        """(n, m) with W W^T the part of the prior covariance that the learned networks explain."""
        if not len(self.ids):
            return np.empty((len(features), 0))
        learned, root = self._learned
        return np.asarray(self._covariance((features, shares), learned) @ root)

    @cached_property
    def _learned(self) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
        """Features and shares of the networks learned from, and a root of their inverse.

        Kept, because a service asks the same predictor thousands of times.
        """
        _, features, shares = self._compose(self.ids)
        return (features, shares), np.asarray(np.linalg.cholesky(self.inverse))

    def _variance(self, features: FloatArray, shares: FloatArray) -> FloatArray:
        """(n,) variance of the relative error, residual noise left out."""
        prior = features**2 @ _smooth_variance(features.shape[1])
        prior += _SD_BLOCK**2 * (shares**2).sum(axis=1)
        known = (self._whitened(features, shares) ** 2).sum(axis=1)
        return np.asarray(np.maximum(prior - known, 0.0))

    def _check_shapes(self) -> None:
        space, networks = self._space, len(self.ids)
        slots = space.block_ids(np.zeros((1, len(space.choices)), dtype=np.int8)).shape[1]
        wanted = {
            "block_ratio": (space.block_count,),
            "measured": (space.block_count,),
            "block_error": (space.block_count,),
            "ids": (networks, slots),
            "inverse": (networks, networks),
            "smooth": (len(space.block_groups[0]) + 3,),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                msg = (
                    f"predictor file of {self.space}: {name} has shape "
                    f"{getattr(self, name).shape}, not {shape}; calibrate the device again"
                )
                raise InvalidPredictorFileError(msg)

    def dumps(self) -> bytes:
        """The predictor as a file."""
        header = {name: getattr(self, name) for name in _HEADER}
        header["provenance"] = dict(self.provenance)
        return dump_pack(MODEL, header, {name: getattr(self, name) for name in _ARRAYS})

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
        except KeyError as error:
            msg = f"predictor file lacks {error}; calibrate the device again"
            raise InvalidPredictorFileError(msg) from error
        predictor = cls(**fields)
        predictor._check_shapes()
        return predictor


_ARRAYS = ("block_ratio", "measured", "ids", "inverse", "smooth", "block_error")
_HEADER = ("space", "target", "reference_ms", "scale", "provenance")


def _smooth_variance(features: int) -> FloatArray:
    """(features,) prior variances, in the order of `composition`."""
    sd = [_SD_SCALE, *[_SD_GROUP] * (features - 3), _SD_COUNT, _SD_SIZE]
    return np.asarray(np.square(np.array(sd)))
