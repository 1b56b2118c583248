"""Several processes on one store, and processes that are killed."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from nas.store import SqlStore
from nas.trial import StoredMeasurement
from tests.nas.store.children import hear, say, start

pytestmark = pytest.mark.slow

NOW = "2026-01-02T03:04:05Z"

# Opens each store named on its input and answers a line.
OPENER = """
import sys
from nas.store import SqlStore
print("ready", flush=True)
for line in sys.stdin:
    try:
        with SqlStore(line.strip()) as store:
            store.runs()
        print("ok", flush=True)
    except Exception as error:
        print(repr(error), flush=True)
"""

# Fills every n-th slot of batch 0 from a first one on, and names each as soon as it is stored.
WRITER = """
import sys
from devices.measurement import Measurement, Samples
from nas.store import SqlStore
path, first, step, end = sys.argv[1], *map(int, sys.argv[2:])
samples = Samples(*[tuple(1.0 + i for i in range(50))] * 4)
with SqlStore(path) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for slot in range(first, end, step):
        measurement = Measurement(
            f"toy:{slot}", "network", "d", "box", samples, "r", f"o{first}", {"slot": slot}, "now"
        )
        store.add_outcome("run-1", 0, slot, measurement)
        print(slot, flush=True)
"""


def new_run(path: Path, slots: int) -> None:
    with SqlStore(path) as store:
        store.open_run("run-1", "{}", NOW)
        store.add_batch("run-1", 0, "search", [f"toy:{slot}" for slot in range(slots)])


def test_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    processes = [start(OPENER) for _ in range(3)]
    assert [hear(process) for process in processes] == ["ready"] * 3

    for number in range(20):
        for process in processes:
            say(process, str(tmp_path / f"folder-{number}" / "store.db"))
        assert [hear(process) for process in processes] == ["ok"] * 3

    for process in processes:
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")


def test_eight_processes_write_without_losing_or_refusing_anything(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    new_run(path, 160)
    processes = [start(WRITER, path, first, 8, 160) for first in range(8)]
    assert [hear(process) for process in processes] == ["ready"] * 8

    for process in processes:
        say(process, "go")
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")

    with SqlStore(path) as store:
        outcomes = store.batches("run-1")[0].outcomes
    stored = [outcome for outcome in outcomes if isinstance(outcome, StoredMeasurement)]
    assert [s.measurement.subject for s in stored] == [f"toy:{slot}" for slot in range(160)]
    assert sorted(s.id for s in stored) == list(range(1, 161))
    for first in range(8):
        ids = [s.id for s in stored if s.measurement.occasion == f"o{first}"]
        assert ids == sorted(ids), "each writer's later outcome has the larger number"


@pytest.mark.parametrize("acknowledged", [1, 40, 150])
def test_a_killed_writer_loses_at_most_the_outcome_in_flight(
    tmp_path: Path, acknowledged: int
) -> None:
    path = tmp_path / "store.db"
    new_run(path, 5000)
    process = start(WRITER, path, 0, 1, 5000)
    assert hear(process) == "ready"
    say(process, "go")
    told = [int(hear(process)) for _ in range(acknowledged)]

    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate(timeout=30)
    told += [int(line) for line in rest.split("\n")[:-1]]

    with SqlStore(path) as store:
        outcomes = store.batches("run-1")[0].outcomes
        measured = store.measurements("box")
        filled = [slot for slot, outcome in enumerate(outcomes) if outcome is not None]
        assert filled in (told, [*told, len(told)])
        assert [m.measurement.subject for m in measured] == [f"toy:{slot}" for slot in filled]
        store.add_outcome("run-1", 0, len(filled), measured[0].measurement)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchone() is None
