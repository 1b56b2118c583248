"""The agent against a real server on loopback, measuring with the real runtime."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from devices.agent.client import Client
from devices.agent.identity import Identity, identify, only_one
from devices.agent.loop import run
from devices.errors import DeviceUnavailableError, ServerUnreachableError, TokenRefusedError
from devices.measurement import Samples
from devices.reference import reference_graph

if TYPE_CHECKING:
    from tests.devices.agent.conftest import Job, Server

ROOT = Path(__file__).resolve().parents[3]
Make = Callable[..., "Job"]

CHILDREN = Path(f"/proc/self/task/{threading.get_native_id()}/children")

# A digest that no graph has: the item fails at once, without a process.
WRONG = "0" * 64


def quick(make_job: Make, count: int = 3) -> Job:
    """A job whose items all fail at once: for what is not about measuring."""
    job = make_job(count)
    for item in job.items:
        item["digest"] = WRONG
    return job


def alive(pid: str) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def once(client: Client, agent: Identity) -> Any:
    return run(client, agent, once=True, poll_s=0.02)


def until_done(client: Client, agent: Identity, *jobs: Job) -> None:
    """Run until all jobs are done, however often the server is away."""

    class DoneError(Exception):
        pass

    def pause(seconds: float) -> None:
        if not any(job.open_items for job in jobs):
            raise DoneError
        time.sleep(min(seconds, 0.1))

    with pytest.raises(DoneError):
        run(client, agent, poll_s=0.02, pause=pause)


# --- Measuring ---


@pytest.mark.slow
def test_a_job_is_measured_and_each_outcome_sent_as_it_ends(
    client: Client, server: Server, agent: Identity, make_job: Make, own_lock: Path
) -> None:
    job = make_job(3)
    server.jobs.append(job)

    tally = once(client, agent)

    assert (tally.jobs, tally.measured, tally.failed, tally.kept) == (1, 3, 0, 0)
    assert [path for path in server.log if "items" in path] == [
        "/jobs/0/items/0", "/jobs/0/items/1", "/jobs/0/items/2"
    ]  # fmt: skip
    for outcome in job.outcomes.values():
        assert set(outcome) == {"samples", "reference", "occasion", "environment", "taken_at"}
        assert 0.0 < Samples.from_json(outcome["samples"]).ratio < 0.1
        assert outcome["reference"] == reference_graph().digest
        assert "onnxruntime" in outcome["environment"]
    assert len({outcome["occasion"] for outcome in job.outcomes.values()}) == 1


@pytest.mark.slow
def test_alone_means_a_process_for_each_item(
    client: Client, server: Server, agent: Identity, make_job: Make, own_lock: Path
) -> None:
    job = make_job(2, alone=True)
    server.jobs.append(job)

    once(client, agent)

    assert len({outcome["occasion"] for outcome in job.outcomes.values()}) == 2
    assert all(outcome["environment"]["alone"] for outcome in job.outcomes.values())


@pytest.mark.slow
def test_heartbeats_keep_a_lease_that_is_shorter_than_the_job(
    client: Client, server: Server, agent: Identity, make_job: Make, own_lock: Path
) -> None:
    server.lease_s = 1.0
    plan = {"warmup": 1, "min_rounds": 120, "max_rounds": 120, "relative_se": 0.01}
    job = make_job(2, plan=plan)
    server.jobs.append(job)

    tally = once(client, agent)

    assert (tally.jobs, tally.measured) == (1, 2)
    assert server.log.count("/jobs/0/heartbeat") >= 2


@pytest.mark.slow
def test_a_server_that_is_away_longer_than_the_lease_loses_nothing_and_nothing_is_measured_twice(
    client: Client, server: Server, agent: Identity, make_job: Make, own_lock: Path
) -> None:
    """Outcomes measured meanwhile are sent under the next claim of the same job."""
    job = make_job(3)
    server.jobs.append(job)

    def away() -> None:
        server.stop()
        time.sleep(1.5)
        job.expires = 0.0
        server.before = lambda path, body: None
        server.start()

    def before(path: str, body: dict[str, Any]) -> int | None:
        if not path.endswith("items/0"):
            return None
        server.before = lambda path, body: 503
        threading.Thread(target=away, daemon=True).start()
        return 503

    server.before = before
    until_done(client, agent, job)

    assert sorted(job.outcomes) == [0, 1, 2]
    assert all("samples" in outcome for outcome in job.outcomes.values())
    assert server.log.count("/claim") >= 2
    # One process measured all of them: none was taken again.
    assert len({outcome["occasion"] for outcome in job.outcomes.values()}) == 1
    assert not list(agent.folder.glob("unsent*"))


@pytest.mark.slow
@pytest.mark.skipif(not CHILDREN.exists(), reason="needs /proc with children")
def test_a_terminated_agent_ends_cleanly_and_takes_its_child_with_it(
    server: Server, make_job: Make, own_lock: Path, tmp_path: Path
) -> None:
    server.jobs.append(make_job(1, plan={"min_rounds": 100_000, "max_rounds": 100_000}))
    command = [
        sys.executable, "-m", "devices.agent", "run", "--server", server.url,
        "--name", "second-device", "--state", str(tmp_path / "state"),
    ]  # fmt: skip
    environment = {**os.environ, "NAS_TOKEN": "secret-of-the-tests"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        child = ""
        end = time.monotonic() + 30.0
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not child and time.monotonic() < end:
            time.sleep(0.1)
            child = children.read_text().strip() if children.exists() else ""
        assert child

        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "stopped; the same command goes on" in said
    assert "Traceback" not in said
    end = time.monotonic() + 10.0
    while alive(child) and time.monotonic() < end:
        time.sleep(0.1)
    assert not alive(child)


# --- Everything else, with items that fail at once ---


def test_a_graph_that_is_not_the_announced_one_is_answered_with_a_failure(
    client: Client, server: Server, agent: Identity, make_job: Make
) -> None:
    job = quick(make_job, 2)
    job.items[1]["graph"] = '{"format": "nas-graph"'
    server.jobs.append(job)

    tally = once(client, agent)

    assert (tally.measured, tally.failed) == (0, 2)
    assert "announced was 000000000000" in job.outcomes[0]["failure"]
    assert "same version" in job.outcomes[0]["failure"]
    assert "JSON document" in job.outcomes[1]["failure"]


def test_a_job_for_another_device_or_an_unknown_runtime_fails_item_by_item(
    client: Client, server: Server, agent: Identity, make_job: Make
) -> None:
    other = make_job(1, target="third-device:ort-fp32-t1")
    unknown = make_job(1, target="second-device:tpu-fp32-t1")
    server.jobs += [unknown, other]
    server.agents["x"] = {"device": "third-device"}
    real = server.claim
    server.claim = lambda agent_id: real("x") if not unknown.open_items else real(agent_id)  # type: ignore[method-assign]  # hands out the wrong job

    once(client, agent)

    assert "unknown runtime 'tpu'" in unknown.outcomes[0]["failure"]
    assert "'second-device', not on 'third-device'" in other.outcomes[0]["failure"]


def test_a_lost_lease_ends_the_job_and_what_is_kept_is_sent_under_the_next_claim(
    client: Client, server: Server, agent: Identity, make_job: Make
) -> None:
    job = quick(make_job)
    server.jobs.append(job)

    def before(path: str, body: dict[str, Any]) -> int | None:
        if path.endswith("items/1"):
            # The lease runs out, as it would if the agent had been suspended.
            job.expires = 0.0
            server.before = lambda path, body: None
        return None

    server.before = before
    tally = once(client, agent)

    assert (tally.jobs, tally.failed, tally.kept) == (2, 3, 0)
    assert [path for path in server.log if path.startswith(("/jobs", "/claim"))] == [
        "/claim", "/jobs/0/items/0", "/jobs/0/items/1",
        # Once with the token that has run out; then it waits for the next claim.
        "/jobs/0/items/1", "/claim", "/jobs/0/items/1", "/jobs/0/items/2", "/claim",
    ]  # fmt: skip
    assert not list(agent.folder.glob("unsent*"))


def test_a_measurement_that_the_server_refuses_becomes_a_failure(
    client: Client, server: Server, agent: Identity, make_job: Make
) -> None:
    job = quick(make_job, 1)
    server.jobs.append(job)
    server.before = lambda path, body: 422 if len(server.log) == 3 else None

    once(client, agent)

    assert job.outcomes[0]["failure"].startswith("the server refused the measurement")


def test_a_server_with_a_new_database_is_greeted_again(
    client: Client, server: Server, agent: Identity, make_job: Make
) -> None:
    jobs = [quick(make_job, 1), quick(make_job, 1)]
    server.jobs += jobs

    def before(path: str, body: dict[str, Any]) -> int | None:
        if path == "/claim" and not jobs[0].open_items:
            server.agents.clear()
            server.before = lambda path, body: None
        return None

    server.before = before
    once(client, agent)

    assert server.log.count("/hello") == 2
    assert not jobs[1].open_items


def test_without_a_server_once_ends_and_says_so(agent: Identity) -> None:
    client = Client("http://127.0.0.1:1", "t", attempts=2, pause=lambda s: None)

    with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1:1"):
        run(client, agent, once=True)


def test_a_server_that_goes_away_during_once_leaves_the_outcomes_on_the_disk(
    client: Client, server: Server, agent: Identity, make_job: Make
) -> None:
    job = quick(make_job)
    server.jobs.append(job)
    server.before = lambda path, body: 503 if "items" in path or len(server.log) > 3 else None

    with pytest.raises(ServerUnreachableError, match=r"3 outcomes wait in .*unsent"):
        once(client, agent)

    server.before = lambda path, body: None
    tally = once(client, agent)
    assert (tally.jobs, tally.failed, tally.kept) == (0, 3, 0)
    assert sorted(job.outcomes) == [0, 1, 2]


def test_a_wrong_token_ends_the_agent(server: Server, agent: Identity) -> None:
    with pytest.raises(TokenRefusedError):
        run(Client(server.url, "wrong"), agent)


def test_a_token_that_is_taken_back_ends_the_agent_and_keeps_the_outcome(
    client: Client, server: Server, agent: Identity, make_job: Make
) -> None:
    server.jobs.append(quick(make_job, 1))
    server.before = lambda path, body: 401 if "items" in path else None

    with pytest.raises(TokenRefusedError):
        once(client, agent)

    assert len(list(agent.folder.glob("unsent*"))) == 1


# --- Who the agent is ---


def test_an_agent_keeps_its_id_and_each_device_has_one_of_its_own(tmp_path: Path) -> None:
    first, again = identify(tmp_path, name="a"), identify(tmp_path, name="a")
    other, unnamed = identify(tmp_path, name="b"), identify(tmp_path)

    assert first.id == again.id
    assert len({first.id, other.id, unnamed.id}) == 3
    assert first.device.facts["hardware"] == unnamed.device.name


def test_a_damaged_id_is_replaced(tmp_path: Path) -> None:
    folder = identify(tmp_path, name="a").folder
    (folder / "id").write_text("../../x")

    assert len(identify(tmp_path, name="a").id) == 32


def test_two_agents_of_one_device_are_refused(tmp_path: Path) -> None:
    agent = identify(tmp_path, name="a")

    with (
        only_one(agent),
        pytest.raises(DeviceUnavailableError, match="agent for a is running already"),
        only_one(agent),
    ):
        pass
