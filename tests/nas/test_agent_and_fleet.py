"""A real agent works for a real fleet on a real store; only the HTTP between them is plain."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from devices.agent.client import Client
from devices.agent.identity import identify
from devices.agent.loop import Tally, run
from devices.benchmark import Plan
from devices.device import Target
from nas.errors import StaleLeaseError
from nas.fleet import LEASE_S, Fleet
from nas.settings import Settings
from nas.store import SqlStore
from nas.trial import Failure, StoredMeasurement
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError

pytestmark = pytest.mark.slow

SPACE = SPACES.get("mobilenetv3")
ARCHS = [Architecture("mobilenetv3", (0,) * 46), Architecture("mobilenetv3", (1, *(0,) * 45))]
TARGET = Target("second-box")
PLAN = Plan(warmup=1, min_rounds=3, max_rounds=3)


@dataclass
class Office:
    """A fleet behind a port, and an agent that works for it; `late` moves the fleet's clock."""

    folder: Path
    late_s: float = 0.0
    paths: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = SqlStore(Settings(self.folder / "home").database)
        self.fleet = Fleet(self.store, now=lambda: datetime.now(UTC) + timedelta(0, self.late_s))
        office = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, content = office.answer(self.path, body)
                data = b"" if content is None else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.agent = identify(self.folder / "state", name=TARGET.device)
        url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.client = Client(url, "token", attempts=2, pause=lambda s: None)

    def answer(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        self.paths.append(path.removeprefix("/v1/agent/"))
        try:
            match self.paths[-1].split("/"):
                case ["hello"]:
                    self.fleet.hello(**body)
                    return 200, {"lease_s": LEASE_S}
                case ["claim"]:
                    lease = self.fleet.claim(body["agent_id"])
                    return (204, None) if lease is None else (200, self.fleet.offer(lease))
                case ["jobs", job, "heartbeat"]:
                    self.fleet.heartbeat(int(job), body["token"])
                case ["jobs", job, "items", item]:
                    self.fleet.finish(int(job), body["token"], int(item), body["outcome"])
        except StaleLeaseError as error:
            return 409, {"detail": str(error)}
        except UsageError as error:
            return 422, {"detail": str(error)}
        return 204, None

    def work(self) -> Tally:
        return run(self.client, self.agent, once=True, poll_s=0.01)


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened = Office(tmp_path)
    yield opened
    opened.http.shutdown()
    opened.http.server_close()
    opened.store.close()


def test_what_is_enqueued_is_measured_elsewhere_and_lies_in_the_store(office: Office) -> None:
    number = office.fleet.enqueue(SPACE, ARCHS, TARGET, PLAN)

    tally = office.work()
    job = office.fleet.wait(number, timeout_s=0.0)

    assert (tally.measured, tally.failed, tally.kept) == (2, 0, 0)
    assert job.state == "done"
    outcomes = [item.outcome for item in job.items]
    assert all(isinstance(outcome, StoredMeasurement) for outcome in outcomes)
    stored = office.store.measurements(TARGET.key, kind="network", space="mobilenetv3")
    assert [row.measurement.subject for row in stored] == [arch.key for arch in ARCHS]
    assert [row.measurement.digest for row in stored] == [SPACE.graph(a).digest for a in ARCHS]
    assert all(0.05 < row.measurement.samples.ratio < 1.0 for row in stored)
    assert office.fleet.alive(TARGET.device)
    assert TARGET.device in [device.name for device in office.store.devices()]


def test_verification_is_measured_alone_on_an_occasion_for_each(office: Office) -> None:
    office.fleet.enqueue(SPACE, ARCHS, TARGET, PLAN, alone=True)

    office.work()

    rows = [row.measurement for row in office.store.measurements(TARGET.key)]
    assert len({row.occasion for row in rows}) == 2
    assert all(row.environment["alone"] for row in rows)


def test_a_lease_that_runs_out_is_claimed_again_and_nothing_is_measured_twice(
    office: Office,
) -> None:
    number = office.fleet.enqueue(SPACE, ARCHS, TARGET, PLAN)
    real = office.answer

    def late(path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        if path.endswith("items/0"):
            office.answer = real  # type: ignore[method-assign]  # once only
            office.late_s = 2 * LEASE_S
        return real(path, body)

    office.answer = late  # type: ignore[method-assign]  # see above
    tally = office.work()

    assert (tally.jobs, tally.measured, tally.kept) == (2, 2, 0)
    assert office.fleet.wait(number, timeout_s=0.0).state == "done"
    assert len(office.store.measurements(TARGET.key)) == 2
    # Refused, refused as kept, and then accepted under the next claim.
    assert office.paths.count(f"jobs/{number}/items/0") == 3


def test_a_target_the_agent_cannot_measure_ends_as_failures_with_the_reason(
    office: Office,
) -> None:
    number = office.fleet.enqueue(SPACE, ARCHS, Target(TARGET.device, precision="int8"), PLAN)

    tally = office.work()

    assert tally.failed == 2
    job = office.fleet.wait(number, timeout_s=0.0)
    assert job.state == "done"
    reasons = [item.outcome.reason for item in job.items if isinstance(item.outcome, Failure)]
    assert len(reasons) == 2
    assert all("fp32 only" in reason for reason in reasons)
