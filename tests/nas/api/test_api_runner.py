"""The supervisor of searches: in order, one at a time, through stops, crashes and restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nas.api.runner import ATTEMPTS, MARK, Runner
from nas.api.worked_on import is_worked_on, worker_of
from nas.settings import Settings
from nas.store import SqlStore

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
LONGEST_S = 30.0

# Works on a run as `nas run resume` does, as far as the supervisor sees: holds the run's lock,
# says what it did, ends the run, and marks it as stopped on SIGTERM.
WORK = """
import os, signal, sys, time
from pathlib import Path
from devices.lock import host_lock
from nas.store import SqlStore
home, run, seconds = Path(os.environ["NAS_HOME"]), sys.argv[1], float(sys.argv[2])
assert "NAS_TOKEN" not in os.environ
def stop(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, stop)
lock = home / "locks" / f"{run}.lock"
lock.parent.mkdir(exist_ok=True)
with SqlStore(home / "nas.db") as store, host_lock(run, timeout_s=0, path=lock):
    try:
        with (home / "order.txt").open("a") as stream:
            print("begin", run, file=stream, flush=True)
            time.sleep(seconds)
            store.finish_run(run, "infeasible", "{}", "2026-01-02T03:04:05+00:00")
            print("end", run, file=stream)
    except KeyboardInterrupt:
        store.finish_run(run, "stopped", None, None)
        sys.exit(130)
"""


def working(seconds: float) -> Callable[[str, Path], list[str]]:
    """A command that takes so long."""
    return lambda run_id, output: [sys.executable, "-c", WORK, run_id, str(seconds)]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {LONGEST_S:.0f} s: {what}"
        time.sleep(0.05)


class House:
    """A store with a folder, for one runner after the other."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home)
        self.store = SqlStore(self.settings.database)

    @contextmanager
    def runner(self, command: Callable[[str, Path], list[str]]) -> Iterator[Runner]:
        runner = Runner(self.store, self.settings, command)
        runner.start()
        try:
            yield runner
        finally:
            runner.close()

    def opened(self, name: str) -> str:
        self.store.open_run(name, "{}", f"2026-01-02T03:04:0{len(self.store.runs())}+00:00")
        return name

    def state(self, run_id: str) -> str:
        return self.store.run(run_id).state

    def wait_for(self, run_id: str, state: str) -> None:
        wait_until(lambda: self.state(run_id) == state, f"{run_id} is {state}")

    @property
    def order(self) -> list[str]:
        file = self.settings.home / "order.txt"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def wait_for_begin(self, run_id: str) -> None:
        wait_until(lambda: f"begin {run_id}" in self.order, f"{run_id} has begun")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NAS_TOKEN", "a-token-that-no-child-needs")
    found = House(tmp_path)
    yield found
    found.store.close()


def test_searches_are_worked_on_one_at_a_time_in_order_of_arrival(house: House) -> None:
    with house.runner(working(0.2)) as runner:
        for name in ("first", "second"):
            runner.submit(house.opened(name))
        assert runner.waits("second")
        house.wait_for("second", "infeasible")

    assert house.order == ["begin first", "end first", "begin second", "end second"]


def test_a_queued_search_is_stopped_at_once_and_one_in_work_by_its_process(house: House) -> None:
    with house.runner(working(LONGEST_S)) as runner:
        for name in ("first", "second"):
            runner.submit(house.opened(name))
        house.wait_for_begin("first")

        runner.stop("second")
        assert house.state("second") == "stopped"
        runner.stop("first")
        house.wait_for("first", "stopped")
        wait_until(lambda: not is_worked_on(house.settings, "first"), "first is let go of")
        runner.stop("first")

    assert house.order == ["begin first"]
    assert house.state("first") == "stopped"


def test_a_process_that_ends_without_an_answer_is_tried_again_and_then_given_up(
    house: House,
) -> None:
    def crash(run_id: str, output: Path) -> list[str]:
        return [sys.executable, "-c", "import sys; sys.exit('out of luck')"]

    with house.runner(crash) as runner:
        runner.submit(house.opened("first"))
        house.wait_for("first", "failed")

    result = house.store.run("first").result or ""
    assert f"{ATTEMPTS} times" in result
    assert "out of luck" in result


def test_a_closing_server_leaves_its_search_for_the_next_one(house: House) -> None:
    with house.runner(working(LONGEST_S)) as runner:
        runner.submit(house.opened("first"))
        runner.submit(house.opened("second"))
        house.wait_for_begin("first")
    assert [house.state(name) for name in ("first", "second")] == ["running", "running"]
    assert not is_worked_on(house.settings, "first")

    with house.runner(working(0.0)):
        house.wait_for("second", "infeasible")

    assert house.state("first") == "infeasible"
    assert house.order[1:] == ["begin first", "end first", "begin second", "end second"]


def test_runs_of_other_doors_are_left_alone(house: House) -> None:
    house.opened("by-hand")
    with house.runner(working(0.0)) as runner:
        runner.submit(house.opened("by-http"))
        house.wait_for("by-http", "infeasible")

    assert house.state("by-hand") == "running"
    assert MARK in house.store.run_artefacts("by-http")
    assert MARK not in house.store.run_artefacts("by-hand")


@contextmanager
def orphan(house: House, run_id: str, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """A process that outlived its server, at work on a run."""
    command = working(seconds)(run_id, house.settings.home)
    kept = {name: value for name, value in os.environ.items() if name != "NAS_TOKEN"}
    env = {**kept, "NAS_HOME": str(house.settings.home)}
    with subprocess.Popen(command, env=env) as process:
        try:
            house.wait_for_begin(run_id)
            yield process
        finally:
            process.kill()


def submitted_before(house: House, run_id: str) -> None:
    """As an earlier server left it: opened and marked."""
    Runner(house.store, house.settings).submit(house.opened(run_id))


def test_a_run_that_another_process_works_on_is_waited_for(house: House) -> None:
    submitted_before(house, "first")
    with orphan(house, "first", 1.0) as process, house.runner(working(0.0)):
        assert worker_of(house.settings, "first") == process.pid
        house.wait_for("first", "infeasible")

    assert house.order == ["begin first", "end first"]


def test_a_run_is_taken_over_when_its_process_is_killed(house: House) -> None:
    submitted_before(house, "first")
    with orphan(house, "first", LONGEST_S) as process, house.runner(working(0.0)):
        process.send_signal(signal.SIGKILL)
        house.wait_for("first", "infeasible")

    assert house.order == ["begin first", "begin first", "end first"]


def test_a_process_of_an_earlier_server_can_be_stopped(house: House) -> None:
    submitted_before(house, "first")
    with orphan(house, "first", LONGEST_S) as process, house.runner(working(0.0)) as runner:
        runner.stop("first")
        house.wait_for("first", "stopped")
        assert process.wait(LONGEST_S) == 130

    assert house.order == ["begin first"]
