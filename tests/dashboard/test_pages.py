"""Pages run by Streamlit's own test runner, on a real store."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from nas.settings import Settings
from nas.store import SqlStore
from tests.dashboard import stored
from tests.dashboard.stored import Made

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def explorer() -> AppTest:
    """The explorer as `nas ui` starts it."""
    return AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=30).run()


def words(page: AppTest) -> str:
    """All text of a page, Markdown's escapes taken out."""
    parts = [*page.title, *page.markdown, *page.caption, *page.info, *page.warning, *page.error,
             *page.code, *page.subheader]  # fmt: skip
    return "\n".join(str(part.value) for part in parts).replace("\\", "")


def networks_shown(page: AppTest) -> list[str]:
    """Options of the select box of networks, as labelled."""
    return list(page.main.selectbox[0].options)


def fine(page: AppTest) -> bool:
    """No traceback and no error on the page."""
    return not page.exception and not page.error


def dump(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def test_without_a_database_the_page_says_how_to_begin(home: Path) -> None:
    page = explorer()

    assert fine(page)
    assert "nas search --device local --budget 5ms" in words(page)
    assert str(home) in words(page)
    assert not home.exists()


def test_an_empty_database_says_how_to_begin(home: Path) -> None:
    SqlStore(Settings(home).database).close()
    page = explorer()

    assert fine(page)
    assert "nas search --device local --budget 5ms" in words(page)


def test_a_damaged_database_is_one_sentence(home: Path) -> None:
    home.mkdir()
    Settings(home).database.write_bytes(b"no database at all, only words" * 40)
    page = explorer()

    assert not page.exception
    assert len(page.error) == 1
    assert "it is not a database" in words(page)


def test_a_run_is_shown_with_whose_accuracies_and_what_is_promised(made: Made) -> None:
    page = explorer()

    assert fine(page)
    assert page.title[0].value == f"mobilenetv3 on {stored.TARGET}"
    assert {metric.label: metric.value for metric in page.metric}["Budget"] == "5 ms"
    assert "once-for-all (published weights, width 1.0)" in words(page)
    assert "Only verified networks are known to meet the budget" in words(page)
    assert "60 of 60 networks" in words(page)
    assert len(page.get("plotly_chart")) == 2
    assert networks_shown(page)[0].startswith("winner")
    assert made.winner in networks_shown(page)[0]


def test_filters_choose_among_the_networks(made: Made) -> None:
    page = explorer()

    page.multiselect[0].set_value(["measured", "verified"]).run()
    assert len(networks_shown(page)) == 16

    page.multiselect[0].set_value(["measured"]).run()
    page.checkbox[0].check().run()
    front = [c for c in made.result["candidates"] if c["kind"] == "measured" and c["on_front"]]
    assert len(networks_shown(page)) == len(front) < 12

    latency = next(slider for slider in page.slider if slider.label.startswith("Latency"))
    low, high = sorted(c["latency_ms"] for c in front)[:2]
    latency.set_value((latency.min, (low + high) / 2)).run()
    assert len(networks_shown(page)) == 1
    assert fine(page)


def test_filters_that_leave_nothing_say_so(made: Made) -> None:
    page = explorer()
    page.multiselect[0].set_value([]).run()

    assert fine(page)
    assert "No network passes the filters" in words(page)


def test_the_chosen_network_is_described(made: Made) -> None:
    page = explorer()
    wanted = made.keys("measured")[3]
    page.main.selectbox[0].set_value(wanted).run()

    assert fine(page)
    assert wanted in [code.value for code in page.code]
    assert "not verified: may miss the budget" in words(page)
    choices, blocks = (table.value for table in page.dataframe)
    assert "ks" in choices["choice"].tolist()
    assert blocks["block"].iloc[0] == "stem"
    labels = [button.proto.label for button in page.get("download_button")]
    assert labels == ["ONNX, untrained", "pareto.csv", "result.json"]


def test_a_link_opens_its_run_and_network(made: Made) -> None:
    stored.add_run(made.home, "later", "stopped")
    wanted = made.keys("imported")[2]
    page = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=30)
    page.query_params["run"] = stored.RUN
    page.query_params["network"] = wanted
    page.run()

    assert fine(page)
    assert page.sidebar.selectbox[0].value == stored.RUN
    assert page.main.selectbox[0].value == wanted


