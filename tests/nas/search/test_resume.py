"""Runs that are stopped or killed go on where they were; measured with the real runtime."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devices.device import Target
from devices.local import LOCAL, resolve
from nas.decide import Step
from nas.errors import InterruptedRunError
from nas.service import Service
from nas.trial import StoredMeasurement
from search_spaces.errors import NasError
from tests.nas.search.tiny import Notes, samples_in, service

if TYPE_CHECKING:
    from tests.nas.search.conftest import Request

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
TARGET = resolve(Target(LOCAL)).key
BLOCKS = 6

# Searches the tiny space in a process of its own, and says a word whenever something is stored.
SEARCH = """
import sys
from pathlib import Path
import pytest
from nas.request import SearchRequest
from tests.nas.search.tiny import Notes, register, service
register(pytest.MonkeyPatch())
class Loud(Notes):
    def step(self, done, total, seconds_left=None):
        print("step", flush=True)
home, verb, what = Path(sys.argv[1]), *sys.argv[2:]
with service(home, Loud()) as opened:
    if verb == "search":
        opened.search(SearchRequest.loads(what), home / "out")
    else:
        print(opened.resume(what, home / "out").state)
"""


@contextmanager
def searching(home: Path, verb: str, what: str) -> Iterator[subprocess.Popen[str]]:
    """A search in another process, killed at the end of the block if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(home), verb, what], cwd=ROOT, text=True,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def wait_for_steps(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdout
    for _ in range(count):
        assert process.stdout.readline() == "step\n"


def check_nothing_was_measured_twice(opened: Service, run: str) -> None:
    """Each block once, and each slot once."""
    found = [measurement for _, measurement in samples_in(opened, TARGET)]
    blocks = Counter(m.digest for m in found if m.kind == "block")
    slots = [outcome for batch in opened.store.batches(run) for outcome in batch.outcomes]
    assert set(blocks.values()) == {1}
    assert len(blocks) == BLOCKS
    assert all(isinstance(outcome, StoredMeasurement) for outcome in slots)
    assert sum(m.kind == "network" for m in found) == len(slots)


def check_a_replay_agrees(opened: Service, run: str) -> None:
    for batch, step in opened.replay(run):
        assert step == Step(batch.stage, batch.subjects)


@pytest.mark.parametrize("stop_at", [BLOCKS + 2, BLOCKS + 4 + 2], ids=["calibration", "search"])
def test_a_run_stopped_with_ctrl_c_is_resumed_where_it_was(
    request_for: Request, tmp_path: Path, stop_at: int
) -> None:
    request = request_for(budget_ms=3.0)
    with service(tmp_path / "home", Notes(stop_at)) as opened:
        with pytest.raises(InterruptedRunError) as caught:
            opened.search(request, tmp_path / "out")
        (record,) = opened.store.runs()
        before = samples_in(opened, TARGET)

    assert f"nas run resume {record.id} --output {tmp_path / 'out'}" in str(caught.value)
    assert caught.value.exit_code == 130
    assert record.state == "stopped"
    assert len(before) == stop_at

    with service(tmp_path / "home") as opened:
        result = opened.resume(record.id, tmp_path / "out")
        after = samples_in(opened, TARGET)

        assert opened.store.run(record.id).state == result.state
        assert result.state in {"verified", "unverified", "infeasible"}
        assert after[: len(before)] == before
        check_nothing_was_measured_twice(opened, record.id)
        check_a_replay_agrees(opened, record.id)
    assert (tmp_path / "out" / "result.json").exists()


def test_a_killed_run_is_resumed_by_another_process(request_for: Request, tmp_path: Path) -> None:
    home = tmp_path / "home"
    request = request_for(budget_ms=3.0).model_dump_json()
    with searching(home, "search", request) as process:
        wait_for_steps(process, BLOCKS + 2)
        os.kill(process.pid, signal.SIGKILL)
    with service(home) as opened:
        (record,) = opened.store.runs()
        before = samples_in(opened, TARGET)
    assert record.state == "running"
    assert len(before) >= BLOCKS + 2

    with searching(home, "resume", record.id) as process:
        assert process.stdout
        *_, state = process.stdout.read().split()
        assert process.wait() == 0

    with service(home) as opened:
        after = samples_in(opened, TARGET)
        assert opened.store.run(record.id).state == state
        assert state in {"verified", "unverified", "infeasible"}
        assert after[: len(before)] == before
        check_nothing_was_measured_twice(opened, record.id)
        check_a_replay_agrees(opened, record.id)


def test_a_run_is_worked_on_by_one_process_at_a_time(request_for: Request, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with searching(home, "search", request_for().model_dump_json()) as process:
        wait_for_steps(process, 1)
        with service(home) as opened:
            (record,) = opened.store.runs()
            with pytest.raises(NasError, match=f"run {record.id} is being worked on by another"):
                opened.resume(record.id, tmp_path / "out")

            # Whoever is refused leaves the run alone.
            assert opened.store.run(record.id).state == "running"
    assert not (tmp_path / "out").exists()
