"""What the pages show, read through the use cases; nothing here draws, writes, or knows SQL."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dashboard.points import Points
from devices.quiet import quiet_time
from devices.reference import reference_graph
from nas.errors import StoreError
from nas.export.files import export_onnx
from nas.fleet import Fleet
from nas.service import Service
from nas.trial import RunRecord
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.space import ChainSpace

State = tuple[int, ...]
"""What changes whenever a store's file does."""

TRAINED = "best.onnx"
"""Name under which a run keeps its winner with trained weights."""

MEANINGS: Mapping[str, str] = {
    "running": "Being searched; if no process works on it, go on with `nas run resume {run}`.",
    "stopped": "Stopped; everything measured is kept. Go on with `nas run resume {run}`.",
    "failed": "Failed; everything measured is kept. Go on with `nas run resume {run}`.",
    "infeasible": "No network of the space meets the budget; the nearest is below.",
    "predicted": "Predicted only: nothing was measured on this device for this run.",
    "unverified": "No network held its budget when it was verified.",
    "verified": "The winner met the budget in several processes, measured apart.",
}


@dataclass(frozen=True, slots=True, eq=False)
class RunView:
    """A stored run, read for a page.

    Attributes:
        run: Its name.
        state: How it stands.
        request: What was asked.
        result: What it answers; empty while there is nothing.
        points: Its networks.
        artefacts: SHA-256 of each named artefact.
        started_at: ISO 8601.
        finished_at: ISO 8601, or None.
    """

    run: str
    state: str
    request: Mapping[str, Any]
    result: Mapping[str, Any]
    points: Points
    artefacts: Mapping[str, str]
    started_at: str
    finished_at: str | None

    @property
    def space(self) -> str:
        """Name of the space."""
        return str(self.result.get("space") or self.request.get("space", ""))

    @property
    def target(self) -> str:
        """Key of the target, or the device as it was asked for."""
        return str(self.result.get("target") or self.request.get("device", ""))

    @property
    def budget_ms(self) -> float | None:
        """The limit [ms]."""
        value = self.result.get("budget_ms", self.request.get("budget_ms"))
        return None if value is None else float(value)

    @property
    def winner(self) -> str | None:
        """Key of the network it answers."""
        return _winner(self.result).get("key")

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self.result.get("error")

    @property
    def meaning(self) -> str:
        """Its state as a sentence, in Markdown."""
        return MEANINGS.get(self.state, "").format(run=self.run)


def store_state(database: Path) -> State | None:
    """Identity, size and time of the store's file and its log; None if there is no file.

    A store that nobody has written is not created by looking at it.
    """
    if not database.exists():
        return None
    state: list[int] = []
    for file in (database, database.with_name(f"{database.name}-wal")):
        try:
            status = file.stat()
        except FileNotFoundError:
            continue
        # Readers create an empty log, which changes nothing.
        if status.st_size:
            state += [status.st_ino, status.st_size, status.st_mtime_ns]
    return tuple(state)


