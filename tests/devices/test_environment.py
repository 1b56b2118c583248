from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from devices import environment
from devices.device import Target
from devices.environment import (
    cpu_pressure,
    load_snapshot,
    local_device,
    software_versions,
    steal_ticks,
)

ROOT = Path(__file__).resolve().parents[2]

CPUINFO = """processor\t: 0
model name\t: Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz
cpu family\t: 6
flags\t\t: fpu sse4_2 avx avx2 fma

processor\t: 1
model name\t: another
"""


@pytest.fixture
def no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that tells nothing."""
    monkeypatch.setattr(environment, "_read", lambda path: "")
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))


def with_files(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Let /proc and /sys hold these files only."""
    monkeypatch.setattr(environment, "_read", lambda path: files.get(str(path), ""))


def test_this_machine_has_one_name_in_every_call_and_process() -> None:
    code = "from devices.environment import local_device; print(local_device().name)"
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert local_device().name == local_device().name == child.stdout.strip()


def test_the_name_can_be_written_as_a_target() -> None:
    name = local_device().name

    assert Target.parse(name).device == name


def test_facts_are_json_values() -> None:
    facts = dict(local_device().facts)

    assert json.loads(json.dumps(facts)) == facts


def test_the_name_does_not_depend_on_what_may_change_without_another_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    with_files(monkeypatch, {"/proc/cpuinfo": CPUINFO, governor: "powersave\n",
                             "/proc/meminfo": "MemTotal:  100 kB\n"})  # fmt: skip
    before = local_device()
    with_files(monkeypatch, {"/proc/cpuinfo": CPUINFO, governor: "performance\n",
                             "/proc/meminfo": "MemTotal:  200 kB\n"})  # fmt: skip
    after = local_device()

    assert before.facts != after.facts
    assert before.name == after.name


def test_the_name_begins_with_the_processor_without_its_trademarks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_files(monkeypatch, {"/proc/cpuinfo": CPUINFO})

    device = local_device()

    assert re.fullmatch(r"intel-core-i7-8700-cpu-\d+c-[0-9a-f]{6}", device.name)
    assert device.facts["instruction_sets"] == ["sse4_2", "avx", "avx2", "fma"]


def test_another_instruction_set_is_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with_files(monkeypatch, {"/proc/cpuinfo": CPUINFO})
    before = local_device().name
    with_files(monkeypatch, {"/proc/cpuinfo": CPUINFO.replace(" avx2", "")})

    assert local_device().name != before


def test_what_the_system_does_not_tell_is_absent(no_proc: None) -> None:
    facts = local_device().facts

    guesses = {"memory_bytes", "governor", "virtual_machine", "cpu_family", "instruction_sets"}
    assert not guesses & set(facts)
    assert not [name for name in facts if name.startswith("cache_")]


def test_a_silent_system_still_has_a_stable_name(no_proc: None) -> None:
    assert local_device().name == local_device().name


def test_load_that_cannot_be_read_is_absent(no_proc: None) -> None:
    assert cpu_pressure() is None
    assert steal_ticks() is None
    assert set(load_snapshot()) <= {"affinity", "nice"}


def test_load_is_read_from_the_kernels_files(monkeypatch: pytest.MonkeyPatch) -> None:
    with_files(
        monkeypatch,
        {
            "/proc/loadavg": "0.52 0.61 0.80 1/300 4000\n",
            "/proc/pressure/cpu": "some avg10=3.25 avg60=1.00 avg300=0.50 total=1\n",
            "/proc/stat": "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 0 0 0 0 0 0 0 0 0 0\n",
        },
    )

    assert load_snapshot()["load_1min"] == 0.52
    assert load_snapshot()["cpu_pressure_percent"] == cpu_pressure() == 3.25
    # Guest ticks, the last two, are in user and nice already.
    assert steal_ticks() == (8, 36)


def test_snapshot_and_versions_are_json_values() -> None:
    content = {**load_snapshot(), **software_versions()}

    assert json.loads(json.dumps(content)) == content


def test_an_unreadable_file_reads_as_nothing(tmp_path: Path) -> None:
    assert environment._read(tmp_path / "absent") == ""
    assert environment._read(tmp_path) == ""
