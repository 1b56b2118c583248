"""A space of 64 tiny networks, and plans so short that a whole search takes seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas.calibrate
import nas.search
import nas.service
from devices.benchmark import Plan
from nas.accuracy import AccuracyReport
from nas.evaluator import SlotEvaluator
from nas.progress import Silent
from nas.service import Service
from nas.settings import Settings
from nas.trial import Estimate
from search_spaces import SPACES
from search_spaces.architecture import Choice, FloatArray, GeneArray, IntArray, Population
from search_spaces.costs import costs
from search_spaces.ops import Conv, Flatten, GlobalAveragePool, Linear, Op, WeightSlice
from search_spaces.space import Block, ChainSpace

# Options differ fourfold in cost, so that whether a budget holds is no matter of noise.
INNER = (8, 32, 128, 512)
WIDTH, SIZE, SLOTS = 16, 32, 3
STEM, HEAD = 0, 1 + SLOTS * len(INNER)
GAP_S = 0.5


class TinySpace(ChainSpace):
    """A stem, three slots of two convolutions with an inner width to choose, a classifier."""

    name = "tiny"
    block_count = HEAD + 1
    choices = tuple(Choice(f"inner[{slot}]", INNER) for slot in range(SLOTS))

    def block_ids(self, genes: GeneArray) -> IntArray:
        """(n, 5): stem, slots, head."""
        slots = 1 + np.arange(SLOTS) * len(INNER) + genes.astype(np.int64)
        ends = np.full((len(genes), 1), STEM), np.full((len(genes), 1), HEAD)
        return np.column_stack([ends[0], slots, ends[1]])

    def block(self, block_id: int) -> Block:
        """Stem, slot or head."""
        shape = (WIDTH, SIZE, SIZE)
        if block_id == STEM:
            return Block("stem", "stem", (3, SIZE, SIZE), (_conv("stem", "input", 3, WIDTH, 3),))
        if block_id == HEAD:
            return Block("head", "head", shape, _head())
        slot, option = divmod(block_id - 1, len(INNER))
        inner, name = INNER[option], f"slot{slot}"
        ops = (_conv(f"{name}.expand", "input", WIDTH, inner, 3),
               _conv(f"{name}.project", f"{name}.expand", inner, WIDTH, 1))  # fmt: skip
        return Block(name, name, shape, ops)


def _conv(name: str, source: str, before: int, after: int, kernel: int) -> Conv:
    weight = WeightSlice(name, (0, 0, 0, 0), (after, before, kernel, kernel))
    return Conv(
        name=name, inputs=(source,), shape=(after, SIZE, SIZE), in_channels=before, kernel=kernel,
        weight=weight, activation="relu",
    )  # fmt: skip


def _head() -> tuple[Op, ...]:
    return (
        GlobalAveragePool(name="pool", inputs=("input",), shape=(WIDTH, 1, 1)),
        Flatten(name="flatten", inputs=("pool",), shape=(WIDTH,)),
        Linear(
            name="head", inputs=("flatten",), shape=(10,), in_features=WIDTH,
            weight=WeightSlice("head", (0, 0), (10, WIDTH)),
        ),
    )  # fmt: skip


SPACE = TinySpace()


class TinyAccuracy:
    """Grows with the logarithm of the cost."""

    name = "accuracy"
    unit = "%, made up"

    def __call__(self, population: Population) -> FloatArray:
        """(n,) made-up accuracy."""
        macs = costs(population, ("macs",))["macs"]
        return np.asarray(50.0 + 5.0 * np.log(macs / 1e6))

    def report(self, population: Population) -> AccuracyReport:
        """The same with an uncertainty."""
        none = np.zeros(len(population))
        no = np.zeros(len(population), dtype=bool)
        return AccuracyReport(self(population), none + 0.1, none, no, no, "nobody: made up")

    def evaluator(self) -> SlotEvaluator | None:
        """There is no dear look."""
        return None

    def told(self, keys: Sequence[str], estimates: Sequence[Estimate]) -> TinyAccuracy:
        """There is nothing to learn."""
        return self


class Notes(Silent):
    """Keeps what it is told, and may stop the run there.

    Attributes:
        notes: What the user was told.
        stages: Names of the stages begun.
        stop_at: After so many networks or blocks were measured, Ctrl-C.
    """

    def __init__(self, stop_at: int | None = None) -> None:
        self.notes: list[str] = []
        self.stages: list[str] = []
        self.stop_at = stop_at
        self.steps = 0

    def stage(self, number: int, count: int, name: str) -> None:
        """See `Progress`."""
        self.stages.append(name)

    def step(self, done: int, total: int, seconds_left: float | None = None) -> None:
        """See `Progress`."""
        self.steps += 1
        if self.steps == self.stop_at:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        """See `Progress`."""
        self.notes.append(text)


def register(patch: pytest.MonkeyPatch) -> None:
    """Make `tiny` a space like any other, and every plan short."""
    patch.setitem(SPACES._locations, "tiny", f"{__name__}:SPACE")
    patch.setattr(nas.service, "accuracy_source", lambda space: TinyAccuracy())
    patch.setattr(nas.calibrate, "BLOCK_PLAN", Plan(warmup=1, min_rounds=3, max_rounds=3))
    patch.setattr(nas.search, "NETWORK_PLAN", Plan(warmup=1, min_rounds=4, max_rounds=4))
    patch.setattr(nas.search, "VERIFY_PLAN", Plan(warmup=1, min_rounds=8, max_rounds=8))
    patch.setattr(nas.search, "GAP_S", GAP_S)


@contextmanager
def service(home: Path, progress: Silent | None = None) -> Iterator[Service]:
    """The use cases on a store of their own, which is closed at the end."""
    opened = Service.open(Settings(home), progress or Notes())
    try:
        yield opened
    finally:
        opened.store.close()


def samples_in(service: Service, target: str) -> list[Any]:
    """Everything measured, as stored."""
    return [(row.id, row.measurement) for row in service.store.measurements(target)]
