"""The use cases, called alike by command line, HTTP, dashboard and notebooks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devices.benchmark import NETWORK_PLAN, Plan
from devices.catalog import DEVICES
from devices.device import Device
from devices.environment import local_device
from devices.errors import DeviceUnavailableError
from devices.lock import host_lock
from devices.measurement import Measurement
from nas.answer import answer
from nas.calibration import calibrate, measure_networks
from nas.decide import Conclusion, Step
from nas.deliver import deliver, keep_predictor, weights_kind
from nas.describe import described_run, measured_rows, measurement_rows
from nas.errors import InterruptedRunError
from nas.evaluator import Executor
from nas.evaluators.accuracy import accuracy_source
from nas.executors.serial import create as serial_executor
from nas.export.files import export_onnx
from nas.fleet import Fleet
from nas.knowledge import Knowledge
from nas.memory import stored_knowledge
from nas.places import find_place
from nas.prediction import block_rows, grouped, prediction_rows
from nas.problem import STRATEGIES
from nas.progress import Progress, Silent
from nas.request import SearchRequest
from nas.result import SearchResult
from nas.search import Run
from nas.settings import Settings
from nas.store import SqlStore, Store
from nas.trial import Batch, Failure, RunRecord
from predictors.predictor import LatencyPredictor
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.errors import NasError
from search_spaces.space import ChainSpace, SearchSpace


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

    @property
    def fleet(self) -> Fleet:
        """Agents and their jobs."""
        return Fleet(self.store)

    def search(
        self, request: SearchRequest, output: Path | None = None, weights: Path | None = None,
        executor: Executor | None = None,
    ) -> SearchResult:  # fmt: skip
        """Search, verify and export; everything is stored as it happens.

        Args:
            request: What the user wants.
            output: Folder for the result; `runs/<run>` if not given.
            weights: Weights of the largest network for the exported file.
            executor: Who evaluates accuracies, where a space needs it; this process by default.

        Raises:
            InvalidRequestError: If the request cannot be meant.
            DeviceError: If nothing can be measured.
            InterruptedRunError: If the user stops it; the run can be resumed.
        """
        _check_weights(SPACES.get(request.space), weights)
        record = self.open_search(request)
        return self._execute(record, output, weights, executor)

    def open_search(self, request: SearchRequest) -> RunRecord:
        """Store a run without working on it; `resume` does that.

        Raises:
            InvalidRequestError: If the request cannot be meant; nothing is stored then.
        """
        STRATEGIES.get(request.strategy)
        place = find_place(self.store, request.space, request.device, request.reach)
        accuracy_source(place.space.name)
        request = request.model_copy(update={"device": place.key, "reach": place.reach})
        now = datetime.now(UTC)
        run_id = f"{now:%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
        if place.target is not None:
            self.store.add_device(place.device)
        return self.store.open_run(run_id, request.model_dump_json(), now.isoformat())

    def resume(
        self, run_id: str, output: Path | None = None, weights: Path | None = None,
        executor: Executor | None = None,
    ) -> SearchResult:  # fmt: skip
        """Go on with a run that was stopped or killed; a finished one is only written again."""
        record = self.store.run(run_id)
        request = SearchRequest.loads(record.request)
        result = json.loads(record.result) if record.result else {}
        winner = (result.get("winner") or {}).get("key")
        space = SPACES.get(request.space)
        _check_weights(space, weights, Architecture.parse(winner) if winner else None)
        return self._execute(record, output, weights, executor)

    def replay(self, run_id: str) -> list[tuple[Batch, Step | Conclusion]]:
        """Decide a stored run again from its stored outcomes; see `Run.replay`."""
        return self._run(self.store.run(run_id)).replay()

    def calibrate(self, space: str, device: str, networks: int, seed: int = 0) -> dict[str, Any]:
        """Learn a device from a few networks; see `nas.calibration.calibrate`."""
        place = find_place(self.store, space, device)
        if place.target is not None:
            self.store.add_device(place.device)
        known, summary = calibrate(self.store, place, networks, self.progress, seed)
        keep_predictor(self.store, self.settings, known)
        return summary

    def profile(
        self, archs: Sequence[Architecture], device: str, plan: Plan = NETWORK_PLAN
    ) -> list[Measurement | Failure]:
        """Measure networks in a fresh process, storing each as it ends; all of one space."""
        if not archs:
            return []
        place = find_place(self.store, archs[0].space, device)
        self.store.add_device(place.device)
        return measure_networks(self.store, place, archs, plan, "profiling", self.progress)

    def knowledge(self, space: str, device: str) -> Knowledge:
        """All that is stored of a device and space."""
        return stored_knowledge(self.store, find_place(self.store, space, device))

    def latency_predictor(self, space: str, device: str) -> LatencyPredictor:
        """The best predictor there is for a device and space.

        Raises:
            NotCalibratedError: If nothing is known of the device.
        """
        return self.knowledge(space, device).predictor

    def predict(self, keys: Sequence[str], device: str) -> list[dict[str, Any]]:
        """Predict latencies with their intervals; nothing is measured.

        Raises:
            InvalidArchitectureError: If a key is no network of its space; the gene is named.
            NotCalibratedError: If nothing is known of the device.
        """
        rows = []
        for name, archs in grouped(keys).items():
            space = SPACES.get(name)
            population = space.population(archs)
            known = self.knowledge(name, device)
            rows += prediction_rows(known.predictor, population, len(known.by_network))
        order = {Architecture.parse(key).key: position for position, key in enumerate(keys)}
        return sorted(rows, key=lambda row: order[row["architecture"]])

    def block_rows(self, key: str, device: str) -> list[dict[str, Any]]:
        """The blocks of a network with costs, and predicted times where blocks were measured."""
        arch = Architecture.parse(key)
        space = SPACES.get(arch.space)
        space.check(arch)
        if not isinstance(space, ChainSpace):
            return []
        return block_rows(space, arch, self.knowledge(space.name, device))

    def profile_rows(
        self, archs: Sequence[Architecture], outcomes: Sequence[Measurement | Failure]
    ) -> list[dict[str, Any]]:
        """Measurements in the words of a table; milliseconds by the latest quiet time."""
        done = [outcome for outcome in outcomes if isinstance(outcome, Measurement)]
        quiet_ms = self.knowledge(archs[0].space, done[0].target).quiet_ms if done else 0.0
        return measured_rows(archs, outcomes, quiet_ms)

    def measured_on(self, device: str) -> dict[str, int]:
        """Number of stored measurements of each kind on the default target of a device."""
        place = find_place(self.store, SPACES.names()[0], device)
        kinds = [row.measurement.kind for row in self.store.measurements(place.key)]
        return {f"{kind}s": kinds.count(kind) for kind in sorted(set(kinds))}

    def measurement_rows(
        self, device: str, limit: int, space: str | None = None
    ) -> list[dict[str, Any]]:
        """The latest measurements of networks on a device, newest first."""
        place = find_place(self.store, space or SPACES.names()[0], device)
        rows = self.store.measurements(place.key, kind="network", space=space)
        return measurement_rows(rows[::-1][:limit])

    def describe_run(self, run_id: str) -> dict[str, Any]:
        """A run with all its slots, as JSON values."""
        record = self.store.run(run_id)
        artefacts = self.store.run_artefacts(record.id)
        return described_run(record, self.store.batches(record.id), artefacts)

    def devices(self) -> list[Device]:
        """This machine first, then those in the store, then the catalogue's."""
        here = local_device()
        known = {device.name: device for device in (here, *self.store.devices())}
        listed = (DEVICES.get(name) for name in DEVICES.names())
        return [*known.values(), *(d for d in listed if d.name not in known)]

    def device(self, name: str) -> Device:
        """The device of that name, as `find_place` finds it.

        Raises:
            UnknownNameError: If there is none; the nearest names are listed.
        """
        return find_place(self.store, SPACES.names()[0], name).device

    def device_rows(self) -> list[dict[str, Any]]:
        """Devices with how they are reached."""
        here, fleet = local_device().name, self.fleet
        rows: list[dict[str, Any]] = []
        for device in self.devices():
            away = "agent" if fleet.alive(device.name) else "none"
            reach = "local" if device.name == here else away
            rows.append({"device": device.name, "reach": reach, "facts": dict(device.facts)})
        return rows

    def spaces(self) -> list[dict[str, Any]]:
        """Search spaces with their choices."""
        return [
            {
                "name": space.name,
                "genes": len(space.choices),
                "size": space.size,
                "choices": [
                    {"name": choice.name, "options": list(choice.options)}
                    for choice in space.choices
                ],
            }
            for space in map(SPACES.get, SPACES.names())
        ]

    def _run(self, record: RunRecord, executor: Executor | None = None) -> Run:
        request = SearchRequest.loads(record.request)
        place = find_place(self.store, request.space, request.device, request.reach)
        return Run(
            record, request, place, accuracy_source(place.space.name), self.store, self.progress,
            executor or serial_executor(),
        )  # fmt: skip

    def _execute(
        self, record: RunRecord, output: Path | None, weights: Path | None,
        executor: Executor | None,
    ) -> SearchResult:  # fmt: skip
        run = self._run(record, executor)
        folder = output or Path("runs") / record.id
        how = f"nas run resume {record.id}" + (f" --output {output}" if output else "")
        with self._alone(record.id):
            try:
                self.store.finish_run(record.id, "running", None, None)
                conclusion, known = run.execute()
                data = self.settings.data
                kind = weights_kind(run.place.space.name, weights, data)
                result = answer(run, conclusion, known, kind)
                deliver(run, result, folder, weights, data)
                keep_predictor(self.store, self.settings, known)
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


def _check_weights(
    space: SearchSpace, weights: Path | None, arch: Architecture | None = None
) -> None:
    """Refuse a wrong file now, not after minutes of measuring.

    Before the winner is known it must hold the largest network, whose slices serve any.
    """
    if weights is not None:
        largest = Architecture(space.name, tuple(int(n) - 1 for n in space.option_counts))
        export_onnx(space, arch or largest, weights)
