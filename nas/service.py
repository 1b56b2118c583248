"""The use cases, called alike by command line, HTTP, dashboard and notebooks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from devices.benchmark import NETWORK_PLAN, Plan
from devices.device import Device, Target
from devices.environment import local_device
from devices.errors import DeviceUnavailableError
from devices.local import resolve
from devices.lock import host_lock
from devices.measurement import Measurement
from devices.reference import reference_graph
from devices.runtime import RUNTIMES
from nas.calibrate import block_ratios, measure_blocks
from nas.decide import Conclusion, Step
from nas.describe import described_run, measured_rows, quiet_change_percent, stage_seconds
from nas.errors import InterruptedRunError, InvalidRequestError
from nas.evaluators.accuracy import accuracy_source
from nas.evaluators.latency import LatencyEvaluator
from nas.export.files import arch_json, export_onnx, pareto_csv, write_file
from nas.knowledge import Knowledge
from nas.problem import STRATEGIES
from nas.progress import Progress, Silent
from nas.request import SearchRequest
from nas.result import Candidate, SearchResult, candidates
from nas.search import Run
from nas.settings import Settings
from nas.store import SqlStore, Store
from nas.trial import Batch, Failure, RunRecord
from nas.verify import GAP_S, Verdict
from search_spaces import SPACES
from search_spaces.architecture import Architecture, Population
from search_spaces.errors import NasError
from search_spaces.moves import sample
from search_spaces.onnx_build import build_onnx
from search_spaces.space import ChainSpace


@dataclass(frozen=True)
class Service:
    """Use cases on one store.

    Attributes:
        store: Where everything is kept.
        settings: Folders.
        progress: Who is told.
    """

    store: Store
    settings: Settings
    progress: Progress = field(default_factory=Silent)

    @classmethod
    def open(cls, settings: Settings, progress: Progress | None = None) -> Service:
        """Open the user's own store."""
        return cls(SqlStore(settings.database), settings, progress or Silent())

    def search(
        self, request: SearchRequest, output: Path | None = None, weights: Path | None = None
    ) -> SearchResult:
        """Search, verify and export; everything is stored as it happens.

        Args:
            request: What the user wants.
            output: Folder for the result; `runs/<run>` if not given.
            weights: Weights of the largest network for the exported file.

        Raises:
            InvalidRequestError: If the request cannot be meant.
            DeviceError: If nothing can be measured.
            InterruptedRunError: If the user stops it; the run can be resumed.
        """
        STRATEGIES.get(request.strategy)
        space, target = self._place(request.space, request.device)
        accuracy_source(space.name)
        _check_weights(space, weights)
        request = request.model_copy(update={"device": target.key})
        now = datetime.now(UTC)
        run_id = f"{now:%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
        self.store.add_device(local_device())
        record = self.store.open_run(run_id, request.model_dump_json(), now.isoformat())
        return self._execute(record, output, weights)

    def resume(
        self, run_id: str, output: Path | None = None, weights: Path | None = None
    ) -> SearchResult:
        """Go on with a run that was stopped or killed; a finished one is only written again."""
        record = self.store.run(run_id)
        space, _ = self._place(*_wanted(record))
        result = json.loads(record.result) if record.result else {}
        winner = (result.get("winner") or {}).get("key")
        _check_weights(space, weights, Architecture.parse(winner) if winner else None)
        return self._execute(record, output, weights)

    def replay(self, run_id: str) -> list[tuple[Batch, Step | Conclusion]]:
        """Decide a stored run again from its stored outcomes; see `Run.replay`."""
        return self._run(self.store.run(run_id)).replay()

    def calibrate(self, space_name: str, device: str, networks: int, seed: int = 0) -> Knowledge:
        """Measure blocks and whole networks until the device is known for that space."""
        space, target = self._place(space_name, device)
        self.store.add_device(local_device())
        self.progress.stage(1, 2, "measure blocks")
        measure_blocks(self.store, target, space, "calibration", self.progress)
        known = self.knowledge(space, target)
        rng = np.random.default_rng(seed)
        pool = sample(space, 2000, rng)
        missing = max(networks - len(known.by_network), 0)
        rows = known.predictor.select(pool, missing, rng)
        self.progress.stage(2, 2, "measure whole networks")
        self.profile([pool[int(row)] for row in rows], target.key)
        known = self.knowledge(space, target)
        self._keep_predictor(known)
        return known

    def profile(
        self, archs: Sequence[Architecture], device: str, plan: Plan = NETWORK_PLAN
    ) -> list[Measurement | Failure]:
        """Measure networks in a fresh process, storing each as it ends; all of one space."""
        if not archs:
            return []
        space, target = self._place(archs[0].space, device)
        keys = [space.canonical_arch(arch).key for arch in archs]
        evaluator = LatencyEvaluator(
            space, target, plan, "profiling",
            on_wait=lambda who: self.progress.note(f"waiting for {who}"),
        )  # fmt: skip
        self.store.add_device(local_device())
        outcomes: dict[int, Measurement | Failure] = {}
        for position, outcome in evaluator.evaluate(keys):
            outcomes[position] = outcome
            if isinstance(outcome, Measurement):
                self.store.add_measurements([outcome])
            self.progress.step(len(outcomes), len(keys))
        return [outcomes[position] for position in range(len(keys))]

    def knowledge(self, space: ChainSpace, target: Target) -> Knowledge:
        """All that is stored of a target and space."""
        rows = self.store.measurements(
            target.key, kind="network", space=space.name, reference=reference_graph().digest
        )
        networks = [row.measurement for row in rows]
        return Knowledge(space, target.key, block_ratios(self.store, target), networks)

    def profile_rows(
        self, archs: Sequence[Architecture], outcomes: Sequence[Measurement | Failure]
    ) -> list[dict[str, Any]]:
        """Measurements in the words of a table; milliseconds by the latest quiet time."""
        done = [outcome for outcome in outcomes if isinstance(outcome, Measurement)]
        quiet_ms = 0.0
        if done:
            space, target = self._place(archs[0].space, done[0].target)
            quiet_ms = self.knowledge(space, target).quiet_ms
        return measured_rows(archs, outcomes, quiet_ms)

    def measured_on(self, device: str) -> dict[str, int]:
        """Number of stored measurements of each kind on the default target of a device."""
        rows = self.store.measurements(Target(device).key)
        kinds = [row.measurement.kind for row in rows]
        return {f"{kind}s": kinds.count(kind) for kind in sorted(set(kinds))}

    def describe_run(self, run_id: str) -> dict[str, Any]:
        """A run with all its slots, as JSON values."""
        record = self.store.run(run_id)
        artefacts = self.store.run_artefacts(record.id)
        return described_run(record, self.store.batches(record.id), artefacts)

    def devices(self) -> list[Device]:
        """This machine first, then the others in the store."""
        here = local_device()
        return [here, *(d for d in self.store.devices() if d.name != here.name)]

    def _place(self, space_name: str, device: str) -> tuple[ChainSpace, Target]:
        space = SPACES.get(space_name)
        if not isinstance(space, ChainSpace):
            msg = f"space {space_name!r} is no chain of blocks; only those can be searched by now"
            raise InvalidRequestError(msg)
        target = resolve(Target.parse(device))
        RUNTIMES.get(target.runtime).check(target)
        return space, target

    def _run(self, record: RunRecord) -> Run:
        request = SearchRequest.loads(record.request)
        space, target = self._place(request.space, request.device)
        return Run(
            record, request, space, target, accuracy_source(space.name), self.store, self.progress
        )

    def _execute(
        self, record: RunRecord, output: Path | None, weights: Path | None
    ) -> SearchResult:
        run = self._run(record)
        folder = output or Path("runs") / record.id
        how = f"nas run resume {record.id}" + (f" --output {output}" if output else "")
        with self._alone(record.id):
            try:
                self.store.finish_run(record.id, "running", None, None)
                conclusion, known = run.execute()
                result = self._conclude(run, conclusion, known, weights)
                self._write(run, result, folder, weights)
                self._keep_predictor(known)
            except KeyboardInterrupt:
                self.store.finish_run(record.id, "stopped", None, None)
                msg = f"stopped; everything measured is saved. Go on with: {how}"
                raise InterruptedRunError(msg) from None
            except NasError as error:
                reason = json.dumps({"error": str(error)})
                self.store.finish_run(record.id, "failed", reason, None)
                raise
        return result

    @contextmanager
    def _alone(self, run_id: str) -> Iterator[None]:
        """One process a run: two would measure the same slots."""
        # The file stays: unlinked, a waiting process would lock one that nobody else can see.
        path = self.settings.home / "locks" / f"{run_id}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(host_lock(f"run {run_id}", timeout_s=0.0, path=path))
            except DeviceUnavailableError as error:
                msg = f"run {run_id} is being worked on by another process; wait for it or stop it"
                raise NasError(msg) from error
            yield

    def _conclude(
        self, run: Run, conclusion: Conclusion, known: Knowledge, weights: Path | None
    ) -> SearchResult:
        batches = self.store.batches(run.record.id)
        decider = run.decider()
        problem = decider.problem(batches, known)
        strategy = STRATEGIES.get(run.request.strategy)
        front = strategy.front(problem, decider.rng(len(batches)))
        found = candidates(known, conclusion, front, run.accuracy)
        winner = conclusion.winner
        best = next((c for c in found if winner and c.key == winner.key), None)
        nearest = None if best else self._nearest(run, known, conclusion, found)
        feasible = best or conclusion.verdicts or np.isfinite(problem.incumbent)
        arch = Architecture.parse(best.key) if best else None
        return SearchResult(
            run=run.record.id,
            state="verified" if best else "unverified" if feasible else "infeasible",
            target=run.target.key,
            space=run.space.name,
            budget_ms=run.request.budget_ms,
            risk=run.request.risk,
            winner=best,
            verification=None if winner is None else _verification(winner),
            candidates=found,
            weights="given" if weights else "seeded",
            accuracy_of=run.accuracy.report(Population(run.space, known.genes[:0])).weights,
            quiet_ms=known.quiet_ms,
            quiet_pressure_percent=known.quiet.pressure_percent,
            quiet_change_percent=quiet_change_percent(decider.start, known),
            seconds=stage_seconds(run.record, batches),
            measurements={
                "this run": sum(len(b.subjects) for b in batches),
                "in all": len(known.networks),
                "networks": len(known.by_network),
            },
            nearest=nearest,
            environment=dict(known.networks[-1].environment) if known.networks else {},
            architecture=run.space.describe(arch) if arch else None,
        )

    def _nearest(
        self, run: Run, known: Knowledge, conclusion: Conclusion, found: list[Candidate]
    ) -> Candidate | None:
        """The fastest network there is, by prediction: what to ask for instead."""
        verified = [c for c in found if c.kind == "verified"]
        if verified:
            return min(verified, key=lambda c: c.latency_high_ms)
        smallest = Population(run.space, np.zeros((1, len(run.space.choices)), dtype=np.int8))
        options = candidates(known, conclusion, smallest, run.accuracy)
        return min(options, key=lambda c: c.latency_high_ms, default=None)

    def _write(self, run: Run, result: SearchResult, folder: Path, weights: Path | None) -> None:
        """Result into the store, then into the folder."""
        text = json.dumps(result.as_json(), indent=2) + "\n"
        now = datetime.now(UTC).isoformat()
        self.store.finish_run(run.record.id, result.state, text, now)
        files: dict[str, str | bytes] = {
            "result.json": text, "pareto.csv": pareto_csv(result.candidates)
        }  # fmt: skip
        if result.winner:
            arch = Architecture.parse(result.winner.key)
            files["arch.json"] = arch_json(result)
            skeleton = build_onnx(run.space.graph(arch), metadata={"architecture": arch.key})
            digest = self.store.add_artefact(skeleton, "application/onnx")
            self.store.name_artefact(run.record.id, "best.weightless.onnx", digest)
            name, model = export_onnx(run.space, arch, weights)
            files[name] = model
        for name, content in files.items():
            write_file(folder / name, content)
            if isinstance(content, str):
                kind = "application/json" if name.endswith("json") else "text/csv"
                digest = self.store.add_artefact(content.encode(), kind)
                self.store.name_artefact(run.record.id, name, digest)

    def _keep_predictor(self, known: Knowledge) -> None:
        """The adapted predictor into the store, and where `nas predict` finds it at once."""
        predictor = replace(
            known.predictor,
            provenance={
                "kind": "measured",
                "networks": len(known.by_network),
                "measurements": len(known.networks),
                "blocks": len(known.blocks),
                "last": known.networks[-1].taken_at if known.networks else None,
            },
        )
        data = predictor.dumps()
        digest = self.store.add_artefact(data, "application/x-npz")
        now = datetime.now(UTC).isoformat()
        self.store.add_predictor(
            known.target, known.space.name, "block-lut", digest, predictor.provenance, now
        )
        write_file(self.settings.predictor(known.target, known.space.name), data)


def _wanted(record: RunRecord) -> tuple[str, str]:
    request = SearchRequest.loads(record.request)
    return request.space, request.device


def _check_weights(
    space: ChainSpace, weights: Path | None, arch: Architecture | None = None
) -> None:
    """Refuse a wrong file now, not after minutes of measuring.

    Before the winner is known it must hold the largest network, whose slices serve any.
    """
    if weights is not None:
        largest = Architecture(space.name, tuple(int(n) - 1 for n in space.option_counts))
        export_onnx(space, arch or largest, weights)


def _verification(verdict: Verdict) -> dict[str, Any]:
    return {**asdict(verdict), "gap_s": GAP_S}
