"""The measuring process alone: what it answers, and that it does not outlive its parent."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from devices.benchmark import Plan
from devices.local import Subject
from devices.wire import Job, write_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

# Starts a measurement that would take minutes, tells the worker's process id, and waits.
PARENT = """
import subprocess, sys
from devices.benchmark import Plan
from devices.device import Target
from devices.local import Subject, measure_locally, resolve
from devices.model import encode
from devices.reference import reference_graph
from devices.runtime import RUNTIMES
from devices.wire import Job
real = subprocess.Popen
def popen(*args, **options):
    process = real(*args, **options)
    print(process.pid, flush=True)
    return process
subprocess.Popen = popen
count = int(sys.argv[1])
plan = Plan(warmup=1, min_rounds=3, max_rounds=3)
model = lambda: encode(reference_graph(), RUNTIMES.get("ort"), 1)
subjects = [Subject(f"tiny:{i}", "network", "d", model) for i in range(count)]
if count == 1:
    plan = Plan(min_rounds=100_000, max_rounds=100_000)
for index, outcome in measure_locally(subjects, Job(resolve(Target("local")), plan)):
    pass
"""


def answers(job: Job, models: list[bytes], cut: int | None = None) -> list[dict]:
    """Events of a worker that is sent a job and models, or the beginning of that."""
    stream = io.BytesIO()
    job.write(stream)
    for model in models:
        write_model(stream, model)
    done = subprocess.run(
        [sys.executable, "-m", "devices.worker"], input=stream.getvalue()[:cut], cwd=ROOT,
        capture_output=True, check=False,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_job_without_models_ends_well(job: Job) -> None:
    assert answers(job, []) == [{"event": "done"}]


def test_an_unsupported_precision_is_refused_as_a_whole(job: Job) -> None:
    wrong = replace(job, target=replace(job.target, precision="int8"), count=1)

    failed, done = answers(wrong, [b"model"])

    assert failed["index"] is None
    assert "fp32" in failed["reason"]
    assert done == {"event": "done"}


def test_a_stream_cut_off_within_a_model_is_refused(job: Job, tiny: Callable[..., Subject]) -> None:
    failed, _ = answers(replace(job, count=1), [tiny().model()], cut=-10)

    assert (failed["event"], failed["index"]) == ("failed", None)
    assert "ended within a model" in failed["reason"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("models", [1, 200], ids=["all models sent", "models still to come"])
def test_the_worker_ends_when_its_parent_is_killed(own_lock: Path, models: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(models)], cwd=ROOT, text=True, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        try:
            # Long enough to be measuring rather than starting.
            time.sleep(3.0)
            assert alive(worker)

            os.kill(parent.pid, signal.SIGKILL)
            parent.wait()

            end = time.monotonic() + 10.0
            while alive(worker) and time.monotonic() < end:
                time.sleep(0.1)
            assert not alive(worker)
        finally:
            if alive(worker):
                os.kill(worker, signal.SIGKILL)
            parent.kill()


def test_plans_reach_the_worker(job: Job, tiny: Callable[..., Subject]) -> None:
    plan = Plan(warmup=0, min_rounds=2, max_rounds=2)

    # The stream must stay open while the last model is measured: its end is the parent's end.
    stream = io.BytesIO()
    replace(job, plan=plan, count=1).write(stream)
    write_model(stream, tiny().model())
    with subprocess.Popen(
        [sys.executable, "-m", "devices.worker"], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        process.stdin.write(stream.getvalue())
        process.stdin.flush()
        event = json.loads(process.stdout.readline())
        assert json.loads(process.stdout.readline()) == {"event": "done"}

    assert event["event"] == "measured"
    assert len(event["samples"]["clock_ms"]) == 2
