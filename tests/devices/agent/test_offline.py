"""Packs: measured without a network, gone on with after a kill, refused if damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices.agent.__main__ import main
from devices.agent.describe import provenance
from devices.agent.offline import read_pack, read_results, run_pack
from devices.errors import DeviceUnavailableError, InvalidPackError
from devices.measurement import Samples

ROOT = Path(__file__).resolve().parents[3]
PACKS = sorted((ROOT / "devices" / "packs").glob("*.jsonl"))
DEVICE = "second-device"
WRONG = "0" * 64

Pack = Callable[..., Path]


def entries(output: Path) -> list[dict[str, Any]]:
    """Lines of the results after the header."""
    return [json.loads(line) for line in output.read_text().splitlines()[1:]]


def failing(pack: Pack, count: int = 3) -> Path:
    """A pack whose items fail at once: for what is not about measuring."""
    path = pack(count)
    document = json.loads(path.read_text())
    for item in document["items"]:
        item["digest"] = WRONG
    path.write_text(json.dumps(document))
    return path


@pytest.mark.slow
def test_a_pack_becomes_a_header_and_a_line_for_each_item(
    pack: Pack, tmp_path: Path, own_lock: Path
) -> None:
    output = tmp_path / "folder" / "results.jsonl"

    assert main(["offline", str(pack(2)), "--output", str(output), "--name", DEVICE]) == 0

    header = json.loads(output.read_text().splitlines()[0])
    assert header["format"] == "nas-results"
    assert header["target"] == f"{DEVICE}:ort-fp32-t1"
    assert header["device"] == DEVICE
    assert header["facts"]["logical_cores"] >= 1
    found = entries(output)
    assert [line["subject"] for line in found] == ["small:0", "small:1"]
    assert all(0 < Samples.from_json(line["samples"]).ratio < 0.1 for line in found)
    facts = provenance(read_results(output.read_bytes()))
    assert facts["networks"] == "2 measured, 0 failed"
    assert facts["onnxruntime"]
    assert facts["samples of a network"] == "3 to 3"


@pytest.mark.slow
def test_a_killed_agent_goes_on_where_the_file_ends(
    pack: Pack, tmp_path: Path, own_lock: Path
) -> None:
    # Every item in a process of its own, so that there is time to kill.
    path, output = pack(3, alone=True), tmp_path / "results.jsonl"
    command = [
        sys.executable, "-m", "devices.agent", "offline", str(path),
        "--output", str(output), "--name", DEVICE,
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        end = time.monotonic() + 60.0
        while time.monotonic() < end and (
            not output.exists() or output.read_bytes().count(b"\n") < 2
        ):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    before = output.read_bytes()
    assert 2 <= before.count(b"\n") < 4
    # As if the kill had come within a write.
    output.write_bytes(before + b'{"subject":"small:1","ki')

    tally = run_pack(path, output, name=DEVICE)

    assert tally.before == before.count(b"\n") - 1
    assert tally.before + tally.measured == tally.total == 3
    assert output.read_bytes().startswith(before)
    assert [line["subject"] for line in entries(output)] == ["small:0", "small:1", "small:2"]


def test_a_finished_pack_measures_nothing_again(pack: Pack, tmp_path: Path) -> None:
    path, output = failing(pack), tmp_path / "results.jsonl"
    first = run_pack(path, output, name=DEVICE)
    written = output.read_bytes()

    again = run_pack(path, output, name=DEVICE)

    assert (first.failed, first.before) == (3, 0)
    assert (again.failed, again.before) == (0, 3)
    assert output.read_bytes() == written


def test_the_same_network_twice_needs_two_lines(pack: Pack, tmp_path: Path) -> None:
    path, output = failing(pack, 1), tmp_path / "results.jsonl"
    document = json.loads(path.read_text())
    document["items"] *= 2
    path.write_text(json.dumps(document))
    run_pack(path, output, name=DEVICE)
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join(lines[:2]))

    tally = run_pack(path, output, name=DEVICE)

    assert (tally.total, tally.before, tally.failed) == (2, 1, 1)


def test_progress_is_told_after_each_item(pack: Pack, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []

    run_pack(
        failing(pack, 2), tmp_path / "r.jsonl", name=DEVICE,
        on_step=lambda done, total, text: told.append((done, total, text)),
    )  # fmt: skip

    assert [step[:2] for step in told] == [(1, 2), (2, 2)]
    assert "announced was" in told[0][2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "nas-results"}, "'nas-pack'"),
        ({"version": 2}, "reads 1"),
        ({"target": "a device"}, "not a target"),
        ({"plan": None}, "plan"),
        ({"plan": {"min_rounds": 0}}, "plan.min_rounds"),
        ({"alone": "no"}, "alone"),
        ({"items": {}}, "items"),
        ({"items": [{"kind": "network", "digest": "zz"}]}, r"items\[0\].digest"),
        ({"items": [{"kind": "network", "digest": WRONG, "graph": 5}]}, r"items\[0\].graph"),
        ({"items": [{"kind": "network", "digest": WRONG, "graph": "", "subject": "a\nb"}]},
         "subject"),
    ],
)  # fmt: skip
def test_a_damaged_pack_is_refused_naming_the_field(
    pack: Pack, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    output = tmp_path / "results.jsonl"

    with pytest.raises(InvalidPackError, match=words):
        run_pack(pack(**changes), output, name=DEVICE)
    assert not output.exists()


@pytest.mark.parametrize("data", [b"", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": "nas-p'])
def test_what_is_no_pack_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidPackError):
        read_pack(data)


def test_a_pack_cut_off_in_the_copy_ends_the_command_with_a_sentence(
    pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pack()
    path.write_bytes(path.read_bytes()[:-100])

    assert main(["offline", str(path), "--output", str(tmp_path / "r"), "--name", DEVICE]) == 2

    assert "agent: the pack is no JSON" in capsys.readouterr().err


def test_a_pack_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPackError, match=r"cannot read the pack .*none"):
        run_pack(tmp_path / "none", tmp_path / "r")


def test_a_pack_for_another_device_says_how_to_insist(pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailableError, match=f"--name {DEVICE}"):
        run_pack(pack(), tmp_path / "r")


@pytest.mark.slow
def test_a_target_that_cannot_be_measured_ends_the_pack_without_a_line(
    pack: Pack, tmp_path: Path, own_lock: Path
) -> None:
    """Failures would count as done, and the same command could not go on when it is mended."""
    output = tmp_path / "results.jsonl"

    with pytest.raises(DeviceUnavailableError, match="fp32 only"):
        run_pack(pack(target=f"{DEVICE}:ort-int8-t1"), output, name=DEVICE)

    assert entries(output) == []


def test_results_of_another_pack_are_left_alone(pack: Pack, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    run_pack(failing(pack, 2), output, name=DEVICE)
    written = output.read_bytes()

    with pytest.raises(InvalidPackError, match="results of the pack"):
        run_pack(failing(pack, 3), output, name=DEVICE)
    assert output.read_bytes() == written


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("garbage", "line 2 of the results is no JSON"),
        ("[]", "line 2 of the results is no JSON object"),
        ('{"subject": "a"}', "line 2 of the results lacks"),
        ('{"subject": "a", "kind": "network", "digest": "d", "samples": {"clock_ms": [NaN]}}',
         "line 2 of the results: samples"),
        ('{"subject": "a", "kind": "network", "digest": "d", "samples": 5}', "line 2"),
    ],
)  # fmt: skip
def test_altered_results_are_refused_naming_the_line(line: str, words: str) -> None:
    text = f'{{"format": "nas-results", "version": 1}}\n{line}\n'

    with pytest.raises(InvalidPackError, match=words):
        read_results(text.encode())


def test_two_processes_do_not_write_one_file(pack: Pack, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    path = failing(pack)

    def second(done: int, total: int, text: str) -> None:
        with pytest.raises(DeviceUnavailableError, match="another process is writing"):
            run_pack(path, output, name=DEVICE)

    assert run_pack(path, output, name=DEVICE, on_step=second).failed == 3


@pytest.mark.parametrize("path", PACKS, ids=lambda path: path.stem)
def test_committed_results_are_whole_and_state_where_they_come_from(path: Path) -> None:
    results = read_results(path.read_bytes())
    facts = provenance(results)
    readme = (ROOT / "devices" / "packs" / "README.md").read_text(encoding="utf-8")

    assert results.whole_bytes == path.stat().st_size
    assert facts["networks"].endswith(" 0 failed")
    assert f"`{path.name}`" in readme
    assert facts["pack (SHA-256)"] in readme
