from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.evaluator import EXECUTORS
from nas.trial import Estimate
from tests.nas.executors.looks import Surroundings

pytestmark = pytest.mark.slow

PARENT = """
import sys
from pathlib import Path
from nas.evaluator import EXECUTORS
from tests.nas.executors.looks import Sleepy

if __name__ == "__main__":
    executor = EXECUTORS.get("processes")(workers=2)
    list(executor.run(Sleepy(Path(sys.argv[1])), ["a", "b"], [0, 1]))
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Of a container without an init process nobody collects the dead.
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


def wait_until(what: str, condition: object, seconds: float = 20.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to see other processes")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment)
    files = [tmp_path / f"{key}.pid" for key in "ab"]
    wait_until("both workers are at work", lambda: all(f.is_file() for f in files))
    time.sleep(0.1)
    workers = [int(file.read_text()) for file in files]
    assert all(is_alive(worker) for worker in workers)

    parent.send_signal(signal.SIGKILL)
    parent.wait()

    wait_until("workers have ended", lambda: not any(is_alive(worker) for worker in workers))


def test_workers_stay_for_the_next_batch_and_end_when_closed() -> None:
    executor = EXECUTORS.get("processes")(workers=2)
    try:
        rounds = [
            {
                outcome.facts["process"]
                for _, outcome in executor.run(Surroundings(), ["a"] * 8, range(8))
                if isinstance(outcome, Estimate)
            }
            for _ in range(2)
        ]
    finally:
        executor.close()

    assert rounds[0] == rounds[1]
    assert len(rounds[0]) == 2
    assert not any(is_alive(worker) for worker in rounds[0])


def test_our_own_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    executor = EXECUTORS.get("processes")()

    list(executor.run(Surroundings(), ["a"], [0]))
    executor.close()

    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_an_evaluator_that_cannot_travel_is_refused_and_no_worker_left_waiting() -> None:
    class Local:
        metric = "accuracy"

        def evaluate_one(self, key: str) -> Estimate:
            return Estimate(self.metric, 0.0, 0.0)

    executor = EXECUTORS.get("processes")()

    with pytest.raises(Exception, match=r"(?i)local"):
        list(executor.run(Local(), ["a"], [0]))
    executor.close()


def test_the_serial_executor_is_called_as_its_file() -> None:
    assert EXECUTORS.get("serial")().name == "serial"
