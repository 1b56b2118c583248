"""A device far away: an agent that answers by a made-up speed, and accuracies that take a look."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from devices.measurement import Samples
from devices.reference import reference_graph
from nas.accuracy import AccuracyReport
from nas.evaluator import SlotEvaluator
from nas.fleet import Fleet
from nas.store import SqlStore
from nas.trial import Estimate, Failure
from search_spaces.architecture import Architecture, FloatArray, Population
from search_spaces.costs import costs
from search_spaces.graph_json import graph_from_json
from tests.nas.search.tiny import SPACE

BOX = "far-box"
RUNS = 40


@dataclass
class Box:
    """An agent's device on which a MAC takes as long as any other.

    Attributes:
        measured: Subjects in the order in which they were measured.
        most: Falls silent after so many items; None for never.
    """

    database: object
    most: int | None = None
    measured: list[str] = field(default_factory=list)

    def work(self, stop: threading.Event) -> None:
        """Claim and finish jobs until told to stop."""
        store = SqlStore(self.database)  # type: ignore[arg-type]  # a path
        fleet, rng = Fleet(store), np.random.default_rng(0)
        fleet.hello("agent", BOX, {"cpu_model": "made up"}, ["ort"], "1")
        while not stop.is_set():
            lease = fleet.claim("agent")
            if lease is None:
                time.sleep(0.02)
                continue
            offer = fleet.offer(lease)
            for item in offer["items"]:
                if stop.is_set() or (self.most is not None and len(self.measured) >= self.most):
                    break
                graph = graph_from_json(item["graph"])
                ratio = graph.macs / 1e7 * float(np.exp(0.003 * rng.standard_normal()))
                reference = 4.0 * np.exp(0.002 * rng.standard_normal(RUNS + 1))
                clock = ratio * (reference[:-1] + reference[1:]) / 2.0
                columns = (clock, clock, reference[:-1], reference[1:])
                samples = Samples(*(tuple(c.tolist()) for c in columns))
                self.measured.append(item["subject"])
                fleet.finish(
                    offer["job_id"], offer["token"], item["position"],
                    {
                        "samples": samples.as_json(), "reference": reference_graph().digest,
                        "occasion": f"{offer['job_id']}-{item['position'] * offer['alone']}",
                        "environment": {"cpu_pressure_percent": 0.5},
                        "taken_at": datetime.now(UTC).isoformat(),
                    },
                )  # fmt: skip
            else:
                continue
            break
        store.close()


@contextmanager
def working(box: Box) -> Iterator[Box]:
    """The agent works within the context; it has said hello when it begins."""
    stop = threading.Event()
    thread = threading.Thread(target=box.work, args=(stop,), daemon=True)
    thread.start()
    store = SqlStore(box.database)  # type: ignore[arg-type]  # a path
    while not any(agent.device == BOX for agent in store.agents()):
        time.sleep(0.01)
    store.close()
    try:
        yield box
    finally:
        stop.set()
        thread.join(10)


@dataclass(frozen=True)
class Look:
    """A dear look: the accuracy grows with the logarithm of the cost, but for odd first genes."""

    metric: str = "accuracy"

    def evaluate_one(self, key: str) -> Estimate | Failure:
        """One network; the very largest fails."""
        arch = Architecture.parse(key)
        if set(arch.genes) == {3}:
            return Failure("too large to look at")
        macs = float(costs(SPACE.population([arch]), ("macs",))["macs"][0])
        bonus = 2.0 if arch.genes[0] % 2 else 0.0
        return Estimate("accuracy", 50.0 + 5.0 * float(np.log(macs / 1e6)) + bonus, 0.5)


@dataclass(frozen=True)
class Surveyed:
    """Accuracies of which the bonus is only found by looking.

    Attributes:
        known: Value of each network looked at.
    """

    known: tuple[tuple[str, float], ...] = ()
    name: str = "accuracy"
    unit: str = "%, made up"

    def __call__(self, population: Population) -> FloatArray:
        """(n,) what was seen, else a guess without the bonus."""
        seen = dict(self.known)
        macs = costs(population, ("macs",))["macs"]
        guess = 50.0 + 5.0 * np.log(macs / 1e6)
        keys = [arch.key for arch in population.architectures()]
        return np.array([seen.get(k, g) for k, g in zip(keys, guess, strict=True)])

    def report(self, population: Population) -> AccuracyReport:
        """The same with an uncertainty."""
        none, no = np.zeros(len(population)), np.zeros(len(population), dtype=bool)
        return AccuracyReport(self(population), none + 0.1, none, no, no, "nobody: made up")

    def evaluator(self) -> SlotEvaluator | None:
        """The look."""
        return Look()

    def told(self, keys: Sequence[str], estimates: Sequence[Estimate]) -> Surveyed:
        """Remember what was seen."""
        seen = tuple(zip(keys, (e.value for e in estimates), strict=True))
        return replace(self, known=seen) if seen else self
