"""What a run knows at a batch boundary, a pure function of stored measurements.

Both the search and its replay build it the same way, so that the same stored outcomes lead to the
same decisions (ADR 0005).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from devices.measurement import Measurement
from devices.quiet import Quiet, quiet_time
from predictors.models.block_lut import BlockLut
from predictors.predictor import LatencyTable
from search_spaces.architecture import Architecture, FloatArray, GeneArray
from search_spaces.space import ChainSpace

# Ratios of one network differ between occasions by more than their samples' spread: placement in
# memory, what the caches held, who else was on the host. Measured 0.7-1.4 %; the prior weighs as
# much as eight repeats.
BETWEEN_SD, _BETWEEN_WEIGHT = 0.01, 8.0


@dataclass(frozen=True)
class Knowledge:
    """Measurements of one target and space, and what follows from them.

    Attributes:
        space: The space.
        target: Key of the target.
        blocks: Median ratio of each measured block, by graph digest.
        networks: Measurements of whole networks in the order they were stored.
    """

    space: ChainSpace
    target: str
    blocks: Mapping[str, float]
    networks: Sequence[Measurement]

    @cached_property
    def by_network(self) -> dict[str, list[Measurement]]:
        """Measurements of each architecture key."""
        found: dict[str, list[Measurement]] = {}
        for measurement in self.networks:
            found.setdefault(measurement.subject, []).append(measurement)
        return found

    @cached_property
    def quiet(self) -> Quiet:
        """Quiet time of the reference network; 1 ms before any network was measured."""
        return quiet_time(self.networks) if self.networks else Quiet(1.0, 0.0, 0, None)

    @property
    def quiet_ms(self) -> float:
        """Quiet time of the reference network [ms]."""
        return self.quiet.time_ms

    @cached_property
    def between_sd(self) -> float:
        """Relative standard deviation of a network's ratio between occasions."""
        squares, freedom = _BETWEEN_WEIGHT * BETWEEN_SD**2, _BETWEEN_WEIGHT
        for repeats in self.by_network.values():
            logs = np.log([m.samples.ratio for m in repeats])
            if len(logs) > 1:
                within = float(np.mean(np.minimum([m.samples.ratio_se for m in repeats], 0.5) ** 2))
                squares += max(float(((logs - logs.mean()) ** 2).sum()) - within * len(logs), 0.0)
                freedom += len(logs) - 1
        return float(np.sqrt(squares / freedom))

    @cached_property
    def genes(self) -> GeneArray:
        """(m, genes) of the measured networks, in the order of `by_network`."""
        archs = [Architecture.parse(key) for key in self.by_network]
        return self.space.population(archs).genes

    @cached_property
    def _combined(self) -> tuple[FloatArray, FloatArray]:
        """(m,) log ratio and its standard error, all measurements of a network together."""
        means, errors = [], []
        for repeats in self.by_network.values():
            logs = np.array([np.log(m.samples.ratio) for m in repeats])
            # Fewer than three samples have no error of their own: half of the value, then.
            se = np.minimum([m.samples.ratio_se for m in repeats], 0.5)
            variance = se**2 + self.between_sd**2
            weight = 1.0 / variance
            means.append(float((weight * logs).sum() / weight.sum()))
            errors.append(float(1.0 / np.sqrt(weight.sum())))
        return np.array(means), np.array(errors)

    @property
    def latency_ms(self) -> FloatArray:
        """(m,) unloaded latency of each measured network [ms]."""
        return np.asarray(np.exp(self._combined[0]) * self.quiet_ms)

    @property
    def relative_error(self) -> FloatArray:
        """(m,) standard error of each latency over it, the quiet time's own left out."""
        return self._combined[1]

    def upper_ms(self, risk: float) -> FloatArray:
        """(m,) latency not exceeded with probability 1 - risk [ms]."""
        mean, error = self._combined
        return np.asarray(np.exp(mean + NormalDist().inv_cdf(1 - risk) * error) * self.quiet_ms)

    @cached_property
    def predictor(self) -> BlockLut:
        """The block table, adapted to all measured networks."""
        table = BlockLut.from_blocks(self.space, self.target, self.blocks, self.quiet_ms)
        if not self.networks:
            return table
        return table.adapt(
            LatencyTable(
                self.space.name, self.genes, self.target, self.latency_ms, self._combined[1],
                "measured",
            )
        )  # fmt: skip
