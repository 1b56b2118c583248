"""What a finished run answers: the winner, how each number is known, and how to know better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nas.decide import Conclusion
from nas.describe import quiet_change_percent, stage_seconds
from nas.knowledge import Knowledge
from nas.problem import STRATEGIES
from nas.result import Candidate, SearchResult, State, candidates
from nas.search import Run
from nas.verify import GAP_S, Verdict
from search_spaces.architecture import Architecture, Population


def answer(run: Run, conclusion: Conclusion, known: Knowledge, weights: str) -> SearchResult:
    """Put the answer of a run together from what is stored.

    Args:
        run: The run.
        conclusion: What it decided in the end.
        known: What is known at the end.
        weights: Whose weights the exported file will hold.
    """
    batches = run.store.batches(run.record.id)
    decider = run.decider()
    problem = decider.problem(batches, known)
    accuracy = decider.metric(batches)
    front = STRATEGIES.get(run.request.strategy).front(problem, decider.rng(len(batches)))
    found = candidates(known, conclusion, front, accuracy)
    verdict = conclusion.winner
    if run.place.reach == "none":
        best = _most_accurate(run, known, found)
        state: State = "predicted" if best else "infeasible"
    else:
        best = next((c for c in found if verdict and c.key == verdict.key), None)
        feasible = best or conclusion.verdicts or np.isfinite(problem.incumbent)
        state = "verified" if best else "unverified" if feasible else "infeasible"
    arch = Architecture.parse(best.key) if best else None
    space = run.place.space
    return SearchResult(
        run=run.record.id,
        state=state,
        target=run.place.key,
        space=space.name,
        budget_ms=run.request.budget_ms,
        risk=run.request.risk,
        winner=best,
        verification=None if verdict is None else _verification(verdict),
        candidates=found,
        weights=weights,
        accuracy_of=accuracy.report(Population(space, known.genes[:0])).weights,
        quiet_ms=known.quiet_ms,
        quiet_pressure_percent=known.quiet.pressure_percent,
        quiet_change_percent=quiet_change_percent(decider.start, known),
        seconds=stage_seconds(run.record, batches),
        measurements={
            "this run": sum(len(b.subjects) for b in batches if b.stage != "evaluate"),
            "in all": len(known.networks),
            "networks": len(known.by_network),
            "evaluated": sum(len(b.subjects) for b in batches if b.stage == "evaluate"),
        },
        nearest=None if best else _nearest(run, known, conclusion, found),
        environment=dict(known.networks[-1].environment) if known.networks else {},
        architecture=space.describe(arch) if arch else None,
        predictor=_predictor(known),
        advice=_advice(run) if state == "predicted" else None,
    )


def _most_accurate(run: Run, known: Knowledge, found: Sequence[Candidate]) -> Candidate | None:
    """The best network that holds with the probability asked for, as far as is predicted."""
    kept = [c for c in found if c.kind in ("predicted", "imported", "measured")]
    if not kept:
        return None
    population = run.place.space.population([Architecture.parse(c.key) for c in kept])
    upper_ms = known.predictor.predict(population).quantile(1.0 - run.request.risk)
    limits = [
        c.latency_ms if c.kind == "imported" else c.latency_high_ms if c.kind == "measured" else u
        for c, u in zip(kept, upper_ms.tolist(), strict=True)
    ]
    within = [c for c, u in zip(kept, limits, strict=True) if u <= run.request.budget_ms]
    return max(within, key=lambda c: (c.top1_percent, -c.latency_ms), default=None)


def _nearest(
    run: Run, known: Knowledge, conclusion: Conclusion, found: Sequence[Candidate]
) -> Candidate | None:
    """The fastest network there is, by prediction: what to ask for instead."""
    verified = [c for c in found if c.kind == "verified"]
    if verified:
        return min(verified, key=lambda c: c.latency_high_ms)
    space = run.place.space
    smallest = Population(space, np.zeros((1, len(space.choices)), dtype=np.int8))
    options = candidates(known, conclusion, smallest, run.accuracy)
    return min(options, key=lambda c: c.latency_high_ms, default=None)


def _predictor(known: Knowledge) -> dict[str, Any]:
    predictor = known.predictor
    return {
        "model": predictor.model,
        "measured_networks": len(known.by_network),
        "imported_networks": 0 if known.imported is None else len(known.imported),
        "typical_spread_percent": 100.0 * predictor.typical_spread(known.space),
        **{f"basis_{key}": value for key, value in predictor.provenance.items()
           if isinstance(value, str | int | float)},
    }  # fmt: skip


def _advice(run: Run) -> str:
    if run.place.target is None:
        return (
            "latencies are others' numbers for unknown conditions; to measure, run an agent on "
            "the device: nas serve here, nas agent run --server URL --token T there"
        )
    device, space = run.place.device.name, run.place.space.name
    return (
        f"to narrow the interval and verify, run nas serve here and nas agent run --server URL "
        f"--token T --name {device} on the device, then: nas device calibrate {device} "
        f"--space {space} --samples 10; without a network: nas profile pack"
    )


def _verification(verdict: Verdict) -> dict[str, Any]:
    return {**asdict(verdict), "gap_s": GAP_S}
