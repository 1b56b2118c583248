"""Agents' requests served by several processes on one store, some of them killed."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from devices.measurement import Measurement, Samples
from nas.errors import StaleLeaseError
from nas.jobs import Agent, JobItem
from nas.store import SqlStore
from nas.trial import StoredMeasurement
from tests.nas.store.children import hear, say, start

pytestmark = pytest.mark.slow

TARGET = "pi:ort-fp32-t1"
NOW, SOON, LATER = (f"2026-01-02T03:{minute}:00Z" for minute in ("04", "05", "06"))

# Claims until there is nothing left, and names each job it was given.
CLAIMER = """
import sys
from nas.store import SqlStore
path, agent = sys.argv[1:]
now, soon = "2026-01-02T03:04:00Z", "2026-01-02T03:05:00Z"
with SqlStore(path) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    claimed = 0
    while (lease := store.claim_job(agent, now, soon, f"{agent}-{claimed}")) is not None:
        claimed += 1
        print(lease.job.id, flush=True)
"""

# Claims a job and sends its outcomes, naming each as soon as it is stored.
SENDER = """
import sys
from devices.measurement import Measurement, Samples
from nas.store import SqlStore
now, soon = "2026-01-02T03:04:00Z", "2026-01-02T03:05:00Z"
samples = Samples(*[tuple(1.0 + i for i in range(50))] * 4)
with SqlStore(sys.argv[1]) as store:
    lease = store.claim_job("a0", now, soon, "t1")
    for position, item in enumerate(lease.job.items):
        outcome = Measurement(
            item.subject, item.kind, item.digest, lease.job.target, samples, "r", "o1",
            {"position": position}, now,
        )
        store.add_job_outcome(lease.job.id, "t1", position, outcome, now)
        print(position, flush=True)
"""


def new_store(path: Path, agents: int, jobs: int, items: int) -> None:
    with SqlStore(path) as store:
        for number in range(agents):
            store.add_agent(Agent(f"a{number}", "pi", {}, (), "1", NOW))
        graph = store.add_artefact(b"{}", "application/json")
        for _ in range(jobs):
            work = [JobItem(f"toy:{n}", "network", "d", graph) for n in range(items)]
            store.add_job(TARGET, {}, False, "me", work, NOW)


def test_each_job_goes_to_one_of_the_processes_that_claim_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    new_store(path, agents=4, jobs=60, items=1)
    processes = [start(CLAIMER, path, f"a{number}") for number in range(4)]
    assert [hear(process) for process in processes] == ["ready"] * 4

    for process in processes:
        say(process, "go")
    claimed = []
    for process in processes:
        told, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        own = [int(line) for line in told.split()]
        assert own == sorted(own), "oldest first"
        claimed += own

    assert sorted(claimed) == list(range(1, 61))
    with SqlStore(path) as store:
        assert {job.state for job in store.jobs("pi", NOW)} == {"leased"}


@pytest.mark.parametrize("acknowledged", [1, 40])
def test_a_killed_process_loses_nothing_that_it_acknowledged(
    tmp_path: Path, acknowledged: int
) -> None:
    path = tmp_path / "store.db"
    count = 3000
    new_store(path, agents=2, jobs=1, items=count)
    process = start(SENDER, path)
    told = [int(hear(process)) for _ in range(acknowledged)]

    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate(timeout=30)
    told += [int(line) for line in rest.split("\n")[:-1]]

    with SqlStore(path) as store:
        # Until the lease has run out the job is nobody else's.
        assert store.claim_job("a1", NOW, SOON, "t2") is None
        lease = store.claim_job("a1", SOON, LATER, "t3")
        assert lease
        stored = store.measurements(TARGET)
        first_open = lease.job.open_items[0]
        assert first_open in (len(told), len(told) + 1)
        assert lease.job.open_items == list(range(first_open, count))
        held = [item.outcome for item in lease.job.items[:first_open]]
        assert held == stored
        assert all(isinstance(outcome, StoredMeasurement) for outcome in held)
        item = lease.job.items[first_open]
        samples = Samples((1.0,), (1.0,), (1.0,), (1.0,))
        outcome = Measurement(item.subject, "network", "d", TARGET, samples, "r", "o2", {}, NOW)
        with pytest.raises(StaleLeaseError):
            store.add_job_outcome(1, "t1", first_open, outcome, SOON)
        store.add_job_outcome(1, "t3", first_open, outcome, SOON)
        assert len(store.measurements(TARGET)) == first_open + 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchone() is None
