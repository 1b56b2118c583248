from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

import nas.fleet
import nas.remote
import nas.search
import nas.service
from devices.errors import DeviceUnavailableError
from nas.evaluator import EXECUTORS
from nas.service import Service
from nas.settings import Settings
from nas.trial import Estimate, Failure
from tests.nas.search.conftest import Request
from tests.nas.search.far import BOX, Box, Surveyed, working
from tests.nas.search.tiny import service


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nas.remote, "POLL_S", 0.02)
    monkeypatch.setattr(nas.search, "GAP_S", 0.0)


def decisions(opened: Service, run: str) -> list[tuple[str, tuple[str, ...], list[object]]]:
    """What a run decided and found, batch by batch."""
    return [
        (b.stage, b.subjects, [getattr(o, "value", getattr(o, "reason", None)) for o in b.outcomes])
        for b in opened.store.batches(run)
    ]


def test_a_device_behind_an_agent_is_searched_and_verified(
    tmp_path: Path, request_for: Request
) -> None:
    with working(Box(Settings(tmp_path).database)) as box, service(tmp_path) as opened:
        result = opened.search(request_for(device=BOX, budget_ms=12.0), tmp_path / "out")

        assert result.state == "verified"
        assert result.verification is not None
        assert result.verification["occasions"] >= 3
        assert result.target == f"{BOX}:ort-fp32-t1"
        stored = opened.store.measurements(result.target)
        slots = opened.describe_run(result.run)["slots"]
        # One row for each time the agent measured, and one slot for each row.
        assert len(stored) == len(box.measured) == len(slots)


def test_an_agent_that_falls_silent_stops_the_run_which_goes_on_when_it_is_back(
    tmp_path: Path, request_for: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nas.fleet, "LEASE_S", 3.0)
    box = Box(Settings(tmp_path).database, most=2)
    # Heard of until it measures, and never again.
    monkeypatch.setattr(nas.fleet.Fleet, "alive", lambda *args, **options: not box.measured)
    hasty = partial(nas.remote.RemoteEvaluator, patience_s=0.5)
    monkeypatch.setattr(nas.search, "RemoteEvaluator", hasty)
    with working(box) as first, service(tmp_path) as opened:
        with pytest.raises(DeviceUnavailableError, match="nas agent run"):
            opened.search(request_for(device=BOX, budget_ms=12.0), tmp_path / "out")
        (record,) = opened.store.runs()
        assert record.state == "failed"
        assert json.loads(record.request)["reach"] == "agent"
    patient = partial(nas.remote.RemoteEvaluator, patience_s=60.0)
    monkeypatch.setattr(nas.search, "RemoteEvaluator", patient)

    with working(Box(Settings(tmp_path).database)) as second, service(tmp_path) as opened:
        result = opened.resume(record.id, tmp_path / "out")

        assert result.state == "verified"
        stored = opened.store.measurements(result.target)
        assert len(stored) == len(first.measured) + len(second.measured)


def test_accuracies_that_take_a_look_are_evaluated_before_anything_is_timed(
    tmp_path: Path, request_for: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nas.service, "accuracy_source", lambda space: Surveyed())
    with service(tmp_path) as opened:
        request = request_for(evaluations=9, budget_ms=1000.0)
        result = opened.search(request, tmp_path / "out")

        stages = [stage for stage, _, _ in decisions(opened, result.run)]
        looked = [s for s in stages if s == "evaluate"]
        assert looked
        assert stages.index("evaluate") < stages.index("verify")
        assert stages[: len(looked) + 1] == ["calibrate", *looked]
        slots = opened.describe_run(result.run)["slots"]
        values = [slot for slot in slots if slot["kind"] == "evaluated"]
        assert values
        assert all(slot["accuracy"] > 0 for slot in values)
        assert len([s for s in slots if s["stage"] == "evaluate"]) <= 9
        for batch, step in opened.replay(result.run):
            assert (step.stage, step.subjects) == (batch.stage, batch.subjects)  # type: ignore[union-attr]


@pytest.mark.slow
def test_executors_decide_the_same(
    tmp_path: Path, request_for: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nas.service, "accuracy_source", lambda space: Surveyed())
    found = {}
    for name in ("serial", "processes"):
        executor = EXECUTORS.get(name)(workers=2)
        home = tmp_path / name
        with service(home) as opened:
            # Out of reach, so that nothing is timed: what is left is the same in every process.
            request = request_for(device="raspberry-pi-4", budget_ms=1000.0, evaluations=9)
            result = opened.search(request, home / "out", executor=executor)
            found[name] = (decisions(opened, result.run), result.winner and result.winner.key)
        executor.close()

    assert found["serial"] == found["processes"]
    outcomes = [value for _, _, values in found["serial"][0] for value in values]
    assert outcomes
    assert result.state == "predicted"


def test_a_network_that_cannot_be_looked_at_is_a_failed_slot(tmp_path: Path) -> None:
    look = Surveyed().evaluator()
    assert look is not None

    assert isinstance(look.evaluate_one("tiny:333"), Failure)
    assert isinstance(look.evaluate_one("tiny:130"), Estimate)
