from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import onnxruntime
import pytest

from dashboard import data
from devices.reference import reference_graph
from nas.errors import StoreError
from nas.result import Candidate, SearchResult
from nas.service import Service
from nas.settings import Settings
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.errors import UnknownNameError, UsageError
from search_spaces.space import ChainSpace
from tests.dashboard import stored
from tests.dashboard.stored import Made


def service(made: Made) -> Service:
    return Service.open(Settings(made.home))


def test_the_stored_run_of_these_tests_is_what_searches_store() -> None:
    networks = stored.candidates()
    result = stored.result_of(stored.RUN, networks)

    assert set(networks[0]) <= {field.name for field in fields(Candidate)}
    assert set(result) <= {field.name for field in fields(SearchResult)}


def test_a_run_is_read_with_its_networks(made: Made) -> None:
    view = data.read_run(service(made), stored.RUN)

    assert (view.space, view.target, view.budget_ms) == ("mobilenetv3", stored.TARGET, 5.0)
    assert view.winner == made.winner
    assert len(view.points) == sum(stored.COUNTS.values())
    assert view.error is None
    assert "several processes" in view.meaning


def test_a_run_without_a_result_is_what_was_asked(made: Made) -> None:
    stored.add_run(made.home, "20260103-000000-0000", "stopped")
    view = data.read_run(service(made), "20260103-000000-0000")

    assert (view.space, view.budget_ms, view.winner) == ("mobilenetv3", 5.0, None)
    assert len(view.points) == 0
    assert "nas run resume 20260103-000000-0000" in view.meaning


def test_runs_are_listed_newest_first_with_their_winners(made: Made) -> None:
    stored.add_run(made.home, "later", "failed", json.dumps({"error": "no device"}))
    later, first = data.run_rows(service(made).store.runs())

    assert (later["run"], later["state"], later["winner"]) == ("later", "failed", None)
    assert first["winner"] == made.winner
    assert first["minutes"] == 5.0
    assert first["started"] == "2026-01-02 03:04"


@pytest.mark.parametrize("text", ["{", "[]", '{"candidates": [{}]}'])
def test_a_damaged_result_is_a_store_error(made: Made, text: str) -> None:
    stored.add_run(made.home, "later", "verified", text)

    with pytest.raises(StoreError):
        data.read_run(service(made), "later")


def test_progress_counts_slots_of_each_stage(made: Made) -> None:
    assert data.stage_rows(service(made), stored.RUN) == [
        {"stage": "search", "done": 2, "failed": 0, "of": 3}
    ]


def test_a_store_that_is_not_there_is_not_created(tmp_path: Path) -> None:
    assert data.store_state(tmp_path / "home" / "nas.db") is None
    assert list(tmp_path.iterdir()) == []


def test_the_state_changes_with_the_store_and_not_with_looking(made: Made) -> None:
    before = data.store_state(made.database())
    with closing(sqlite3.connect(made.database())) as reader:
        reader.execute("SELECT count(*) FROM runs").fetchone()
        assert data.store_state(made.database()) == before

    stored.add_run(made.home, "later", "running")
    assert data.store_state(made.database()) != before


def test_choices_are_in_the_words_of_the_space(made: Made) -> None:
    rows = {row["choice"]: row["value"] for row in data.gene_rows(made.winner)}
    described = SPACES.get("mobilenetv3").describe(Architecture.parse(made.winner))

    assert rows["r"] == str(described["r"])
    assert rows["d"] == " ".join(map(str, described["d"]))


@pytest.mark.parametrize("key", ["nospace:012", "mobilenetv3:012", "nonsense"])
def test_a_network_that_cannot_be_is_a_usage_error(key: str) -> None:
    with pytest.raises(UsageError):
        data.gene_rows(key)


def test_blocks_add_up_to_the_network(made: Made) -> None:
    rows = data.block_rows(service(made), made.winner, stored.TARGET)

    assert sum(row["macs_m"] for row in rows) * 1e6 == pytest.approx(made.result["winner"]["macs"])
    assert [row["block"] for row in (rows[0], rows[-1])] == ["stem", "head"]


def test_blocks_that_were_measured_alone_have_their_time(made: Made) -> None:
    space = SPACES.get("mobilenetv3")
    assert isinstance(space, ChainSpace)
    stem = space.blocks_of(Architecture.parse(made.winner))[0]
    measured = replace(
        stored.measurement("block:stem"), kind="block", digest=stem.graph().digest,
        reference=reference_graph().digest,
    )  # fmt: skip
    service(made).store.add_measurements([measured])
    rows = data.block_rows(service(made), made.winner, stored.TARGET)

    # About half of the reference network, which takes 8 ms.
    assert rows[0]["latency_ms"] == pytest.approx(4.0, abs=0.1)
    assert {row["latency_ms"] for row in rows[1:]} == {None}


def test_times_of_blocks_are_shown_if_there_are_any() -> None:
    row = {"block": "b", "group": "g", "macs": 1, "parameters": 1, "activation_bytes": 1}

    assert "latency_ms" not in data.block_table([row])[0]
    shown = data.block_table([row, {**row, "latency_ms": 0.5}])
    assert [line["latency_ms"] for line in shown] == [None, 0.5]


def test_the_untrained_file_runs_and_says_what_it_is(made: Made) -> None:
    body = data.untrained_onnx(made.winner)
    about = onnxruntime.InferenceSession(body).get_modelmeta().custom_metadata_map

    assert about["architecture"] == made.winner
    assert about["weights"].startswith("seeded")
    assert data.file_name(made.winner, "untrained.onnx").endswith(".untrained.onnx")


def test_only_the_winner_has_a_trained_file(home: Path) -> None:
    made = stored.make(home, trained=b"weights")
    with_file = service(made)
    view = data.read_run(with_file, stored.RUN)
    digest = data.trained_winner(view, made.winner)

    assert digest is not None
    assert with_file.store.artefact(digest) == b"weights"
    assert data.trained_winner(view, made.keys("predicted")[0]) is None


def test_the_table_holds_every_network(made: Made) -> None:
    rows = list(
        csv.DictReader(data.pareto_csv(data.read_run(service(made), stored.RUN)).split("\n"))
    )

    assert [row["key"] for row in rows] == [c["key"] for c in made.result["candidates"]]
    assert float(rows[0]["latency_ms"]) == made.result["candidates"][0]["latency_ms"]
    assert {row["within_budget"] for row in rows} == {"", "True", "False"}


def test_devices_of_the_store_are_listed_with_what_was_measured(made: Made) -> None:
    rows = {row["device"]: row for row in data.device_rows(service(made))}

    assert rows[stored.DEVICE]["networks"] == 2
    assert rows[stored.DEVICE]["processor"] == "Test Box 1"
    assert [row["reach"] for row in rows.values()].count("local") == 1


def test_an_unknown_run_is_named(made: Made) -> None:
    with pytest.raises(UnknownNameError, match="nothing-like-it"):
        data.read_run(service(made), "nothing-like-it")