def test_a_trained_winner_is_offered_as_trained(home: Path) -> None:
    stored.make(home, trained=b"an ONNX file with weights")
    page = explorer()

    assert fine(page)
    assert page.get("download_button")[0].proto.label == "ONNX, trained"


def test_a_missing_artefact_is_said_and_the_rest_works(home: Path) -> None:
    made = stored.make(home, trained=b"an ONNX file with weights")
    with closing(sqlite3.connect(made.database())) as connection, connection:
        connection.execute("DELETE FROM artefacts")
    page = explorer()

    assert fine(page)
    assert "The trained file cannot be had: " in words(page)
    labels = [button.proto.label for button in page.get("download_button")]
    assert labels == ["ONNX, untrained", "pareto.csv", "result.json"]


def test_a_running_run_shows_how_far_it_is(made: Made) -> None:
    stored.add_run(made.home, "20260103-000000-0000", "running")
    with SqlStore(made.database()) as store:
        store.add_batch("20260103-000000-0000", 0, "calibrate", made.keys("measured")[:4])
        store.add_outcome(
            "20260103-000000-0000", 0, 0, stored.measurement(made.keys("measured")[0])
        )
    page = explorer()

    assert fine(page)
    assert page.sidebar.selectbox[0].value == "20260103-000000-0000"
    (bar,) = page.get("progress")
    assert bar.proto.text == "calibrate: 1 of 4"


def test_a_failed_run_says_why(made: Made) -> None:
    stored.add_run(made.home, "later", "failed", json.dumps({"error": "no *device* answers"}))
    page = explorer()

    assert not page.exception
    assert "no *device* answers" in words(page)
    assert "nas run resume later" in words(page)


def test_an_infeasible_run_names_the_nearest(made: Made) -> None:
    nearest = made.result["candidates"][0]
    result = made.result | {
        "run": "later", "state": "infeasible", "winner": None, "verification": None,
        "nearest": nearest,
    }  # fmt: skip
    stored.add_run(made.home, "later", "infeasible", json.dumps(result))
    page = explorer()

    assert fine(page)
    assert f"Nearest by prediction: `{nearest['key']}`" in words(page)


def test_a_damaged_result_is_one_sentence(made: Made) -> None:
    stored.add_run(made.home, "later", "verified", "{")
    page = explorer()

    assert not page.exception
    assert "result of run later is damaged" in words(page)


def test_looking_changes_nothing(made: Made) -> None:
    before = dump(made.database())
    page = explorer()
    page.main.selectbox[0].set_value(made.keys("verified")[0]).run()

    assert fine(page)
    assert dump(made.database()) == before


def test_the_list_has_the_newest_run_first(made: Made) -> None:
    stored.add_run(made.home, "later", "stopped")

    def script() -> None:
        import streamlit as st

        from dashboard.views import explore, runs

        runs.page(st.Page(explore.page, title="Explore", url_path="explore"))

    page = AppTest.from_function(script, default_timeout=30).run()

    assert fine(page)
    table: Any = page.dataframe[0].value
    assert table["run"].tolist() == ["later", stored.RUN]
    assert table["winner"].iloc[1] == made.winner
    assert "2 of 2 runs" in words(page)


def test_the_devices_of_the_store_are_shown(made: Made) -> None:
    def script() -> None:
        from dashboard.views import hardware

        hardware.page()

    page = AppTest.from_function(script, default_timeout=30).run()

    assert fine(page)
    table: Any = page.dataframe[0].value
    row = table[table["device"] == stored.DEVICE].iloc[0]
    assert (row["reach"], row["networks"]) == ("none", 2)
