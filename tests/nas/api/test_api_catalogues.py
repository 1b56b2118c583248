"""Devices, spaces and measurements, as lists and one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from search_spaces import SPACES
from tests.nas.api.filled import BARE, NETWORKS
from tests.nas.api.test_api_problems import check_problem

if TYPE_CHECKING:
    from tests.conftest import World
    from tests.nas.api.conftest import Filled


def get(filled: Filled, path: str, **query: Any) -> dict[str, Any]:
    answer = filled.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_all_devices_are_listed_this_machine_first(filled: Filled) -> None:
    rows = get(filled, "/v1/devices")["devices"]

    assert rows == filled.service.device_rows()
    assert rows[0]["reach"] == "local"
    assert {"world", BARE} <= {row["device"] for row in rows}


def test_one_device_tells_its_facts_and_what_was_measured(filled: Filled) -> None:
    found = get(filled, "/v1/devices/world")

    assert found["device"] == "world"
    assert found["facts"] == {"system": "made up"}
    assert found["reach"] == "none"
    assert found["measured"]["networks"] == NETWORKS


def test_local_is_the_machine_of_the_server(filled: Filled) -> None:
    found = get(filled, "/v1/devices/local")

    assert found["reach"] == "local"
    assert found["facts"]["logical_cores"] >= 1


def test_all_spaces_are_listed(filled: Filled) -> None:
    rows = get(filled, "/v1/spaces")["spaces"]

    assert [row["space"] for row in rows] == SPACES.names()
    for row in rows:
        assert int(row["size"]) == SPACES.get(row["space"]).size


@pytest.mark.parametrize("name", SPACES.names())
def test_one_space_tells_its_choices_with_their_options(filled: Filled, name: str) -> None:
    found = get(filled, f"/v1/spaces/{name}")
    space = SPACES.get(name)

    assert found["genes"] == len(found["choices"]) == len(space.choices)
    for told, choice in zip(found["choices"], space.choices, strict=True):
        assert told["name"] == choice.name
        assert len(told["options"]) == len(choice.options)


def test_measurements_come_in_pages_newest_first(filled: Filled) -> None:
    whole = get(filled, "/v1/measurements", device="world")
    rows, cursor, pages = [], None, 0
    while True:
        query = {"device": "world", "limit": 5} | ({"cursor": cursor} if cursor else {})
        page = get(filled, "/v1/measurements", **query)
        rows += page["measurements"]
        cursor, pages = page["next_cursor"], pages + 1
        if cursor is None:
            break

    assert pages == 3
    assert rows == whole["measurements"]
    assert whole["next_cursor"] is None
    assert [row["architecture"] for row in rows] == filled.keys[::-1]
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)


def test_a_measurement_tells_how_it_is_known(filled: Filled, world: World) -> None:
    row = get(filled, "/v1/measurements", device="world", limit=1)["measurements"][0]

    assert row["kind"] == "measured"
    assert row["target"] == world.target
    assert row["runs"] == 30
    assert row["latency_ms"] == pytest.approx(world.true_ms(row["architecture"]), rel=0.05)
    assert row["taken_at"].endswith("+00:00")


def test_measurements_of_another_space_are_none(filled: Filled) -> None:
    others = [name for name in SPACES.names() if name != "mobilenetv3"]
    for name in others[:1]:
        assert get(filled, "/v1/measurements", device="world", space=name)["measurements"] == []


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"device": "nothing"}, "nothing"),
        ({"space": "nothing"}, "nothing"),
        ({"limit": 0}, "limit"),
        ({"limit": 100_000}, "limit"),
        ({"cursor": "../../etc/passwd"}, "cursor"),
        ({"cursor": "9" * 30}, "cursor"),
    ],
)
def test_wrong_questions_are_refused(filled: Filled, query: dict[str, Any], word: str) -> None:
    answer = filled.client.get("/v1/measurements", params={"device": "world", **query})

    assert word in check_problem(answer, 422)["detail"]
