"""Searches over HTTP: submitted, watched, their candidates and files, stopped."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nas.client import ENDED
from tests.nas.api.conftest import door
from tests.nas.api.filled import fill
from tests.nas.api.test_api_problems import check_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from tests.conftest import World

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
LONGEST_S = 60.0
WISH = {"device": "world", "space": "mobilenetv3", "budget_ms": 4.0, "seed": 1}


def wait_for_end(client: TestClient, location: str) -> dict[str, Any]:
    deadline = time.monotonic() + LONGEST_S
    while True:
        found: dict[str, Any] = client.get(location).json()
        if found["state"] in ENDED:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


@dataclass(frozen=True)
class Searched:
    """A search that came to its end, and one that was submitted behind it.

    Attributes:
        home: Folder of the service.
        client: A client with the token.
        accepted: The answer to the submission.
        second: The answer to the second submission.
        ended: The first search in the end.
    """

    home: Path
    client: TestClient
    accepted: Any
    second: Any
    ended: dict[str, Any]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[Searched]:
    home = tmp_path_factory.mktemp("searched") / "home"
    fill(home, world)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        with door(home) as client:
            accepted = client.post("/v1/searches", json=WISH)
            second = client.post("/v1/searches", json=WISH | {"seed": 2})
            client.post(f"{second.headers['Location']}/stop")
            ended = wait_for_end(client, accepted.headers["Location"])
            yield Searched(home, client, accepted, second, ended)


def test_a_submitted_search_is_accepted_and_can_be_watched(searched: Searched) -> None:
    answer = searched.accepted.json()

    assert searched.accepted.status_code == 202
    assert searched.accepted.headers["Location"] == f"/v1/searches/{answer['id']}"
    assert answer["state"] in {"queued", "running"}
    assert answer["request"]["device"] == "world:ort-fp32-t1"
    assert answer["progress"] == {"stage": None, "batches": 0, "slots": 0, "done": 0, "failed": 0}
    assert answer["result"] is None


def test_it_ends_with_a_result_that_says_predicted(searched: Searched) -> None:
    ended = searched.ended

    assert ended["state"] == "predicted"
    assert ended["error"] is None
    assert ended["finished_at"]
    assert ended["result"]["winner"]["latency_ms"] <= WISH["budget_ms"]
    assert ended["progress"]["slots"] == ended["progress"]["done"]
    assert (searched.home / "runs" / ended["id"] / "result.json").is_file()


def test_a_second_search_waits_and_can_be_stopped_while_it_does(searched: Searched) -> None:
    assert searched.second.json()["state"] == "queued"
    found = searched.client.get(searched.second.headers["Location"]).json()
    assert found["state"] == "stopped"


def test_stopping_what_has_ended_changes_nothing(searched: Searched) -> None:
    path = searched.accepted.headers["Location"]

    for answer in (searched.client.post(f"{path}/stop"), searched.client.delete(path)):
        assert answer.status_code == 202
        assert answer.json() == searched.ended


def test_searches_are_listed_in_pages_newest_first(searched: Searched) -> None:
    first = searched.client.get("/v1/searches", params={"limit": 1}).json()
    cursor = first["next_cursor"]
    second = searched.client.get("/v1/searches", params={"limit": 1, "cursor": cursor}).json()

    assert first["searches"][0]["id"] == searched.second.json()["id"]
    assert second["searches"][0]["id"] == searched.ended["id"]
    assert second["searches"][0]["budget_ms"] == WISH["budget_ms"]
    assert second["next_cursor"] is None
    check_problem(searched.client.get("/v1/searches", params={"cursor": "nothing"}), 422)


def test_the_beginning_of_a_name_is_not_enough(searched: Searched) -> None:
    check_problem(searched.client.get(f"/v1/searches/{searched.ended['id'][:-1]}"), 404)


def candidates(searched: Searched, **query: Any) -> Any:
    path = f"{searched.accepted.headers['Location']}/candidates"
    return searched.client.get(path, params=query)


def test_candidates_are_filtered_and_sorted(searched: Searched) -> None:
    everything = candidates(searched).json()["candidates"]
    measured = candidates(searched, kind="measured").json()["candidates"]
    front = candidates(searched, kind="predicted", on_front=True, sort="-top1_percent")
    best = front.json()["candidates"]

    assert len(everything) == len(searched.ended["result"]["candidates"])
    assert [c["latency_ms"] for c in everything] == sorted(c["latency_ms"] for c in everything)
    assert {c["kind"] for c in measured} == {"measured"}
    assert {(c["kind"], c["on_front"]) for c in best} == {("predicted", True)}
    accuracies = [c["top1_percent"] for c in best]
    assert accuracies == sorted(accuracies, reverse=True)
    assert len(candidates(searched, limit=2).json()["candidates"]) == 2


@pytest.mark.parametrize(
    ("query", "word"),
    [({"sort": "key"}, "latency_ms"), ({"sort": "nothing"}, "latency_ms"),
     ({"kind": "guessed"}, "kind")],
)  # fmt: skip
def test_wrong_filters_are_refused(searched: Searched, query: dict[str, str], word: str) -> None:
    assert word in check_problem(candidates(searched, **query), 422)["detail"]


def test_a_search_without_a_result_has_no_candidates(searched: Searched) -> None:
    found = searched.client.get(f"{searched.second.headers['Location']}/candidates").json()

    assert found["candidates"] == []


def test_files_are_named_within_the_search_and_known_by_their_digest(searched: Searched) -> None:
    path = f"{searched.accepted.headers['Location']}/artefacts"
    names = searched.ended["artefacts"]
    assert {"result.json", "pareto.csv", "arch.json", "best.weightless.onnx"} <= names.keys()

    for name, digest in names.items():
        answer = searched.client.get(f"{path}/{name}")
        assert answer.status_code == 200
        assert hashlib.sha256(answer.content).hexdigest() == digest
        assert answer.headers["ETag"] == f'"{digest}"'
        for known in (f'"{digest}"', f'"other", W/"{digest}"', "*"):
            again = searched.client.get(f"{path}/{name}", headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
        changed = searched.client.get(f"{path}/{name}", headers={"If-None-Match": '"other"'})
        assert changed.status_code == 200
    assert searched.client.get(f"{path}/result.json").json()["winner"]


@pytest.mark.parametrize(
    "name",
    ["nothing.json", "..%2f..%2fnas.db", "%2e%2e%2fnas.db", "..%252fnas.db", "%2fetc%2fpasswd",
     "result.json%00", "..;%2fnas.db", "....%2f%2fnas.db"],
)  # fmt: skip
def test_no_name_leads_to_a_file_on_the_disk(searched: Searched, name: str) -> None:
    answer = searched.client.get(f"{searched.accepted.headers['Location']}/artefacts/{name}")

    check_problem(answer, 404)
    assert b"SQLite" not in answer.content
