"""The next step of a run, decided from stored outcomes alone: a pure function.

calibrate (a device not known yet) -> search, measuring what can still change the answer ->
verify a short list on several occasions -> done, or search again with what was learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from devices.measurement import Measurement
from nas.accuracy import AccuracySource
from nas.acquisition import short_list
from nas.knowledge import Knowledge
from nas.problem import STRATEGIES, Problem, Told, probability
from nas.request import SearchRequest
from nas.trial import Batch, Estimate, Failure, Stage, StoredMeasurement
from nas.verify import OCCASION_SD, Verdict, expected_margin, judge
from predictors.errors import NotCalibratedError
from search_spaces.architecture import Architecture, GeneArray, Population
from search_spaces.moves import sample, unique_rows

SHORT_LIST = 3
ATTEMPTS = 3
_CALIBRATION_CANDIDATES = 2000


@dataclass(frozen=True, slots=True)
class Step:
    """Measure these networks next."""

    stage: Stage
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """Nothing more to measure.

    Attributes:
        verdicts: Of every network that was verified, most accurate first.
        winner: The most accurate one that holds, if any.
    """

    verdicts: tuple[Verdict, ...]
    winner: Verdict | None


@dataclass(frozen=True)
class Decider:
    """Decides for one run.

    Attributes:
        request: What the user wants.
        accuracy: Accuracy source of the space.
        start: What was known when the run started.
        measurable: Whether the device can be measured; if not, answers are predicted.
    """

    request: SearchRequest
    accuracy: AccuracySource
    start: Knowledge
    measurable: bool = True

    def next(self, batches: Sequence[Batch]) -> Step | Conclusion:
        """The next step, given finished batches."""
        known = self.knowledge(batches)
        missing = self.request.calibration_networks - len(known.by_network)
        if self.measurable and missing > 0 and not _of(batches, "calibrate"):
            return Step("calibrate", self._calibration(known, missing))
        evaluation = self._evaluation(batches, known)
        if evaluation:
            return evaluation
        if not self.measurable:
            return Conclusion((), None)
        verifying = _of(batches, "verify")
        attempts = _attempts(verifying)
        if attempts and len(attempts[-1]) < self.request.occasions:
            return Step("verify", attempts[-1][-1].subjects)
        verdicts = self._verdicts(attempts, known)
        if any(v.holds for v in verdicts) or len(attempts) >= ATTEMPTS:
            return self._conclude(batches, verdicts)
        problem = self.problem(batches, known)
        step = self._search(batches, problem)
        if step:
            return step
        keys = list(known.by_network)
        subjects = tuple(keys[row] for row in short_list(problem, SHORT_LIST))
        return Step("verify", subjects) if subjects else self._conclude(batches, verdicts)

    def knowledge(self, batches: Sequence[Batch]) -> Knowledge:
        """What is known after those batches."""
        own = [
            outcome.measurement
            for batch in batches
            for outcome in batch.outcomes
            if isinstance(outcome, StoredMeasurement)
        ]
        return replace(self.start, networks=[*self.start.networks, *own])

    def metric(self, batches: Sequence[Batch]) -> AccuracySource:
        """The accuracy source after the evaluations of those batches."""
        found = [
            (subject, outcome)
            for batch in _of(batches, "evaluate")
            for subject, outcome in zip(batch.subjects, batch.outcomes, strict=True)
            if isinstance(outcome, Estimate)
        ]
        if not found:
            return self.accuracy
        return self.accuracy.told([key for key, _ in found], [estimate for _, estimate in found])

    def problem(self, batches: Sequence[Batch], known: Knowledge) -> Problem:
        """The search problem after those batches."""
        request = self.request
        margin = expected_margin(known.quiet, request.occasions, request.risk)
        room = np.log(request.budget_ms * (1.0 - margin) / known.latency_ms)
        error = np.hypot(known.relative_error, OCCASION_SD / request.occasions**0.5)
        chance = probability(room / error)
        # Also those whose occasions failed: what cannot be measured would be tried for ever.
        tried = {subject for batch in _of(batches, "verify") for subject in batch.subjects}
        chance[[key in tried for key in known.by_network]] = 0.0
        failed = [
            Architecture.parse(subject)
            for batch in batches
            for subject, outcome in zip(batch.subjects, batch.outcomes, strict=True)
            if isinstance(outcome, Failure)
        ]
        avoid: GeneArray = np.concatenate([known.genes, known.space.population(failed).genes])
        metric = self.metric(batches)
        accuracy = metric(Population(known.space, known.genes))
        return Problem(
            space=known.space,
            accuracy=metric,
            latency=known.predictor,
            budget_ms=request.budget_ms,
            risk=request.risk,
            told=Told(known.genes, accuracy, known.latency_ms, chance),
            avoid=avoid,
            margin=margin,
        )

    def rng(self, batch_number: int) -> np.random.Generator:
        """Randomness of one batch; the same however often the batch is decided."""
        return np.random.default_rng((self.request.seed, batch_number))

    def _calibration(self, known: Knowledge, count: int) -> tuple[str, ...]:
        rng = self.rng(0)
        candidates = sample(known.space, _CALIBRATION_CANDIDATES, rng)
        candidates = Population(known.space, candidates.genes[unique_rows(candidates.genes)])
        try:
            rows = known.predictor.select(candidates, min(count, len(candidates)), rng)
        except NotCalibratedError:
            # Nothing at all is known of the device: any networks tell something.
            rows = np.arange(min(count, len(candidates)))
        return tuple(candidates[int(row)].key for row in rows)

    def _evaluation(self, batches: Sequence[Batch], known: Knowledge) -> Step | None:
        """Networks whose accuracy is worth a dear look, before anything is timed for the answer."""
        if self.accuracy.evaluator() is None or _of(batches, "search") or _of(batches, "verify"):
            return None
        done = _of(batches, "evaluate")
        left = self.request.evaluations - sum(len(batch.subjects) for batch in done)
        if left <= 0:
            return None
        problem = self._evaluation_problem(batches, known)
        strategy = STRATEGIES.get(self.request.strategy)
        genes = strategy.ask(problem, min(self.request.batch, left), self.rng(len(batches)))
        keys = tuple(arch.key for arch in Population(problem.space, genes).architectures())
        return Step("evaluate", keys) if keys else None

    def _evaluation_problem(self, batches: Sequence[Batch], known: Knowledge) -> Problem:
        """Evaluated networks are what is told; their latency is what is known or predicted."""
        problem = self.problem(batches, known)
        looked_at = [
            (Architecture.parse(subject), isinstance(outcome, Estimate))
            for batch in _of(batches, "evaluate")
            for subject, outcome in zip(batch.subjects, batch.outcomes, strict=True)
        ]
        avoid = known.space.population([arch for arch, _ in looked_at]).genes
        # What could not be looked at is not proposed again, but it is no answer at hand either.
        seen = known.space.population([arch for arch, good in looked_at if good])
        if len(seen) == 0:
            nothing = np.empty(0)
            told = Told(seen.genes, nothing, nothing, nothing)
        else:
            accuracy, prediction = problem.predict(seen)
            told = Told(seen.genes, accuracy, prediction.median_ms, problem.chance(prediction))
        # Networks timed for calibration are candidates for a look like any others.
        return replace(problem, told=told, avoid=avoid)

    def _search(self, batches: Sequence[Batch], problem: Problem) -> Step | None:
        attempts = len(_attempts(_of(batches, "verify")))
        spent = sum(len(batch.subjects) for batch in _of(batches, "search"))
        # Each failed verification earns one more batch: something was learned.
        left = self.request.max_measurements + attempts * self.request.batch - spent
        if left <= 0:
            return None
        strategy = STRATEGIES.get(self.request.strategy)
        genes = strategy.ask(problem, min(self.request.batch, left), self.rng(len(batches)))
        if len(genes) == 0:
            return None
        keys = tuple(arch.key for arch in Population(problem.space, genes).architectures())
        return Step("search", keys)

    def _verdicts(
        self, attempts: Sequence[Sequence[Batch]], known: Knowledge
    ) -> tuple[Verdict, ...]:
        found: dict[str, list[Measurement]] = {}
        for batch in (batch for attempt in attempts for batch in attempt):
            for subject, outcome in zip(batch.subjects, batch.outcomes, strict=True):
                if isinstance(outcome, StoredMeasurement):
                    found.setdefault(subject, []).append(outcome.measurement)
        request = self.request
        return tuple(
            judge(key, measurements, known.quiet, request.budget_ms, request.risk)
            for key, measurements in found.items()
            # A process that failed leaves fewer occasions, and so nothing is claimed.
            if len(measurements) >= request.occasions
        )

    def _conclude(self, batches: Sequence[Batch], verdicts: Sequence[Verdict]) -> Conclusion:
        if not verdicts:
            return Conclusion((), None)
        space = self.start.space
        archs = [Architecture.parse(verdict.key) for verdict in verdicts]
        order = np.argsort(-self.metric(batches)(space.population(archs)), kind="stable")
        ranked = tuple(verdicts[int(row)] for row in order)
        return Conclusion(ranked, next((v for v in ranked if v.holds), None))


def _of(batches: Sequence[Batch], stage: Stage) -> list[Batch]:
    return [batch for batch in batches if batch.stage == stage]


def _attempts(verifying: Sequence[Batch]) -> list[list[Batch]]:
    """Verification batches of the same short list together."""
    attempts: list[list[Batch]] = []
    for batch in verifying:
        if attempts and attempts[-1][-1].subjects == batch.subjects:
            attempts[-1].append(batch)
        else:
            attempts.append([batch])
    return attempts
