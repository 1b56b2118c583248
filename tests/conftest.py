"""What several folders of tests stand on: published tables and a made-up device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import settings

from devices.measurement import Measurement, Samples
from nas.accuracy import AccuracyReport
from nas.evaluator import SlotEvaluator
from nas.knowledge import Knowledge
from nas.trial import Estimate
from predictors.models.block_lut import BlockLut
from predictors.predictor import LatencyTable
from search_spaces import SPACES
from search_spaces.architecture import Architecture, FloatArray, Population
from search_spaces.costs import costs, gather_sum
from search_spaces.moves import sample
from search_spaces.space import ChainSpace

ROOT = Path(__file__).resolve().parents[1]

# The same examples in every run: a test that fails for one seed in a hundred helps nobody.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def nas_data() -> Path:
    """The folder of published tables; `NAS_DATA` may be relative to the root of the repository."""
    named = os.environ.get("NAS_DATA")
    folder = ROOT / (named or "")
    if named and folder.is_dir():
        return folder
    reason = f"NAS_DATA is {named!r}, no folder of published tables; set it to one"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class CostAccuracy:
    """An accuracy that grows with MACs and, a little, with parameters: fast and made up."""

    name = "accuracy"
    unit = "%, made up"

    def __call__(self, population: Population) -> FloatArray:
        """(n,) values between about 66 and 80."""
        cost = costs(population, ("macs", "parameters"))
        return np.asarray(
            70.0 + 3.0 * np.log(cost["macs"] / 1e8) + 1.5 * np.log(cost["parameters"] / 4e6)
        )

    def report(self, population: Population) -> AccuracyReport:
        """The same, certain of itself."""
        none, no = np.zeros(len(population)), np.zeros(len(population), dtype=bool)
        return AccuracyReport(self(population), none + 0.1, none, no, no, "nobody: made up")

    def evaluator(self) -> SlotEvaluator | None:
        """None: the cheap value is all there is."""
        return None

    def told(self, keys: Sequence[str], estimates: Sequence[Estimate]) -> CostAccuracy:
        """There is nothing to learn."""
        return self


@dataclass(frozen=True)
class World:
    """A made-up device on which every true latency is known.

    Attributes:
        space: The space whose networks run on it.
        block_ratio: (blocks,) time of each block alone over the reference network's.
        target: Key of the target.
        quiet_ms: Quiet time of the reference network [ms].
        accuracy: An accuracy to search with.
    """

    space: ChainSpace
    block_ratio: FloatArray
    target: str = "world:ort-fp32-t1"
    quiet_ms: float = 4.0
    accuracy: CostAccuracy = field(default_factory=CostAccuracy)

    @classmethod
    def of(cls, space: ChainSpace) -> World:
        """Blocks take a smooth function of their MACs and bytes; a middling network takes 1."""
        table = space.cost_table
        raw = (table.macs / 1e6) ** 0.9 + 2.0 * (table.activation_bytes / 1e6) ** 0.8 + 0.05
        middle = np.array([[count // 2 for count in space.option_counts]], dtype=np.int8)
        return cls(space, raw / gather_sum(raw, space.block_ids(middle))[0])

    @property
    def ratio_by_digest(self) -> dict[str, float]:
        """What calibration would measure, without noise."""
        return dict(zip(self.space.block_digests, self.block_ratio.tolist(), strict=True))

    def ratio(self, population: Population) -> FloatArray:
        """(n,) true ratio: the sum of the blocks, a few per cent more the larger the network."""
        ids = self.space.block_ids(population.genes)
        total = gather_sum(self.block_ratio, ids)
        late = gather_sum(np.where(np.arange(len(self.block_ratio)) % 2, self.block_ratio, 0), ids)
        correction = 0.05 + 0.03 * np.log(total) + 0.01 * late / total
        return np.asarray(total * (1.0 + correction))

    def latency_ms(self, population: Population) -> FloatArray:
        """(n,) true unloaded latency [ms]."""
        return self.ratio(population) * self.quiet_ms

    def true_ms(self, key: str) -> float:
        """True unloaded latency of one network [ms]."""
        return float(self.latency_ms(self.space.population([Architecture.parse(key)]))[0])

    def networks(self, count: int, seed: int = 0) -> Population:
        """Random networks."""
        return sample(self.space, count, np.random.default_rng(seed))

    def predictor(self, block_error: float = 0.0, seed: int = 0) -> BlockLut:
        """The block table of the device, not yet corrected.

        Args:
            block_error: Relative standard deviation of each block's own error of measurement.
            seed: Of these errors.
        """
        rng = np.random.default_rng(seed)
        measured = {
            digest: ratio * float(np.exp(block_error * rng.standard_normal()))
            for digest, ratio in self.ratio_by_digest.items()
        }
        return BlockLut.from_blocks(self.space, self.target, measured, self.quiet_ms)

    def table(self, population: Population, noise: float = 0.0, seed: int = 0) -> LatencyTable:
        """Latencies of networks, each with an error of relative standard deviation `noise`."""
        error = np.random.default_rng(seed).standard_normal(len(population))
        return LatencyTable(
            self.space.name, population.genes, self.target,
            self.latency_ms(population) * np.exp(noise * error), np.zeros(len(population)),
            "measured",
        )  # fmt: skip

    def measurement(
        self, key: str, ratio: float, rng: np.random.Generator | None = None, *,
        noise: float = 0.0, count: int = 30, quiet_ms: float | None = None,
        occasion: str = "occasion", pressure_percent: float | None = 1.0,
    ) -> Measurement:  # fmt: skip
        """A measurement of `count` samples around a given ratio, as one process would take them.

        The reference network runs almost evenly, so that every definition of a quiet time agrees.

        Args:
            key: The network.
            ratio: Its time over the reference network's in this process.
            rng: Source of noise.
            noise: Relative standard deviation of one run.
            count: Number of samples.
            quiet_ms: Time of the reference network in this process [ms].
            occasion: Identifies the process.
            pressure_percent: CPU pressure that the kernel reported.
        """
        rng = rng or np.random.default_rng(0)
        middle = self.quiet_ms if quiet_ms is None else quiet_ms
        reference = middle * np.exp(0.1 * noise * rng.standard_normal(count + 1))
        clock = ratio * (reference[:-1] + reference[1:]) / 2.0
        clock = clock * np.exp(noise * rng.standard_normal(count))
        columns = (clock, 1.2 * clock, reference[:-1], reference[1:])
        pressure = {} if pressure_percent is None else {"cpu_pressure_percent": pressure_percent}
        return Measurement(
            subject=key, kind="network", digest="digest", target=self.target,
            samples=Samples(*(tuple(column.tolist()) for column in columns)),
            reference="reference", occasion=occasion, environment=pressure,
            taken_at="2026-01-02T03:04:05+00:00",
        )  # fmt: skip

    def measure(
        self, key: str, rng: np.random.Generator, *, occasion: str = "occasion",
        noise: float = 0.01, between: float = 0.005, slower: float = 1.0,
        quiet_ms: float | None = None,
    ) -> Measurement:  # fmt: skip
        """Measure a network of this world; see `measurement`.

        Args:
            key: The network.
            rng: Source of noise.
            occasion: Identifies the process.
            noise: Relative standard deviation of one run.
            between: Relative standard deviation of the ratio between occasions.
            slower: Factor on the true ratio.
            quiet_ms: Time of the reference network in this process [ms].
        """
        truth = self.true_ms(key) / self.quiet_ms
        ratio = truth * slower * float(np.exp(between * rng.standard_normal()))
        return self.measurement(key, ratio, rng, noise=noise, quiet_ms=quiet_ms, occasion=occasion)

    def knowledge(self, measurements: Sequence[Measurement] = ()) -> Knowledge:
        """What a run knows after the blocks and these networks were measured."""
        blocks = MappingProxyType(self.ratio_by_digest)
        return Knowledge(self.space, self.target, blocks, measurements)


@pytest.fixture(scope="session")
def world() -> World:
    """A made-up device for the once-for-all space."""
    space = SPACES.get("mobilenetv3")
    assert isinstance(space, ChainSpace)
    return World.of(space)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for the whole run; starting it takes seconds."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hardware-aware-nas[ray]'")
    from nas.evaluator import EXECUTORS

    executor = EXECUTORS.get("ray")(workers=2)
    yield
    executor.close()
