"""Few-shot: ten networks measured on a new device, and a prior learned from many other devices.

The prior is fitted once for a space (`fit`, some seconds) and goes into a file; adapting to a
device is closed form and takes milliseconds. Milliseconds of latency come from the samples alone,
so nothing is predicted before there are any.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from predictors.adaptation import Posterior
from predictors.calibration import calibrated
from predictors.design import check_count, least_error, shortlist
from predictors.device_prior import POOL, DevicePrior, DeviceRows, fit_prior
from predictors.errors import InvalidPredictorFileError, NotCalibratedError
from predictors.files import dump_pack, load_pack
from predictors.kernels import nearest
from predictors.predictor import LatencyPredictor, LatencyTable, Prediction
from predictors.space_features import plain_genes
from search_spaces import SPACES
from search_spaces.architecture import FloatArray, GeneArray, IntArray, Population
from search_spaces.errors import UsageError
from search_spaces.moves import unique_rows
from search_spaces.space import SearchSpace

logger = logging.getLogger(__name__)

MODEL = "few-shot"

# Fewer sources, or fewer networks that all of them share, teach nothing of devices.
LEAST_SOURCES, LEAST_SHARED = 3, 32
# Of more samples the last ones are used; the cost of a prediction grows with their square.
_MOST_SAMPLES = 256
_CHUNK = 4096
# In the design, offset and strength of the sources' mean are as unknown as they are in adapting.
_DESIGN_OFFSET, _DESIGN_MEAN = 4.0, 0.3


@dataclass(frozen=True)
class FewShot(LatencyPredictor):
    """A device prior, and the networks measured on one target.

    Attributes:
        space: Name of the space.
        target: Key of the target; empty until the first samples say which it is.
        prior: What other devices teach.
        genes: (k, genes) measured networks.
        latency_ms: (k,) their latencies [ms].
        relative_se: (k,) standard errors of these over them.
        provenance: Where all of this comes from (JSON values).
    """

    model: ClassVar[str] = MODEL

    space: str
    target: str
    prior: DevicePrior
    genes: GeneArray
    latency_ms: FloatArray
    relative_se: FloatArray
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(cls, space: SearchSpace, tables: Sequence[LatencyTable], *, seed: int = 0) -> FewShot:
        """Learn the prior from whole networks measured on several devices.

        Devices are kept as long as all of them share enough networks; those left out are logged
        and named in the provenance.

        Args:
            space: The space.
            tables: One table for each source device.
            seed: Of the draws: which networks are kept, which devices are held out when.

        Raises:
            UsageError: If a table is of another space, or too few share too few networks.
        """
        rng = np.random.default_rng(seed)
        genes, latency_ms, used = _shared(space, tables)
        rows = np.sort(rng.permutation(len(genes))[:POOL])
        prior = calibrated(fit_prior(space.name, genes[rows], latency_ms[rows], rng), rng)
        left_out = [table.target for table in tables if table.target not in used]
        if left_out:
            logger.warning("few shared networks, so not learned from: %s", ", ".join(left_out))
        provenance = {
            "sources": used, "left_out": left_out, "networks_per_source": len(rows), "seed": seed
        }  # fmt: skip
        none = np.empty(0)
        return cls(
            space.name, "", prior, np.empty((0, genes.shape[1]), dtype=np.int8), none, none,
            provenance,
        )  # fmt: skip

    def on(self, target: str) -> Self:
        """The same prior for one target, no samples yet; `adapt` refuses other targets' tables."""
        return replace(
            self, target=target, genes=self.genes[:0], latency_ms=self.latency_ms[:0],
            relative_se=self.relative_se[:0],
        )  # fmt: skip

    def adapt(self, table: LatencyTable) -> Self:
        """Learn from networks measured on the target, one or many; see `LatencyPredictor.adapt`.

        Of more than 256 networks the last ones are used.
        """
        if table.space != self.space or self.target not in ("", table.target):
            msg = (
                f"a table of {table.space} on {table.target} cannot adapt a predictor of "
                f"{self.space} on {self.target or 'any device'}"
            )
            raise UsageError(msg)
        if not len(table):
            msg = f"a table without networks cannot adapt a predictor of {self.space}; measure one"
            raise UsageError(msg)
        last = slice(-_MOST_SAMPLES, None)
        space = SPACES.get(self.space)
        space.check_genes(table.genes)
        return replace(
            self, target=table.target, genes=plain_genes(space, table.genes[last]),
            latency_ms=table.latency_ms[last], relative_se=table.relative_se[last],
            provenance={**self.provenance, "networks": len(table), "kind": table.kind},
        )  # fmt: skip

    def predict(self, population: Population) -> Prediction:
        """Latencies with calibrated intervals.

        Raises:
            NotCalibratedError: If no network was measured on the target yet.
            UsageError: If the networks are of another space.
        """
        posterior, parts = self._posterior, []
        for rows in self._chunks(population):
            known = nearest(rows.kernels, self.prior.pool_rows.kernels)
            own = nearest(rows.kernels, posterior.rows.kernels)
            novelty = np.minimum(known, own) / self.prior.typical_distance
            parts.append(posterior.predict(rows, novelty))
        return Prediction(
            median_ms=np.concatenate([part.median_ms for part in parts]),
            relative_sd=np.concatenate([part.relative_sd for part in parts]),
            dof=posterior.dof,
            extrapolated=np.concatenate([part.extrapolated for part in parts]),
        )

    def median_ms(self, population: Population) -> FloatArray:
        """The medians alone; see `LatencyPredictor.median_ms`."""
        posterior = self._posterior
        return np.concatenate([posterior.latencies_ms(rows) for rows in self._chunks(population)])

    def select(self, population: Population, count: int, rng: np.random.Generator) -> IntArray:
        """The networks that, once measured, leave the least variance over all of them.

        Of more than 1,024 candidates so many are drawn at random.
        """
        self._check(population)
        check_count(count, len(population))
        chosen = shortlist(count, len(population), rng)
        rows = self.prior.rows(population.genes[chosen])
        noise = self.prior.noise
        covariance = self._unknown(rows, rows)
        if len(self.genes):
            known = self._posterior.rows
            own = self._unknown(known, known) + noise * np.eye(len(known))
            cross = self._unknown(rows, known)
            covariance -= cross @ np.linalg.solve(own, cross.T)
        return chosen[least_error(covariance, noise, count, rng)]

    def _unknown(self, first: DeviceRows, second: DeviceRows) -> FloatArray:
        """(n, m) covariance of what a new device leaves open, offset and strength included."""
        total = self.prior.parts(first, second).sum(axis=0) + _DESIGN_OFFSET
        return np.asarray(total + _DESIGN_MEAN * np.outer(first.mean, second.mean))

    def _chunks(self, population: Population) -> list[DeviceRows]:
        self._check(population)
        starts = range(0, max(len(population), 1), _CHUNK)
        return [self.prior.rows(population.genes[start : start + _CHUNK]) for start in starts]

    def _check(self, population: Population) -> None:
        if population.space.name != self.space:
            msg = (
                f"this predictor knows {self.space}, not {population.space.name}; "
                "calibrate that space"
            )
            raise UsageError(msg)

    @cached_property
    def _posterior(self) -> Posterior:
        if not len(self.genes):
            where = self.target or "the device"
            msg = (
                f"nothing was measured on {where} in {self.space} yet, and a few-shot predictor "
                f"takes milliseconds from measurements; run: nas device calibrate "
                f"{where.partition(':')[0]} --space {self.space} --samples 10"
            )
            raise NotCalibratedError(msg)
        rows = self.prior.rows(self.genes)
        return Posterior(self.prior, rows, self.latency_ms, self.relative_se)

    def dumps(self) -> bytes:
        """The predictor as a file: the prior and the samples; a pack holds no samples."""
        header = {"space": self.space, "target": self.target, "provenance": dict(self.provenance)}
        samples: dict[str, NDArray[Any]] = {
            "sample_genes": self.genes, "sample_ms": self.latency_ms, "sample_se": self.relative_se
        }  # fmt: skip
        return dump_pack(MODEL, header, {**self.prior.arrays(), **samples})

    @classmethod
    def loads(cls, data: bytes) -> FewShot:
        """Read `dumps` back.

        Raises:
            InvalidPredictorFileError: If the file is not such a predictor.
        """
        header, arrays = load_pack(data, MODEL)
        try:
            predictor = cls(
                header["space"], header["target"], DevicePrior.of_arrays(header["space"], arrays),
                arrays["sample_genes"], arrays["sample_ms"], arrays["sample_se"],
                header["provenance"],
            )  # fmt: skip
        except (KeyError, ValueError) as error:
            msg = f"predictor file lacks {error}; calibrate the device again"
            raise InvalidPredictorFileError(msg) from error
        predictor._check_arrays(arrays)
        return predictor

    def _check_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        space = SPACES.get(self.space)
        count = len(self.latency_ms)
        wrong = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        for name, genes in (("genes", self.prior.genes), ("sample_genes", self.genes)):
            if genes.dtype != np.int8 or genes.shape[1:] != (len(space.choices),):
                wrong.append(name)
        if not wrong:
            wrong += [name for name in [self.prior.wrong_shape()] if name]
        if self.genes.shape[0] != count or self.relative_se.shape != (count,):
            wrong.append("sample_ms")
        if wrong:
            msg = (
                f"predictor file of {self.space}: {wrong[0]} does not fit this version of the "
                "space; calibrate the device again, or fit the pack again"
            )
            raise InvalidPredictorFileError(msg)


