"""Every error is a problem in words that help, and tells nothing that is not the client's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.nas.api.conftest import door

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from tests.nas.api.conftest import Filled


def check_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:problem-type:hardware-aware-nas:")
    assert problem["title"]
    assert problem["detail"]
    assert "Traceback" not in answer.text
    return problem


def test_an_unknown_address_names_itself(client: TestClient) -> None:
    problem = check_problem(client.get("/v1/nothing"), 404)

    assert "/v1/nothing" in problem["detail"]
    assert "/openapi.json" in problem["detail"]


def test_a_wrong_method_lists_the_right_ones(client: TestClient) -> None:
    answer = client.put("/v1/predict", json={})

    check_problem(answer, 405)
    assert answer.headers["Allow"] == "POST"


def test_measurements_cannot_be_added_but_by_agents(client: TestClient) -> None:
    check_problem(client.post("/v1/measurements", json={}), 405)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"budget_ms": "5"}, "#/body/budget_ms"),
        ({"budget_ms": -1.0}, "#/body/budget_ms"),
        ({}, "#/body/budget_ms"),
        ({"budget_ms": 5.0, "colour": "red"}, "#/body/colour"),
        ({"budget_ms": 5.0, "seed": 1.5}, "#/body/seed"),
        ({"budget_ms": 5.0, "batch": True}, "#/body/batch"),
        ([], "#/body"),
    ],
)
def test_each_wrong_field_is_pointed_at(client: TestClient, body: object, pointer: str) -> None:
    problem = check_problem(client.post("/v1/searches", json=body), 422)

    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert pointer.removeprefix("#/body").removeprefix("/") in problem["detail"]


def test_several_wrong_fields_are_all_listed(client: TestClient) -> None:
    problem = check_problem(client.post("/v1/searches", json={"a": 1, "b": 2}), 422)

    assert len(problem["errors"]) == 3
    assert "(and 2 more)" in problem["detail"]


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"budget_ms": NaN}', b""])
def test_what_is_no_json_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post(
        "/v1/searches", content=content, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code in (400, 422)
    check_problem(answer, answer.status_code)


def test_json_deeper_than_any_of_ours_is_refused(client: TestClient) -> None:
    content = b"[" * 100_000 + b"]" * 100_000
    answer = client.post(
        "/v1/predict", content=content, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code in (400, 422)
    check_problem(answer, answer.status_code)


@pytest.mark.parametrize("field", ["space", "device", "strategy"])
def test_unknown_names_in_a_body_are_invalid_and_the_known_ones_listed(
    filled: Filled, field: str
) -> None:
    body = {"budget_ms": 5.0, "device": "world", field: "nothing-like-it"}
    problem = check_problem(filled.client.post("/v1/searches", json=body), 422)

    assert "nothing-like-it" in problem["detail"]
    assert "known:" in problem["detail"]


@pytest.mark.parametrize(
    "path",
    ["/v1/spaces/nothing", "/v1/devices/nothing", "/v1/searches/nothing",
     "/v1/searches/nothing/candidates", "/v1/searches/nothing/artefacts/result.json"],
)  # fmt: skip
def test_unknown_names_in_an_address_are_not_found(filled: Filled, path: str) -> None:
    problem = check_problem(filled.client.get(path), 404)

    assert "nothing" in problem["detail"]


def test_half_a_surrogate_pair_is_no_error_of_ours(filled: Filled) -> None:
    body = b'{"architectures": ["\\ud800:1"], "device": "\\udfff"}'
    answer = filled.client.post(
        "/v1/predict", content=body, headers={"Content-Type": "application/json"}
    )

    check_problem(answer, 422)


def test_an_unexpected_error_tells_its_id_only(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: object) -> None:
        raise ZeroDivisionError("the secret of /etc/passwd")

    monkeypatch.setattr("nas.service.Service.device_rows", broken)
    with door(home) as client, caplog.at_level(logging.ERROR):
        answer = client.get("/v1/devices")

    problem = check_problem(answer, 500)
    assert "secret" not in answer.text
    assert problem["id"] in problem["detail"]
    assert problem["id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.fixture
def narrow(home: Path) -> Iterator[TestClient]:
    """A service that takes bodies of a thousand bytes."""
    with door(home, largest_body=1000) as client:
        yield client


def test_a_body_that_says_it_is_too_large_is_not_read(narrow: TestClient) -> None:
    answer = narrow.post("/v1/predict", content=b"x" * 1001)

    problem = check_problem(answer, 413)
    assert "1000 bytes" in problem["detail"]


def test_a_body_that_grows_too_large_is_cut_off(narrow: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"architectures": ["'
        for _ in range(200):
            yield b"0" * 10
        yield b'"]}'

    answer = narrow.post(
        "/v1/predict", content=pieces(), headers={"Content-Type": "application/json"}
    )

    check_problem(answer, 413)


def test_a_store_that_is_gone_makes_the_service_not_ready(home: Path) -> None:
    with door(home) as client:
        assert client.get("/readyz").status_code == 200
        (home / "nas.db").rename(home / "away.db")
        answer = client.get("/readyz")

        problem = check_problem(answer, 503)
        assert answer.headers["Retry-After"] == "5"
        assert str(home) not in problem["detail"]
        assert client.get("/livez").status_code == 200


def test_a_store_of_a_newer_version_makes_the_service_not_ready(home: Path) -> None:
    import sqlite3

    with door(home) as client:
        with sqlite3.connect(home / "nas.db") as database:
            database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.close()

        check_problem(client.get("/readyz"), 503)
