"""What the command line prints: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devices.device import Target
from devices.local import resolve
from devices.lock import host_lock
from nas.settings import Settings
from nas.store import SqlStore
from search_spaces import SPACES, Architecture

if TYPE_CHECKING:
    from tests.conftest import World
    from tests.nas.cli.conftest import Command

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ["sqlalchemy", "alembic", "onnx", "onnxruntime", "scipy", "sklearn", "torch", "ray"]


def test_device_list_as_json_begins_with_this_machine(nas: Command) -> None:
    ended = nas("device", "list", "-o", "json")

    assert (ended.code, ended.err) == (0, "")
    assert ended.json[0]["device"] == resolve(Target("local")).device
    assert ended.json[0]["local"] is True


@pytest.mark.parametrize("arguments", [[], ["local"]])
def test_device_show_as_json_holds_facts_and_what_was_measured(
    nas: Command, arguments: list[str]
) -> None:
    ended = nas("device", "show", *arguments, "-o", "json")

    assert (ended.code, ended.err) == (0, "")
    assert ended.json["name"] == resolve(Target("local")).device
    assert ended.json["measured"] == {}
    assert {"architecture", "system", "cpu_model"} <= set(ended.json)


def test_device_doctor_as_json_is_a_list_of_findings(nas: Command, home: Path) -> None:
    ended = nas("device", "doctor", "-o", "json")

    states = {row["check"]: row["state"] for row in ended.json}
    assert ended.err == ""
    assert set(states.values()) <= {"good", "note", "bad"}
    assert states["onnxruntime"] == states["folder"] == states["measuring lock"] == "good"
    assert ended.code == (4 if "bad" in states.values() else 0)
    assert home.is_dir()
    assert list(home.iterdir()) == []


def test_doctor_says_who_is_measuring(nas: Command) -> None:
    with host_lock("run 7"):
        ended = nas("device", "doctor", "-o", "json")

    lock = next(row for row in ended.json if row["check"] == "measuring lock")
    assert lock["state"] == "note"
    assert "run 7" in lock["detail"]


def test_doctor_fails_where_nothing_can_be_kept(nas: Command, home: Path) -> None:
    home.write_text("a file in the way")

    ended = nas("device", "doctor", "-o", "json")

    assert ended.code == 4
    assert next(row for row in ended.json if row["check"] == "folder")["state"] == "bad"


def test_no_runs_are_an_empty_list(nas: Command) -> None:
    ended = nas("run", "list", "-o", "json")

    assert (ended.code, ended.err, ended.json) == (0, "", [])


def test_run_list_and_show_as_json(nas: Command, stored_run: str) -> None:
    listed, shown = nas("run", "list", "-o", "json"), nas("run", "show", stored_run, "-o", "json")

    assert (listed.code, shown.code, listed.err, shown.err) == (0, 0, "", "")
    assert [row["run"] for row in listed.json] == [stored_run]
    assert listed.json[0]["state"] == shown.json["state"] == "stopped"
    assert shown.json["slots"] == []
    assert shown.json["request"]["budget_ms"] == 5.0


def test_a_run_may_be_named_by_its_beginning(nas: Command, stored_run: str) -> None:
    assert nas("run", "show", stored_run[:4], "-o", "json").json["run"] == stored_run


def test_every_slot_of_a_run_is_shown_with_how_it_ended(
    nas: Command, stored_run: str, home: Path, world: World
) -> None:
    from nas.trial import Failure

    keys = [arch.key for arch in world.networks(3).architectures()]
    with SqlStore(Settings(home).database) as store:
        store.add_batch(stored_run, 0, "calibrate", keys)
        store.add_outcome(stored_run, 0, 0, world.measurement(keys[0], 0.5))
        store.add_outcome(stored_run, 0, 1, Failure("refused [by] the runtime"))

    slots = nas("run", "show", stored_run, "-o", "json").json["slots"]
    table = nas("run", "show", stored_run)

    assert [slot["architecture"] for slot in slots] == keys
    assert [slot["kind"] for slot in slots] == ["measured", "failed", "open"]
    assert slots[0]["latency_ms"] == pytest.approx(0.5 * world.quiet_ms, rel=1e-3)
    assert slots[1]["failure"] == "refused [by] the runtime"
    # Square brackets are no markup.
    assert "[by]" in table.out


@pytest.mark.parametrize(
    "arguments",
    [["device", "list"], ["device", "show"], ["device", "doctor"], ["run", "list"]],
)
def test_tables_go_to_stdout(nas: Command, arguments: list[str]) -> None:
    ended = nas(*arguments)

    assert ended.err == ""
    assert ended.out.strip()
    assert "\x1b" not in ended.out


def test_prediction_as_json_says_that_it_is_one(
    nas: Command, calibrated: Path, world: World
) -> None:
    keys = [arch.key for arch in world.networks(3, seed=5).architectures()]

    ended = nas("predict", *keys, "-o", "json")

    assert (ended.code, ended.err) == (0, "")
    assert [row["architecture"] for row in ended.json] == keys
    for row, key in zip(ended.json, keys, strict=True):
        assert row["kind"] == "predicted"
        assert row["lower_ms"] < row["latency_ms"] < row["upper_ms"]
        assert row["latency_ms"] == pytest.approx(world.true_ms(key), rel=0.05)
        assert row["measured_networks"] == 12
        assert row["level"] == 0.9


def test_two_spellings_of_a_network_are_predicted_alike(nas: Command, calibrated: Path) -> None:
    """Genes of absent slots change nothing."""
    space = SPACES.get("mobilenetv3")
    spelled = Architecture(space.name, (0,) * 6 + (2,) * 40)
    canonical = space.canonical_arch(spelled)

    ended = nas("predict", spelled.key, canonical.key, "-o", "json")

    first, second = ended.json
    assert spelled != canonical
    assert first["latency_ms"] == second["latency_ms"]


def test_a_damaged_predictor_is_no_traceback(nas: Command, calibrated: Path) -> None:
    calibrated.write_bytes(calibrated.read_bytes()[:100])

    ended = nas("predict", "mobilenetv3:" + "0" * 46)

    assert ended.code in {1, 4}
    assert "calibrate the device again" in ended.err


def process(*arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, **options},
    )  # fmt: skip


def test_predict_loads_nothing_heavy(calibrated: Path) -> None:
    """The predictor is read from its file: no database, no model format, no science library."""
    code = (
        "import sys, json, nas.cli.main as door\n"
        "sys.argv = ['nas', 'predict', 'mobilenetv3:' + '0' * 46, '-o', 'json']\n"
        "try:\n    door.main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"sys.stderr.write(json.dumps([m for m in {HEAVY} if m in sys.modules]))\n"
    )

    ended = process("-c", code)

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)[0]["kind"] == "predicted"
    assert json.loads(ended.stderr) == []


def test_help_loads_nothing_heavy(home: Path) -> None:
    code = (
        "import sys, nas.cli.main as door\n"
        "sys.argv = ['nas', 'search', '--help']\n"
        "try:\n    door.main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"sys.stderr.write(str([m for m in {HEAVY} if m in sys.modules]))\n"
    )

    assert process("-c", code).stderr == "[]"


def test_the_module_can_be_run_and_its_exit_code_is_the_errors(home: Path) -> None:
    ended = process("-m", "nas.cli.main", "search", "--budget", "5")

    assert ended.returncode == 2
    assert ended.stderr.startswith("nas: budget '5' needs a number and a unit")
    assert ended.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    """As in `nas device show -o json | head -1`."""
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "nas.cli.main", "device", "show", "-o", "json"], cwd=ROOT,
            stdout=write, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(write)

    assert ended.stderr == ""


@pytest.mark.slow
def test_head_cuts_a_long_table_without_a_traceback(
    home: Path, stored_run: str, world: World
) -> None:
    keys = [arch.key for arch in world.networks(2000).architectures()]
    with SqlStore(Settings(home).database) as store:
        store.add_batch(stored_run, 0, "calibrate", keys)

    line = f"{sys.executable} -m nas.cli.main run show {stored_run} -o json | head -1"
    ended = subprocess.run(
        ["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ended.stdout == "{\n"
    assert ended.stderr == ""
