"""The OpenAPI description: whole, and honest about errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from nas.api.app import create_app
from nas.service import Service

if TYPE_CHECKING:
    from fastapi.testclient import TestClient


def no_service() -> Service:
    pytest.fail("the description needs no store")


SCHEMA = create_app(no_service, "a-token-that-nobody-uses").openapi()
OPERATIONS = [
    (method, path, operation)
    for path, operations in SCHEMA["paths"].items()
    for method, operation in operations.items()
]


def references(value: object) -> Iterator[str]:
    """Every `$ref` within a JSON value."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def test_it_is_served_without_a_token(client: TestClient) -> None:
    answer = client.get("/openapi.json", headers={"Authorization": ""})

    assert answer.status_code == 200
    assert answer.json()["paths"].keys() == SCHEMA["paths"].keys()


def test_it_is_a_whole_openapi_document() -> None:
    assert SCHEMA["openapi"].startswith("3.1")
    assert SCHEMA["info"]["title"]
    assert SCHEMA["info"]["version"]
    names = SCHEMA["components"]["schemas"].keys()
    for reference in references(SCHEMA):
        assert reference.startswith("#/components/schemas/")
        assert reference.rsplit("/", 1)[1] in names
    operation_ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(operation_ids) == len(set(operation_ids))
    for _, path, operation in OPERATIONS:
        in_path = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
        assert all(f"{{{name}}}" in path for name in in_path)
        assert path.count("{") == len(in_path)


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[f"{m} {p}" for m, p, _ in OPERATIONS]
)
def test_every_route_declares_its_responses(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    answers = operation["responses"]
    wanted = {"500"}
    if path.startswith("/v1/"):
        wanted |= {"401", "413", "503"}
        assert operation["security"] == [{"HTTPBearer": []}]
    if "{" in path:
        wanted.add("404")
    if "requestBody" in operation or any(
        p["in"] == "query" for p in operation.get("parameters", [])
    ):
        wanted.add("422")
    assert wanted <= answers.keys()
    assert any(status.startswith("2") for status in answers)
    for status, answer in answers.items():
        assert answer["description"]
        if int(status) >= 400:
            assert list(answer["content"]) == ["application/problem+json"]
    assert operation["summary"]
    assert operation["description"]


def test_fields_that_are_quantities_end_with_their_unit() -> None:
    schemas = SCHEMA["components"]["schemas"]

    assert {"latency_ms", "lower_ms", "upper_ms"} <= schemas["PredictedRow"]["properties"].keys()
    assert "budget_ms" in schemas["SearchRequest"]["properties"]


def test_unknown_fields_are_refused_by_every_body() -> None:
    for name, schema in SCHEMA["components"]["schemas"].items():
        assert schema["additionalProperties"] is False, name
