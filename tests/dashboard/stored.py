"""A store with runs as searches leave them, made without searching."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devices.device import Device
from devices.measurement import Measurement, Samples
from nas.pareto import non_dominated
from nas.settings import Settings
from nas.store import SqlStore
from search_spaces import SPACES
from search_spaces.architecture import BoolArray, FloatArray
from search_spaces.costs import costs
from search_spaces.moves import sample

DEVICE = "testbox-2c-abc123"
TARGET = f"{DEVICE}:ort-fp32-t1"
BUDGET_MS = 5.0
RUN = "20260102-030405-abcd"
STARTED, FINISHED = "2026-01-02T03:04:05+00:00", "2026-01-02T03:09:05+00:00"
COUNTS = {"imported": 14, "predicted": 30, "measured": 12, "verified": 4}
REQUEST = {"space": "mobilenetv3", "device": TARGET, "budget_ms": BUDGET_MS}


@dataclass(frozen=True)
class Made:
    """A store made for a test.

    Attributes:
        home: Folder of the database.
        result: Result of the run in it.
    """

    home: Path
    result: dict[str, Any]

    @property
    def winner(self) -> str:
        """Key of the winner."""
        return str(self.result["winner"]["key"])

    def database(self) -> Path:
        """Its file."""
        return Settings(self.home).database

    def keys(self, kind: str) -> list[str]:
        """Networks of one kind."""
        return [c["key"] for c in self.result["candidates"] if c["kind"] == kind]


def candidates(seed: int = 0) -> list[dict[str, Any]]:
    """Networks of all four kinds: real costs, latency and accuracy by a smooth function of them.

    Three of the verified hold the budget, one does not.
    """
    rng = np.random.default_rng(seed)
    kinds = np.array([kind for kind, count in COUNTS.items() for _ in range(count)])
    population = sample(SPACES.get("mobilenetv3"), len(kinds), rng)
    cost = costs(population)
    latency = 1.2 + 1.25e-8 * cost["macs"] * np.exp(0.05 * rng.standard_normal(len(kinds)))
    accuracy = 68.0 + 3.5 * np.log(cost["macs"] / 1e8) + 0.2 * rng.standard_normal(len(kinds))
    verified = np.flatnonzero(kinds == "verified")
    latency[verified] = BUDGET_MS * np.array([0.93, 0.955, 0.97, 1.015])
    spread = np.select(
        [kinds == "verified", kinds == "measured", kinds == "predicted"], [0.01, 0.02, 0.05], 0.0
    )
    front = _fronts(kinds, latency, accuracy)
    return [
        {
            "key": population[row].key, "kind": str(kinds[row]),
            "latency_ms": float(latency[row]),
            "latency_low_ms": float(latency[row] * (1 - spread[row])),
            "latency_high_ms": float(latency[row] * (1 + spread[row])),
            "top1_percent": float(accuracy[row]), "top1_std_percent": 0.2, "drop_percent": 0.0,
            "accuracy_estimated": False, "accuracy_extrapolated": False,
            "macs": int(cost["macs"][row]), "parameters": int(cost["parameters"][row]),
            "peak_activation_bytes": int(cost["peak_activation_bytes"][row]),
            "within_budget": bool(latency[row] < BUDGET_MS) if kinds[row] == "verified" else None,
            "on_front": bool(front[row]),
        }
        for row in range(len(kinds))
    ]  # fmt: skip


def _fronts(kinds: Any, latency: FloatArray, accuracy: FloatArray) -> BoolArray:
    front = np.zeros(len(kinds), dtype=np.bool_)
    for kind in COUNTS:
        rows = np.flatnonzero(kinds == kind)
        front[rows] = non_dominated(np.column_stack([-accuracy[rows], latency[rows]]))
    return front


def result_of(run: str, networks: list[dict[str, Any]]) -> dict[str, Any]:
    """What `SearchResult.as_json` holds for these networks."""
    holding = [c for c in networks if c["within_budget"]]
    winner = max(holding, key=lambda c: float(c["top1_percent"]))
    return {
        "run": run, "state": "verified", "target": TARGET, "space": "mobilenetv3",
        "budget_ms": BUDGET_MS, "risk": 0.05, "winner": winner,
        "verification": {
            "key": winner["key"], "latency_ms": winner["latency_ms"],
            "upper_ms": winner["latency_high_ms"], "confidence": 0.95, "occasions": 3,
            "wall_ms": 1.3 * winner["latency_ms"], "holds": True, "gap_s": 10.0,
        },
        "candidates": sorted(networks, key=lambda c: (c["latency_ms"], c["key"])),
        "weights": "seeded", "accuracy_of": "once-for-all (published weights, width 1.0)",
        "quiet_ms": 8.2, "quiet_pressure_percent": 1.0, "quiet_change_percent": None,
        "seconds": {"search": 40.0, "verify": 75.0},
        "measurements": {"this run": 16, "in all": 40, "networks": 30}, "nearest": None,
        "environment": {"load_1min": 0.3},
        "architecture": {"r": 224},
    }  # fmt: skip


def make(home: Path, *, trained: bytes | None = None) -> Made:
    """A store with one verified run, its device and two measurements.

    Args:
        home: Folder of the database; created.
        trained: Bytes to keep as the trained ONNX file of the winner.
    """
    result = result_of(RUN, candidates())
    home.mkdir(parents=True, exist_ok=True)
    with SqlStore(Settings(home).database) as store:
        store.add_device(Device(DEVICE, {"cpu_model": "Test Box 1", "logical_cores": 2}), STARTED)
        store.open_run(RUN, json.dumps(REQUEST), STARTED)
        store.add_batch(RUN, 0, "search", [c["key"] for c in result["candidates"][:3]])
        store.add_outcome(RUN, 0, 0, measurement(result["candidates"][0]["key"]))
        store.add_outcome(RUN, 0, 1, measurement(result["candidates"][1]["key"]))
        if trained is not None:
            store.name_artefact(
                RUN, "best.onnx", store.add_artefact(trained, "application/onnx", FINISHED)
            )
        store.finish_run(RUN, "verified", json.dumps(result, indent=2) + "\n", FINISHED)
    return Made(home, result)


def add_run(
    home: Path, name: str, state: Any, result: str | None = None,
    started: str = "2026-01-03T00:00:00+00:00",
) -> None:  # fmt: skip
    """One more run, by default newer than `RUN`."""
    with SqlStore(Settings(home).database) as store:
        store.open_run(name, json.dumps(REQUEST), started)
        if state != "running":
            store.finish_run(name, state, result, FINISHED)


def measurement(key: str) -> Measurement:
    """A network measured on the test's device."""
    samples = Samples((4.0, 4.1, 4.0), (5.0, 5.1, 5.0), (8.0, 8.1, 8.0), (8.1, 8.0, 8.1))
    return Measurement(
        subject=key, kind="network", digest="digest", target=TARGET, samples=samples,
        reference="reference", occasion="occasion", environment={"load_1min": 0.3},
        taken_at="2026-01-02T03:05:00+00:00",
    )  # fmt: skip
