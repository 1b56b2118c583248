"""Measuring in child processes, with the real runtime on tiny networks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices.benchmark import Plan
from devices.errors import DeviceUnavailableError
from devices.local import Subject, measure_locally
from devices.lock import host_lock
from devices.measurement import Measurement
from devices.reference import reference_graph
from devices.wire import Job

pytestmark = pytest.mark.slow

TinySubject = Callable[..., Subject]
Outcomes = dict[int, Measurement | str]


def outcomes_of(subjects: list[Subject], job: Job, **options: Any) -> Outcomes:
    """Outcomes by index; each index once."""
    found = list(measure_locally(subjects, job, **options))
    assert len({index for index, _ in found}) == len(found)
    return dict(found)


def good(outcomes: Outcomes) -> list[Measurement]:
    return [found for found in outcomes.values() if isinstance(found, Measurement)]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen]:
    """The measuring processes as they are started."""
    started: list[subprocess.Popen] = []
    real = subprocess.Popen

    def popen(*args: Any, **options: Any) -> subprocess.Popen:
        process: subprocess.Popen = real(*args, **options)
        started.append(process)
        return process

    monkeypatch.setattr(subprocess, "Popen", popen)
    return started


def pretend_worker(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let another program answer in place of the measuring process."""
    program = folder / "pretend"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_each_network_is_measured_once_on_one_occasion(
    tiny: TinySubject, job: Job, processes: list[subprocess.Popen]
) -> None:
    subjects = [tiny(8), tiny(16), tiny(24)]

    outcomes = outcomes_of(subjects, job)

    assert sorted(outcomes) == [0, 1, 2]
    found = good(outcomes)
    assert [m.subject for m in found] == ["tiny:8", "tiny:16", "tiny:24"]
    assert [m.digest for m in found] == [subject.digest for subject in subjects]
    assert len({m.occasion for m in found}) == 1
    assert {m.target for m in found} == {job.target.key}
    assert {m.reference for m in found} == {reference_graph().digest}
    assert all(len(m.samples.clock_ms) == 3 for m in found)
    # These networks do ten thousand times less than the reference.
    assert all(0.0 < m.samples.ratio < 0.1 for m in found)
    assert {"onnxruntime", "python", "clock", "group"} <= set(found[0].environment)
    assert len(processes) == 1
    assert processes[0].returncode is not None


def test_another_call_is_another_occasion(tiny: TinySubject, job: Job) -> None:
    first, second = (good(outcomes_of([tiny()], job))[0] for _ in range(2))

    assert first.occasion != second.occasion


def test_nothing_to_measure_starts_no_process(job: Job, processes: list[subprocess.Popen]) -> None:
    assert outcomes_of([], job) == {}
    assert processes == []


@pytest.mark.parametrize("group", [1, 4])
def test_a_broken_model_is_a_reason_and_its_neighbours_are_measured(
    tiny: TinySubject, job: Job, group: int, processes: list[subprocess.Popen]
) -> None:
    subjects = [tiny(8), tiny(16, lambda: b"garbage"), tiny(24)]

    outcomes = outcomes_of(subjects, replace(job, group=group))

    assert [m.subject for m in good(outcomes)] == ["tiny:8", "tiny:24"]
    assert "onnxruntime refused the model" in str(outcomes[1])
    assert len(processes) == 1


def test_groups_are_measured_together_and_say_so(tiny: TinySubject, job: Job) -> None:
    outcomes = outcomes_of([tiny(8), tiny(16), tiny(24)], replace(job, group=2))

    assert [m.environment["group"] for m in good(outcomes)] == [2, 2, 1]
    first, second = good(outcomes)[:2]
    assert first.samples.before_ms == second.samples.before_ms


def test_a_killed_process_costs_the_group_in_flight_only(
    tiny: TinySubject, job: Job, processes: list[subprocess.Popen]
) -> None:
    """The model of the third network is asked for while the second waits to be measured."""
    endless = replace(job, plan=Plan(warmup=0, min_rounds=40, max_rounds=40))
    outcomes: Outcomes = {}

    for index, outcome in measure_locally([tiny(8 * i) for i in range(1, 5)], endless):
        outcomes[index] = outcome
        if index == 0:
            processes[0].kill()

    reasons = {index: found for index, found in outcomes.items() if isinstance(found, str)}
    assert sorted(outcomes) == [0, 1, 2, 3]
    assert len(reasons) <= 1
    assert all("-9" in reason for reason in reasons.values())
    assert len(processes) == 2
    assert len({m.occasion for m in good(outcomes)}) == 2


