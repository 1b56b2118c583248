"""The agent's side over HTTP: claim, keep, finish once, and no outcome under a stale lease."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from devices.benchmark import NETWORK_PLAN
from devices.device import Target
from devices.reference import reference_graph
from nas.fleet import LEASE_S, Fleet
from nas.service import Service
from search_spaces.architecture import Architecture
from search_spaces.graph_json import graph_from_json
from tests.nas.api.conftest import door
from tests.nas.api.test_api_problems import check_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from tests.conftest import World

TARGET = Target("pocket")
HELLO = {"agent_id": "agent-1", "device": "pocket", "facts": {"cores": 4}, "runtimes": ["ort"],
         "version": "0.1.0"}  # fmt: skip


class Office:
    """A service, an agent that said hello, and a job of two networks."""

    def __init__(self, client: TestClient, world: World) -> None:
        self.client = client
        self.world = world
        self.service: Service = client.app.state.context.service  # type: ignore[attr-defined]
        self.keys = [arch.key for arch in world.networks(2, seed=7).architectures()]
        archs = [Architecture.parse(key) for key in self.keys]
        self.job = self.service.fleet.enqueue(world.space, archs, TARGET, NETWORK_PLAN)
        assert self.post("hello", HELLO).json() == {"lease_s": LEASE_S}

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.client.post(f"/v1/agent/{path}", json=body)

    def claim(self) -> Any:
        return self.post("claim", {"agent_id": "agent-1"})

    def outcome(self, position: int) -> dict[str, Any]:
        taken = self.world.measure(self.keys[position], np.random.default_rng(position))
        return {"samples": taken.samples.as_json(), "reference": reference_graph().digest,
                "occasion": "agent-1-1", "environment": {"load_1min": 0.1},
                "taken_at": datetime.now(UTC).isoformat()}  # fmt: skip

    def finish(self, position: int, token: str, outcome: dict[str, Any]) -> Any:
        body = {"token": token, "outcome": outcome}
        return self.post(f"jobs/{self.job}/items/{position}", body)


@pytest.fixture
def office(home: Path, world: World) -> Iterator[Office]:
    with door(home) as client:
        yield Office(client, world)


def test_an_agent_claims_measures_and_finishes(office: Office) -> None:
    claimed = office.claim()
    assert claimed.status_code == 200
    lease = claimed.json()
    assert lease["job_id"] == office.job
    assert lease["target"] == TARGET.key
    assert [item["subject"] for item in lease["items"]] == office.keys
    for item in lease["items"]:
        assert graph_from_json(item["graph"]).digest == item["digest"]

    heartbeat = office.post(f"jobs/{office.job}/heartbeat", {"token": lease["token"]})
    first = office.finish(0, lease["token"], office.outcome(0))
    second = office.finish(1, lease["token"], {"failure": "out of memory"})

    assert [a.status_code for a in (heartbeat, first, second)] == [204, 204, 204]
    assert office.claim().status_code == 204
    assert office.service.store.job(office.job).state == "done"
    (stored,) = office.service.store.measurements(TARGET.key)
    assert stored.measurement.subject == office.keys[0]
    rows = office.client.get("/v1/measurements", params={"device": "pocket"}).json()
    assert [row["architecture"] for row in rows["measurements"]] == office.keys[:1]


def test_the_same_outcome_sent_again_is_stored_once(office: Office) -> None:
    token, outcome = office.claim().json()["token"], office.outcome(0)

    answers = [office.finish(0, token, outcome).status_code for _ in range(3)]

    assert answers == [204, 204, 204]
    assert len(office.service.store.measurements(TARGET.key)) == 1


def test_a_stale_lease_is_refused_and_says_to_claim_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=2 * LEASE_S)
    monkeypatch.setattr(
        Service, "fleet", property(lambda service: Fleet(service.store, now=lambda: past))
    )
    stale = office.claim().json()["token"]
    monkeypatch.undo()
    fresh = office.claim().json()["token"]

    late = office.finish(0, stale, office.outcome(0))
    beat = office.post(f"jobs/{office.job}/heartbeat", {"token": stale})

    assert "claim" in check_problem(late, 409)["detail"]
    assert check_problem(late, 409)["type"].endswith(":stale-lease")
    check_problem(beat, 409)
    assert office.service.store.measurements(TARGET.key) == []
    assert office.finish(0, fresh, office.outcome(0)).status_code == 204


@pytest.mark.parametrize(
    "change",
    [{"samples": {}}, {"samples": {"clock_ms": [1.0]}}, {"taken_at": "yesterday"},
     {"reference": 5}, {"environment": []}],
)  # fmt: skip
def test_a_forged_outcome_is_refused(office: Office, change: dict[str, Any]) -> None:
    token = office.claim().json()["token"]

    answer = office.finish(0, token, {**office.outcome(0), **change})

    check_problem(answer, 422)
    assert office.service.store.measurements(TARGET.key) == []


def test_an_agent_that_did_not_say_hello_is_told_so(office: Office) -> None:
    check_problem(office.post("claim", {"agent_id": "nobody"}), 422)


def test_an_unknown_job_is_not_found(office: Office) -> None:
    token = office.claim().json()["token"]
    path = "jobs/4711/heartbeat"

    check_problem(office.post(path, {"token": token}), 404)
    check_problem(office.post("jobs/-1/heartbeat", {"token": token}), 422)