def _shared(
    space: SearchSpace, tables: Sequence[LatencyTable]
) -> tuple[GeneArray, FloatArray, list[str]]:
    """(n, genes) networks measured on all devices, (n, devices) latencies, the devices' targets."""
    columns: list[tuple[str, dict[bytes, float]]] = []
    for table in sorted(tables, key=len, reverse=True):
        if table.space != space.name:
            msg = f"a table of {table.space} on {table.target} cannot teach about {space.name}"
            raise UsageError(msg)
        space.check_genes(table.genes)
        genes = plain_genes(space, table.genes)
        first = unique_rows(genes)
        keys = [genes[row].astype(np.int8).tobytes() for row in first]
        columns.append(
            (table.target, dict(zip(keys, table.latency_ms[first].tolist(), strict=True)))
        )
    shared: list[bytes] = list(columns[0][1]) if columns else []
    used: list[tuple[str, dict[bytes, float]]] = []
    for target, column in columns:
        both = [key for key in shared if key in column]
        if len(both) >= LEAST_SHARED:
            shared, used = both, [*used, (target, column)]
    if len(used) < LEAST_SOURCES:
        msg = (
            f"{len(used)} of {len(tables)} tables of {space.name} share {LEAST_SHARED} networks; "
            f"a few-shot predictor learns from {LEAST_SOURCES} devices or more that do"
        )
        raise UsageError(msg)
    genes = np.frombuffer(b"".join(shared), dtype=np.int8).reshape(len(shared), -1)
    latency_ms = np.array([[column[key] for _, column in used] for key in shared])
    return genes, latency_ms, [target for target, _ in used]