def test_a_process_killed_before_its_first_answer_costs_one_group(
    tiny: TinySubject, job: Job, processes: list[subprocess.Popen]
) -> None:
    def kill() -> bytes:
        if len(processes) == 1:
            processes[0].kill()
            processes[0].wait()
        return tiny(16).model()

    subjects = [tiny(8, kill), tiny(16, kill), tiny(24), tiny(32)]

    outcomes = outcomes_of(subjects, replace(job, group=2))

    assert sorted(outcomes) == [0, 1, 2, 3]
    assert "-9" in str(outcomes[0])
    assert outcomes[1] == outcomes[0]
    assert [m.subject for m in good(outcomes)] == ["tiny:24", "tiny:32"]


def test_a_process_that_never_answers_is_killed_and_reported(
    tiny: TinySubject, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    processes: list[subprocess.Popen],
) -> None:  # fmt: skip
    pretend_worker(tmp_path, monkeypatch, "exec sleep 60")

    outcomes = outcomes_of([tiny(8), tiny(16)], job, group_timeout_s=0.5)

    assert len(outcomes) == len(processes) == 2
    assert all("no answer within" in str(outcome) for outcome in outcomes.values())
    assert all(process.returncode == -9 for process in processes)


def test_a_process_that_cannot_start_says_its_last_words(
    tiny: TinySubject, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_worker(tmp_path, monkeypatch, "echo first >&2; echo no such library >&2; exit 3")

    outcomes = outcomes_of([tiny(8)], job)

    assert outcomes[0] == "the measuring process ended with 3: no such library"


def test_a_process_that_ends_early_without_a_word_is_a_reason(
    tiny: TinySubject, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_worker(tmp_path, monkeypatch, """echo '{"event": "done"}'""")

    outcomes = outcomes_of([tiny(8), tiny(16)], job)

    assert len(outcomes) == 2
    assert all("without an answer" in str(outcome) for outcome in outcomes.values())


def test_a_model_that_cannot_be_built_is_a_reason_that_says_why(
    tiny: TinySubject, job: Job
) -> None:
    def refuse() -> bytes:
        msg = "no weight named 'head'"
        raise ValueError(msg)

    subjects = [tiny(8), tiny(16, refuse), tiny(24)]

    outcomes = outcomes_of(subjects, job, group_timeout_s=8.0)

    assert [m.subject for m in good(outcomes)] == ["tiny:8", "tiny:24"]
    assert "no weight named 'head'" in str(outcomes[1])


def test_an_unknown_runtime_is_an_error_not_a_reason_for_every_network(
    tiny: TinySubject, job: Job
) -> None:
    wrong = replace(job, target=replace(job.target, runtime="tpu"))

    with pytest.raises(DeviceUnavailableError, match="unknown runtime 'tpu'"):
        outcomes_of([tiny(8), tiny(16)], wrong)


def test_a_wait_says_for_whom(tiny: TinySubject, job: Job) -> None:
    waits: list[str] = []
    lock = host_lock("run 7")
    lock.__enter__()

    def told(who: str) -> None:
        waits.append(who)
        lock.__exit__(None, None, None)

    outcomes = outcomes_of([tiny(8)], job, on_wait=told)

    assert len(waits) == 1
    assert waits[0].startswith("run 7 (process ")
    assert len(good(outcomes)) == 1


def test_a_lock_that_is_never_freed_ends_with_the_holders_name(tiny: TinySubject, job: Job) -> None:
    with (
        host_lock("run 7"),
        pytest.raises(DeviceUnavailableError, match=r"run 7 \(process"),
    ):
        outcomes_of([tiny(8)], replace(job, lock_timeout_s=0.2))


def test_whoever_stops_listening_ends_the_process(
    tiny: TinySubject, job: Job, processes: list[subprocess.Popen]
) -> None:
    answers = measure_locally([tiny(8), tiny(16)], job)
    next(answers)

    answers.close()  # type: ignore[attr-defined]  # a generator, of which Iterator says nothing

    assert processes[0].returncode == -9
