"""Whole searches, measured with the real runtime."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

from devices.local import measure_locally
from devices.lock import host_lock
from devices.model import encode
from nas.cli.options import Format
from nas.cli.search import finish
from nas.decide import Step
from nas.errors import NoFeasibleArchitectureError
from nas.trial import Failure, StoredMeasurement
from search_spaces.architecture import Architecture
from search_spaces.graph import OpGraph
from tests.nas.search.tiny import SPACE, Notes, samples_in, service

if TYPE_CHECKING:
    from tests.nas.search.conftest import Finished, Request

pytestmark = pytest.mark.slow

FILES = ["arch.json", "best.untrained.onnx", "pareto.csv", "result.json"]


def files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_budget_that_is_easily_met_ends_verified(finished: Finished) -> None:
    result = finished.result

    assert result.state == "verified"
    assert result.winner
    assert result.verification
    # The largest network is the most accurate one here, and everything meets the budget.
    assert result.winner.key == "tiny:333"
    assert result.winner.within_budget is True
    assert result.verification["occasions"] == 3
    assert 0.0 < result.winner.latency_ms <= result.verification["upper_ms"] <= 1000.0
    assert result.nearest is None


def test_the_winner_is_verified_in_processes_apart_from_one_another(finished: Finished) -> None:
    with service(finished.home) as opened:
        verifying = [b for b in opened.store.batches(finished.result.run) if b.stage == "verify"]

    occasions = [
        {o.measurement.occasion for o in batch.outcomes if isinstance(o, StoredMeasurement)}
        for batch in verifying
    ]
    assert [len(batch) for batch in occasions] == [1, 1, 1]
    assert len(set.union(*occasions)) == 3


def test_files_are_written_and_agree_with_the_result(finished: Finished) -> None:
    text = (finished.folder / "result.json").read_text()
    arch = json.loads((finished.folder / "arch.json").read_text())

    assert files_in(finished.folder) == FILES
    assert json.loads(text) == json.loads(json.dumps(finished.result.as_json()))
    assert arch["architecture"] == "tiny:333"
    assert arch["choices"] == {f"inner[{slot}]": 512 for slot in range(3)}
    assert arch["weights"] == "seeded"
    assert arch["verification"]["holds"] is True


def test_the_exported_network_says_it_is_untrained_and_runs(finished: Finished) -> None:
    file = finished.folder / "best.untrained.onnx"
    about = {prop.key: prop.value for prop in onnx.load(file).metadata_props}
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)

    (found,) = session.run(None, {"input": image})

    assert about["weights"] == "seeded:0"
    assert about["architecture"] == "tiny:333"
    assert about["graph_digest"] == SPACE.graph(Architecture.parse("tiny:333")).digest
    assert found.shape == (1, 10)
    assert np.isfinite(found).all()


def test_the_table_says_of_each_latency_how_it_is_known(finished: Finished) -> None:
    with (finished.folder / "pareto.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert {row["kind"] for row in rows} == {"predicted", "measured", "verified"}
    for row in rows:
        assert (row["within_budget"] != "") == (row["kind"] == "verified")
    assert len({row["key"] for row in rows}) == len(rows)


def test_the_run_is_kept_with_its_result_and_artefacts(finished: Finished) -> None:
    with service(finished.home) as opened:
        kept = opened.describe_run(finished.result.run)
        artefacts = {name: opened.store.artefact(key) for name, key in kept["artefacts"].items()}

    assert kept["state"] == "verified"
    assert kept["result"] == json.loads((finished.folder / "result.json").read_text())
    assert {slot["kind"] for slot in kept["slots"]} == {"measured"}
    assert artefacts["pareto.csv"] == (finished.folder / "pareto.csv").read_bytes()
    # The store keeps no weights, which are hundreds of times as large as the network.
    assert len(artefacts["best.weightless.onnx"]) < 5000


def test_a_replay_decides_every_batch_again(finished: Finished) -> None:
    with service(finished.home) as opened:
        replayed = opened.replay(finished.result.run)

    assert len(replayed) >= 4
    for batch, step in replayed:
        assert step == Step(batch.stage, batch.subjects)


def test_a_finished_run_is_only_written_again(finished: Finished, tmp_path: Path) -> None:
    with service(finished.home) as opened:
        before = samples_in(opened, finished.result.target)
        again = opened.resume(finished.result.run, tmp_path / "again")
        after = samples_in(opened, finished.result.target)

    assert after == before
    assert again == finished.result
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (finished.folder / name).read_bytes()


def test_a_budget_nothing_meets_ends_infeasible_with_the_nearest(
    request_for: Request, tmp_path: Path
) -> None:
    notes, out = Notes(), tmp_path / "out"
    with service(tmp_path / "home", notes) as opened:
        result = opened.search(request_for(budget_ms=0.0001), out)
        state = opened.store.run(result.run).state

    assert result.state == state == "infeasible"
    assert result.winner is None
    assert result.nearest
    assert result.nearest.key == "tiny:000"
    assert result.nearest.latency_ms > 0.0001
    assert "verify the best" not in notes.stages
    assert files_in(out) == ["pareto.csv", "result.json"]
    with pytest.raises(NoFeasibleArchitectureError, match="the nearest is tiny:000") as caught:
        finish(result, out, Format.json)
    assert caught.value.exit_code == 3


def test_a_budget_in_the_middle_ends_in_a_state_that_fits_what_was_found(
    request_for: Request, tmp_path: Path, finished: Finished
) -> None:
    """Between the fastest and the slowest network measured on this machine."""
    known = [c.latency_ms for c in finished.result.candidates]
    budget = float(np.sqrt(min(known) * max(known)))
    with service(tmp_path / "home") as opened:
        result = opened.search(request_for(budget_ms=budget), tmp_path / "out")
        stages = {batch.stage for batch in opened.store.batches(result.run)}

    verified = [c for c in result.candidates if c.kind == "verified"]
    assert "search" in stages
    assert (result.state == "verified") == any(c.within_budget for c in verified)
    assert result.state != "infeasible"
    if result.winner:
        best = max((c for c in verified if c.within_budget), key=lambda c: c.top1_percent)
        assert result.winner == best
        assert result.winner.latency_high_ms <= budget


def test_without_an_output_folder_files_lie_under_the_name_of_the_run(
    request_for: Request, tmp_path: Path
) -> None:
    with service(tmp_path / "home") as opened:
        result = opened.search(request_for(budget_ms=0.0001))

    assert files_in(tmp_path / "runs" / result.run) == ["pareto.csv", "result.json"]


@pytest.mark.parametrize("how", ["refused by the runtime", "cannot be built"])
def test_a_network_that_cannot_be_measured_is_a_failed_slot_and_the_run_ends(
    request_for: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    bad = SPACE.graph(Architecture.parse("tiny:003")).digest

    def build(graph: OpGraph, *args: Any, **options: Any) -> bytes:
        if graph.digest != bad:
            return encode(graph, *args, **options)
        if how == "cannot be built":
            msg = "a bug in a space"
            raise ValueError(msg)
        return b"garbage"

    monkeypatch.setattr("nas.evaluators.latency.encode", build)
    # Should the process wait for the model in vain, then not for two minutes.
    defaults = measure_locally.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "group_timeout_s", 4.0)
    notes = Notes()

    with service(tmp_path / "home", notes) as opened:
        result = opened.search(request_for(), tmp_path / "out")
        batches = opened.store.batches(result.run)

    outcomes = {
        subject: outcome
        for batch in batches
        for subject, outcome in zip(batch.subjects, batch.outcomes, strict=True)
    }
    failed = [subject for subject, outcome in outcomes.items() if isinstance(outcome, Failure)]
    assert failed == ["tiny:003"]
    assert result.state == "verified"
    assert "tiny:003" not in {c.key for c in result.candidates if c.kind != "predicted"}
    assert any("tiny:003 was not measured" in note for note in notes.notes)


def test_a_search_waits_for_another_measurement_and_says_for_whom(
    request_for: Request, tmp_path: Path
) -> None:
    lock = host_lock("calibration of the neighbour")

    class Waiting(Notes):
        def note(self, text: str) -> None:
            super().note(text)
            if text.startswith("waiting for"):
                lock.__exit__(None, None, None)

    notes = Waiting()
    lock.__enter__()

    with service(tmp_path / "home", notes) as opened:
        result = opened.search(request_for(budget_ms=0.0001), tmp_path / "out")

    waits = [note for note in notes.notes if note.startswith("waiting for")]
    assert len(waits) == 1
    assert waits[0].startswith("waiting for calibration of the neighbour (process ")
    assert result.state == "infeasible"