def run_rows(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Runs in the words of a table, in the order given."""
    return [_run_row(record) for record in records]


def _run_row(record: RunRecord) -> dict[str, Any]:
    request = _object(record.request, f"request of run {record.id}")
    result = _object(record.result, f"result of run {record.id}") if record.result else {}
    winner = _winner(result)
    return {
        "run": record.id,
        "state": record.state,
        "space": request.get("space"),
        "device": result.get("target") or request.get("device"),
        "budget_ms": request.get("budget_ms"),
        "winner_ms": winner.get("latency_ms"),
        "winner_percent": winner.get("top1_percent"),
        "winner": winner.get("key"),
        "started": record.created_at[:16].replace("T", " "),
        "minutes": _minutes(record.created_at, record.finished_at),
    }


def read_run(service: Service, run_id: str) -> RunView:
    """One run for its page.

    Raises:
        StoreError: If what is stored of it cannot be read.
        UnknownNameError: If there is no such run.
    """
    record = service.store.run(run_id)
    result = _object(record.result, f"result of run {record.id}") if record.result else {}
    return RunView(
        run=record.id, state=record.state,
        request=_object(record.request, f"request of run {record.id}"),
        result=result, points=Points.read(result.get("candidates") or []),
        artefacts=service.store.run_artefacts(record.id),
        started_at=record.created_at, finished_at=record.finished_at,
    )  # fmt: skip


def stage_rows(service: Service, run_id: str) -> list[dict[str, Any]]:
    """How far each stage of a run is: slots with an outcome, failed ones, and all decided."""
    rows: dict[str, dict[str, Any]] = {}
    for slot in service.describe_run(run_id)["slots"]:
        row = rows.setdefault(
            slot["stage"], {"stage": slot["stage"], "done": 0, "failed": 0, "of": 0}
        )
        row["of"] += 1
        row["done"] += slot["kind"] != "open"
        row["failed"] += slot["kind"] == "failed"
    return list(rows.values())


def gene_rows(key: str) -> list[dict[str, str]]:
    """The choices of a network in the words of its space.

    Raises:
        UsageError: If the space is not installed, or has no such network.
    """
    arch = Architecture.parse(key)
    described = SPACES.get(arch.space).describe(arch)
    return [{"choice": name, "value": _words(value)} for name, value in described.items()]


def block_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Blocks in readable units; times only if there are any."""
    timed = any(row.get("latency_ms") is not None for row in rows)
    table = []
    for row in rows:
        shown: dict[str, Any] = {
            "block": row["block"],
            "group": row["group"],
            "macs_m": row["macs"] / 1e6,
            "parameters_k": row["parameters"] / 1e3,
            "activations_kb": row["activation_bytes"] / 1e3,
        }
        if timed:
            shown["latency_ms"] = row.get("latency_ms")
        table.append(shown)
    return table


def trained_winner(view: RunView, key: str) -> str | None:
    """SHA-256 of a network's trained ONNX file: only the winner of a run has one, if any."""
    return view.artefacts.get(TRAINED) if key == view.winner else None


def untrained_onnx(key: str) -> bytes:
    """A network with seeded weights as ONNX: its latency is real, its classes are not.

    Raises:
        UsageError: If the space is not installed, or has no such network.
    """
    arch = Architecture.parse(key)
    return export_onnx(SPACES.get(arch.space), arch)[1]


def file_name(key: str, ending: str) -> str:
    """Name of a file about one network.

    Example:
        >>> file_name("toy:021", "untrained.onnx")
        'toy-021.untrained.onnx'
    """
    return f"{key.replace(':', '-')}.{ending}"


def pareto_csv(view: RunView) -> str:
    """All networks of a run, one a line, as the run itself writes `pareto.csv`."""
    candidates = view.result.get("candidates") or []
    names = list(dict.fromkeys(name for candidate in candidates for name in candidate))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    for candidate in candidates:
        writer.writerow({k: "" if v is None else v for k, v in candidate.items()})
    return text.getvalue()


def block_rows(service: Service, key: str, target: str) -> list[dict[str, Any]]:
    """Blocks of a network in readable units; none if its space is no chain of blocks.

    Times are those of blocks measured alone on the target, where they were.
    """
    arch = Architecture.parse(key)
    space = SPACES.get(arch.space)
    if not isinstance(space, ChainSpace):
        return []
    stored = service.store.measurements(
        target, kind="block", reference=reference_graph().digest
    )  # fmt: skip
    measured = [row.measurement for row in stored]
    quiet_ms = quiet_time(measured).time_ms if measured else 0.0
    times: dict[str, float] = {}
    for measurement in measured:
        times.setdefault(measurement.digest, measurement.latency_ms(quiet_ms))
    graphs = [(block, block.graph()) for block in space.blocks_of(arch)]
    return block_table(
        [
            {
                "block": block.label, "group": block.group, "macs": graph.macs,
                "parameters": graph.parameters, "activation_bytes": graph.activation_bytes,
                "latency_ms": times.get(graph.digest),
            }
            for block, graph in graphs
        ]
    )  # fmt: skip


def device_rows(service: Service) -> list[dict[str, Any]]:
    """Known devices: how each is reached, what was measured on it; this machine is first."""
    rows = []
    fleet = Fleet(service.store)
    for number, device in enumerate(service.devices()):
        measured, facts = service.measured_on(device.name), device.facts
        away = "agent" if fleet.alive(device.name) else "none"
        rows.append(
            {
                "device": device.name,
                "reach": away if number else "local",
                "networks": measured.get("networks", 0),
                "blocks": measured.get("blocks", 0),
                "processor": str(
                    facts.get("cpu_model") or facts.get("gpu") or facts.get("cpu") or ""
                ),
            }
        )
    return rows


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        msg = f"the {what} is damaged ({error}); restore a copy of the database"
        raise StoreError(msg) from error
    if not isinstance(value, dict):
        msg = f"the {what} is no JSON object; restore a copy of the database"
        raise StoreError(msg)
    return value


def _winner(result: Mapping[str, Any]) -> Mapping[str, Any]:
    winner = result.get("winner")
    return winner if isinstance(winner, Mapping) else {}


def _minutes(started_at: str, finished_at: str | None) -> float | None:
    if finished_at is None:
        return None
    passed = datetime.fromisoformat(finished_at) - datetime.fromisoformat(started_at)
    return passed.total_seconds() / 60.0


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)
