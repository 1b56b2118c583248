"""The agent and its packs from the command line, with the real store."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nas.settings import Settings
from nas.store import SqlStore

if TYPE_CHECKING:
    from tests.nas.cli.conftest import Command

TARGET = "other-box:ort-fp32-t1"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The agent's door sets up logging for its process, which here is everybody's."""
    monkeypatch.delenv("NAS_TOKEN", raising=False)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def pack(nas: Command, tmp_path: Path) -> Path:
    """A pack of two random networks for another device."""
    path = tmp_path / "two.pack.json"
    ended = nas(
        "profile", "pack", "--samples", "2", "--rounds", "3", "--device", TARGET,
        "--output", str(path),
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert f"2 networks for {TARGET}" in ended.err
    return path


def test_a_pack_holds_the_networks_their_graphs_and_the_plan(pack: Path) -> None:
    document = json.loads(pack.read_text())

    assert document["target"] == TARGET
    assert document["plan"]["min_rounds"] == 3
    assert [item["position"] for item in document["items"]] == [0, 1]
    assert all(item["subject"].startswith("mobilenetv3:") for item in document["items"])


@pytest.mark.slow
def test_a_pack_goes_out_is_measured_and_comes_home_once(
    nas: Command, home: Path, pack: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.jsonl"

    measured = nas(
        "agent", "run", "--offline", str(pack), "--output", str(results), "--name", "other-box"
    )
    first = nas("profile", "import", str(results), "-o", "json")
    again = nas("profile", "import", str(results), "-o", "json")

    assert measured.code == 0, measured.err
    assert "2 measured, 0 failed" in measured.err
    assert (first.json[0]["added"], first.json[0]["repeated"]) == (2, 0)
    assert (again.json[0]["added"], again.json[0]["repeated"]) == (0, 2)
    with SqlStore(Settings(home).database) as store:
        stored = store.measurements(TARGET)
        devices = [device.name for device in store.devices()]
    wanted = [item["subject"] for item in json.loads(pack.read_text())["items"]]
    assert [row.measurement.subject for row in stored] == wanted
    assert "other-box" in devices


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["agent", "run"], ["--server URL", "--offline PACK"]),
        (["agent", "run", "--server", "http://127.0.0.1:1", "--offline", "x"], ["--server URL"]),
        (["agent", "run", "--offline", "x"], ["--output RESULTS"]),
        (["agent", "run", "--offline", "none", "--output", "r"], ["cannot read the pack none"]),
        (["agent", "run", "--server", "http://127.0.0.1:1"], ["token"]),
        (["agent", "run", "--server", "http://nas.example", "--token", "t"], ["--insecure"]),
        (["agent", "run", "--server", "nas", "--token", "t"], ["no address of a server"]),
        (["profile", "pack", "--device", TARGET, "--output", "p"], ["--samples N"]),
        (["profile", "pack", "--samples", "1", "--device", "local", "--output", "p"], ["device"]),
        (["profile", "pack", "--samples", "1", "--output", "p"], ["--device"]),
        (["profile", "import", "none"], ["cannot read the results none"]),
        (["profile", "import"], ["RESULTS"]),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_a_usage_error(
    nas: Command, arguments: list[str], words: list[str]
) -> None:
    ended = nas(*arguments)

    assert ended.code == 2
    for word in words:
        assert word.lower() in ended.err.lower()
    assert "Traceback" not in ended.err


def test_damaged_results_are_refused_by_file_and_line_and_nothing_is_stored(
    nas: Command, home: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.jsonl"
    header = {"format": "nas-results", "version": 1, "target": TARGET, "device": "other-box"}
    results.write_text(json.dumps({**header, "facts": {}}) + "\n" + '{"subject": "x"}\n')

    ended = nas("profile", "import", str(results))

    assert ended.code == 2
    assert f"{results}: line 2" in ended.err
    with SqlStore(Settings(home).database) as store:
        assert store.measurements(TARGET) == []


@pytest.mark.slow
def test_a_key_or_an_option_alone_means_run(nas: Command) -> None:
    key = "mobilenetv3:" + "0" * 46

    assert nas("profile", key, "-o", "json", "-q").json[0]["architecture"] == key
    assert len(nas("profile", "--samples", "1", "-o", "json", "-q").json) == 1
