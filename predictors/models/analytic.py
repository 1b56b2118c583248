"""Analytic: latency from a data sheet, corrected by however few networks were measured.

Without samples the answer is the roofline of the device's published figures, which is right within
a factor of two or three; the interval says so. With samples a linear correction of the logarithm is
learned, closed form: a scale, how much dearer each kind of operator and each stage is than the
roofline says, and powers of the total costs. Works in any space, for any device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from predictors.design import check_count, most_uncertain, shortlist
from predictors.errors import InvalidPredictorFileError, NotCalibratedError
from predictors.files import dump_pack, load_pack
from predictors.op_costs import CLASSES, OpTable, network_sums
from predictors.predictor import LatencyPredictor, LatencyTable, Prediction
from predictors.roofline import Machine
from predictors.space_features import one_hot
from search_spaces import SPACES
from search_spaces.architecture import FloatArray, GeneArray, IntArray, Population
from search_spaces.errors import UsageError
from search_spaces.moves import sample
from search_spaces.space import SearchSpace

MODEL = "analytic"

# Standard deviation of log(measured / roofline). On the public tables that the roofline was set on
# it is 0.3 (a factor of 1.35), nearly all of it common to all networks of a device; other machines
# and runtimes are allowed 0.5, more for each figure that had to be assumed, and much more where
# nothing is known.
_SD_SCALE, _SD_ASSUMED, _SD_UNKNOWN = 0.5, 0.3, 3.0
# Prior standard deviations of the corrections: for each kind of operator, each stage, and the
# powers of the costs; and of what no correction explains.
_SD_KIND, _SD_STAGE, _SD_POWER, _NOISE = 0.5, 0.15, 0.4, 0.05
_SCALE_WEIGHT = 8.0
_EXTRAPOLATED = 0.1
_TYPICAL = 64
_KINDS = len(CLASSES) + 1  # launches are the last


@dataclass(frozen=True)
class Analytic(LatencyPredictor):
    """A roofline with its learned correction.

    Attributes:
        space: Name of the space.
        target: Key of the target.
        facts: What is known of the device (JSON values).
        genes: (k, genes) measured networks.
        latency_ms: (k,) their latencies [ms].
        relative_se: (k,) standard errors of these over them.
        provenance: Where the numbers come from (JSON values).
    """

    model: ClassVar[str] = MODEL

    space: str
    target: str
    facts: Mapping[str, Any]
    genes: GeneArray
    latency_ms: FloatArray
    relative_se: FloatArray
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, space: SearchSpace, target_key: str, facts: Mapping[str, Any]) -> Analytic:
        """The uncorrected roofline of a device.

        Args:
            space: The space.
            target_key: Key of the target.
            facts: What is known of the device; see `Machine.of`. Where they do not suffice,
                nothing is predicted until networks were measured.
        """
        none = np.empty(0)
        genes = np.empty((0, len(space.choices)), dtype=np.int8)
        plain = cls(space.name, target_key, dict(facts), genes, none, none)
        machine = plain._machine
        assumed = list(machine.assumed)
        reason = (
            "no measurements: peak figures from a data sheet miss measured latency by a factor of "
            f"{np.exp(plain._scale_sd):.1f} (one standard deviation), and nothing is known of how "
            "this device's kernels differ"
        )
        return replace(
            plain,
            provenance={
                "sources": list(facts.get("sources", [])), "assumed": assumed, "interval": reason,
                "networks": 0,
            },
        )  # fmt: skip

    def adapt(self, table: LatencyTable) -> Self:
        """Learn the correction from whole networks; see `LatencyPredictor.adapt`."""
        if (table.space, table.target) != (self.space, self.target):
            msg = (
                f"a table of {table.space} on {table.target} cannot adapt a predictor of "
                f"{self.space} on {self.target}"
            )
            raise UsageError(msg)
        SPACES.get(self.space).check_genes(table.genes)
        return replace(
            self, genes=table.genes, latency_ms=table.latency_ms, relative_se=table.relative_se,
            provenance={
                **self.provenance, "networks": len(table), "kind": table.kind,
                "interval": f"residuals of {len(table)} measured networks",
            },
        )  # fmt: skip

    def predict(self, population: Population) -> Prediction:
        """Roofline times the learned correction, with its uncertainty.

        Raises:
            NotCalibratedError: If neither facts nor samples say how fast the device is.
            UsageError: If the networks are of another space.
        """
        self._check(population)
        if not len(self.genes) and self._known is None:
            msg = (
                f"nothing is known of how fast {self.target} is: no data sheet and no "
                f"measurement; run: nas device calibrate {self.target.partition(':')[0]} "
                f"--space {self.space} --samples 10"
            )
            raise NotCalibratedError(msg)
        total_ms, features = self._features(population.genes)
        weights, covariance, scale = self._correction
        variance = ((features @ covariance) * features).sum(axis=1)
        return Prediction(
            median_ms=total_ms * np.exp(features @ weights),
            relative_sd=scale * np.sqrt(variance + _NOISE**2),
            dof=_SCALE_WEIGHT + len(self.genes),
            extrapolated=scale * np.sqrt(variance) > _EXTRAPOLATED,
        )

    def select(self, population: Population, count: int, rng: np.random.Generator) -> IntArray:
        """Greedy: each next network is the one least certain after those before it."""
        self._check(population)
        check_count(count, len(population))
        chosen = shortlist(count, len(population), rng)
        _, features = self._features(population.genes[chosen])
        _, covariance, _ = self._correction
        values, vectors = np.linalg.eigh(covariance)
        factor = features @ (vectors * np.sqrt(np.maximum(values, 0.0)))
        return chosen[most_uncertain(factor, _NOISE**2, count, rng)]

    @cached_property
    def _known(self) -> Machine | None:
        return Machine.of(self.target, self.facts)

    @property
    def _machine(self) -> Machine:
        return self._known or Machine.nominal(self.target)

    @property
    def _scale_sd(self) -> float:
        if self._known is None:
            return _SD_UNKNOWN
        return float(np.hypot(_SD_SCALE, _SD_ASSUMED * len(self._known.assumed)))

    @cached_property
    def _network_sums(self) -> Any:
        machine = self._machine

        def rows(table: OpTable) -> FloatArray:
            work, start = machine.operator_s(table)
            kind = one_hot(table.kind[:, None], np.array([len(CLASSES)])) * work[:, None]
            stage = one_hot(table.group[:, None], np.array([table.groups]))
            costs = (table.macs, table.activations, table.weights, table.launches)
            return np.column_stack([kind, start, stage * (work + start)[:, None], *costs])

        return network_sums(SPACES.get(self.space), rows)

    @cached_property
    def _centre(self) -> FloatArray:
        """(4,) mean logarithms of the costs of typical networks, so that powers keep the scale."""
        networks = sample(SPACES.get(self.space), _TYPICAL, np.random.default_rng(0))
        sums = self._network_sums(SPACES.get(self.space).canonical(networks.genes))
        return np.asarray(np.log(sums[:, -4:] + 1.0).mean(axis=0))

    def _features(self, genes: GeneArray) -> tuple[FloatArray, FloatArray]:
        """(n,) roofline [ms], and (n, f) a constant, shares of time and powers of costs."""
        sums = self._network_sums(SPACES.get(self.space).canonical(genes))
        total = sums[:, :_KINDS].sum(axis=1)
        shares = sums[:, :-4] / total[:, None]
        powers = np.log(sums[:, -4:] + 1.0) - self._centre
        return 1e3 * total, np.column_stack([np.ones(len(total)), shares, powers])

    @cached_property
    def _correction(self) -> tuple[FloatArray, FloatArray, float]:
        """(f,) learned weights, (f, f) their covariance, and the factor on all deviations."""
        total_ms, features = self._features(self.genes)
        stages = features.shape[1] - 1 - _KINDS - 4
        sd = [self._scale_sd, *[_SD_KIND] * _KINDS, *[_SD_STAGE] * stages, *[_SD_POWER] * 4]
        error = np.log(self.latency_ms / total_ms)
        precision = 1.0 / (_NOISE**2 + self.relative_se**2)
        weighed = features.T * precision
        information = np.diag(1.0 / np.square(sd)) + weighed @ features
        covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
        weights = covariance @ (weighed @ error)
        surprise = float((error * precision) @ (error - features @ weights))
        scale = np.sqrt((_SCALE_WEIGHT + surprise) / (_SCALE_WEIGHT + len(error)))
        return weights, covariance, float(scale)

    def _check(self, population: Population) -> None:
        if population.space.name != self.space:
            msg = (
                f"this predictor knows {self.space}, not {population.space.name}; "
                "calibrate that space"
            )
            raise UsageError(msg)

    def dumps(self) -> bytes:
        """The predictor as a file: facts and samples."""
        header = {name: getattr(self, name) for name in ("space", "target")}
        maps = {"facts": dict(self.facts), "provenance": dict(self.provenance)}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return dump_pack(MODEL, header | maps, arrays)

    @classmethod
    def loads(cls, data: bytes) -> Analytic:
        """Read `dumps` back.

        Raises:
            InvalidPredictorFileError: If the file is not such a predictor.
        """
        header, arrays = load_pack(data, MODEL)
        try:
            predictor = cls(
                header["space"], header["target"], header["facts"], arrays["genes"],
                arrays["latency_ms"], arrays["relative_se"], header["provenance"],
            )  # fmt: skip
        except KeyError as error:
            msg = f"predictor file lacks {error}; calibrate the device again"
            raise InvalidPredictorFileError(msg) from error
        width, count = len(SPACES.get(predictor.space).choices), len(predictor.latency_ms)
        fits = predictor.genes.shape == (count, width) and predictor.genes.dtype == np.int8
        finite = all(np.isfinite(arrays[name]).all() for name in _ARRAYS)
        if not (fits and finite and predictor.relative_se.shape == (count,)):
            msg = (
                f"predictor file of {predictor.space}: its arrays do not fit each other or the "
                "space; calibrate the device again"
            )
            raise InvalidPredictorFileError(msg)
        return predictor


_ARRAYS = ("genes", "latency_ms", "relative_se")
