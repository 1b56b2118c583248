"""What a run answers, in words that say how each number is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from nas.accuracy import AccuracySource
from nas.decide import Conclusion
from nas.knowledge import Knowledge
from nas.pareto import non_dominated
from search_spaces.architecture import Architecture, Population
from search_spaces.costs import costs

Kind = Literal["imported", "predicted", "measured", "verified"]
State = Literal["verified", "unverified", "infeasible", "predicted"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One network of the answer.

    Attributes:
        key: Architecture key.
        kind: How the latency is known.
        latency_ms: Unloaded latency [ms].
        latency_low_ms: Lower end of its 90 % interval [ms] (predicted, measured), or the mean's.
        latency_high_ms: Upper end [ms]; for `verified` the confidence bound.
        top1_percent: Predicted accuracy.
        top1_std_percent: Its standard deviation.
        drop_percent: Estimated loss from a resolution below 224, contained in `top1_percent`.
        accuracy_estimated: Whether such a drop is in it.
        accuracy_extrapolated: Whether the network is unlike those the accuracy model was fitted to.
        macs: Multiply-accumulates.
        parameters: Trained values.
        peak_activation_bytes: Most bytes of live activations.
        within_budget: True or False for `verified`; None otherwise, as nothing else may say so.
        on_front: Not dominated by another candidate of the same kind.
    """

    key: str
    kind: Kind
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    top1_percent: float
    top1_std_percent: float
    drop_percent: float
    accuracy_estimated: bool
    accuracy_extrapolated: bool
    macs: int
    parameters: int
    peak_activation_bytes: int
    within_budget: bool | None
    on_front: bool


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer of a run.

    Attributes:
        run: Its name.
        state: `verified`; `unverified`, if what was measured did not hold; `infeasible`; or
            `predicted`, if the device could not be measured.
        target: Key of the resolved target.
        budget_ms: The limit [ms].
        winner: The answer, if there is one; verified or not as `state` says.
        verification: Verdict on the winner: occasions, bound, confidence, wall time.
        candidates: Predicted front, measured and verified networks.
        weights: Whose weights the exported file holds.
        accuracy_of: Whose weights the accuracy belongs to.
        quiet_ms: Quiet time of the reference network that turns ratios into milliseconds.
        quiet_pressure_percent: Highest CPU pressure under which it was taken; None where unknown.
        quiet_change_percent: Against what was known before the run; None on a new device.
        seconds: From the start of the run to the choice of the short list, and to the verdict.
        measurements: Networks measured: in all for the target, and in this run.
        nearest: If nothing meets the budget: the fastest network known, by prediction.
        environment: Of the last measurement.
        architecture: The winner in the words of its space.
        predictor: Which model predicts, from what, and how wide its interval is.
        advice: How to know better, in one sentence; None if the answer is verified.
    """

    run: str
    state: State
    target: str
    space: str
    budget_ms: float
    risk: float
    winner: Candidate | None
    verification: Mapping[str, Any] | None
    candidates: Sequence[Candidate]
    weights: str
    accuracy_of: str
    quiet_ms: float
    quiet_pressure_percent: float | None
    quiet_change_percent: float | None
    seconds: Mapping[str, float]
    measurements: Mapping[str, int]
    nearest: Candidate | None
    environment: Mapping[str, Any]
    architecture: Mapping[str, Any] | None
    predictor: Mapping[str, Any] = field(default_factory=dict)
    advice: str | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def candidates(
    known: Knowledge, conclusion: Conclusion, front: Population,
    accuracy: AccuracySource,
) -> list[Candidate]:  # fmt: skip
    """Verified, measured and predicted networks, each once, by the best knowledge of it."""
    verified = {verdict.key: verdict for verdict in conclusion.verdicts}
    measured = list(known.by_network)
    predicted = [arch.key for arch in front.architectures() if arch.key not in known.by_network]
    keys = [*measured, *predicted]
    if not keys:
        return []
    population = known.space.population([Architecture.parse(key) for key in keys])
    report, cost = accuracy.report(population), costs(population)
    prediction = known.predictor.predict(population)
    middle, low, high = prediction.median_ms.copy(), prediction.lower_ms, prediction.upper_ms
    if measured:
        ours = slice(len(measured))
        middle[ours], high[ours] = known.latency_ms, known.upper_ms(0.05)
        low[ours] = known.upper_ms(0.95)
    kinds: list[Kind] = []
    kinds += ["measured" for _ in measured]
    kinds += ["predicted" for _ in predicted]
    holds: list[bool | None] = [None] * len(keys)
    for row, value in _imported(known, population).items():
        if kinds[row] == "predicted":
            kinds[row], middle[row], low[row], high[row] = "imported", value, value, value
    for row, key in enumerate(measured):
        if key in verified:
            verdict = verified[key]
            kinds[row], holds[row] = "verified", verdict.holds
            middle[row], high[row] = verdict.latency_ms, verdict.upper_ms
            low[row] = verdict.latency_ms**2 / verdict.upper_ms
    on_front = np.zeros(len(keys), dtype=bool)
    for kind in set(kinds):
        rows = np.array([row for row, other in enumerate(kinds) if other == kind])
        points = np.column_stack([-report.top1_percent[rows], middle[rows]])
        on_front[rows] = non_dominated(points)
    found = [
        Candidate(
            key=key, kind=kinds[row], latency_ms=float(middle[row]),
            latency_low_ms=float(low[row]), latency_high_ms=float(high[row]),
            top1_percent=float(report.top1_percent[row]),
            top1_std_percent=float(report.std_percent[row]),
            drop_percent=float(report.drop_percent[row]),
            accuracy_estimated=bool(report.estimated[row]),
            accuracy_extrapolated=bool(report.extrapolated[row]),
            macs=int(cost["macs"][row]), parameters=int(cost["parameters"][row]),
            peak_activation_bytes=int(cost["peak_activation_bytes"][row]),
            within_budget=holds[row], on_front=bool(on_front[row]),
        )
        for row, key in enumerate(keys)
    ]  # fmt: skip
    return sorted(found, key=lambda candidate: (candidate.latency_ms, candidate.key))


def _imported(known: Knowledge, population: Population) -> dict[int, float]:
    """Others' latency of those networks that their table holds, by row [ms]."""
    if known.imported is None:
        return {}
    width = np.dtype((np.void, population.genes.shape[1]))
    # Rows as they were published: several may stand for one canonical network.
    table = np.ascontiguousarray(known.imported.genes).view(width)[:, 0]
    wanted = np.ascontiguousarray(population.genes).view(width)[:, 0]
    rows = {value.tobytes(): row for row, value in enumerate(table)}
    found = {row: rows.get(value.tobytes()) for row, value in enumerate(wanted)}
    latency_ms = known.imported.latency_ms
    return {row: float(latency_ms[at]) for row, at in found.items() if at is not None}
