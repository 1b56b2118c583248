"""What a run knows at a batch boundary, a pure function of stored measurements.

Both the search and its replay build it the same way, so that the same stored outcomes lead to the
same decisions (ADR 0005).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from devices.measurement import Measurement
from devices.quiet import Quiet, quiet_time
from predictors.choose import device_predictor
from predictors.models.block_lut import BlockLut
from predictors.predictor import LatencyPredictor, LatencyTable
from search_spaces.architecture import Architecture, FloatArray, GeneArray
from search_spaces.space import ChainSpace, SearchSpace

# Ratios of one network differ between occasions by more than their samples' spread: placement in
# memory, what the caches held, who else was on the host. Measured 0.7-1.4 %; the prior weighs as
# much as eight repeats.
BETWEEN_SD, _BETWEEN_WEIGHT = 0.01, 8.0
# Rows of an imported table that a predictor learns from.
_MOST_IMPORTED = 256


@dataclass(frozen=True)
class Knowledge:
    """Measurements of one target and space, and what follows from them.

    Attributes:
        space: The space.
        target: Key of the target.
        blocks: Median ratio of each measured block, by graph digest.
        networks: Measurements of whole networks in the order they were stored.
        facts: What is known of the device without measuring (JSON values).
        imported: Others' latencies of the same device, if a table was imported.
        sources: Imported tables of other devices, for predictors that learn from many.
    """

    space: SearchSpace
    target: str
    blocks: Mapping[str, float]
    networks: Sequence[Measurement]
    facts: Mapping[str, Any] = field(default_factory=dict)
    imported: LatencyTable | None = None
    sources: tuple[LatencyTable, ...] = ()

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
    def table(self) -> LatencyTable | None:
        """What there is to learn from: our measurements if there are any, else others'."""
        if self.networks:
            return LatencyTable(
                self.space.name, self.genes, self.target, self.latency_ms, self._combined[1],
                "measured",
            )  # fmt: skip
        if self.imported is None:
            return None
        return replace(_thinned(self.imported), target=self.target)

    @cached_property
    def predictor(self) -> LatencyPredictor:
        """The block table where blocks were measured, else the device's few-shot predictor."""
        if self.blocks and isinstance(self.space, ChainSpace):
            table = BlockLut.from_blocks(self.space, self.target, self.blocks, self.quiet_ms)
            return table.adapt(self.table) if self.table is not None else table
        return device_predictor(self.space, self.target, self.facts, self.table, self.sources)


def _thinned(table: LatencyTable) -> LatencyTable:
    """Rows enough to learn from, the same ones every time: exact models are cubic in them."""
    if len(table) <= _MOST_IMPORTED:
        return table
    rows = np.random.default_rng(0).choice(len(table), _MOST_IMPORTED, replace=False)
    return replace(
        table, genes=table.genes[rows], latency_ms=table.latency_ms[rows],
        relative_se=table.relative_se[rows],
    )  # fmt: skip
