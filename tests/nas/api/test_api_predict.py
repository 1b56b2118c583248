"""Predictions over HTTP equal the service's own, follow the store, and refuse what is wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nas.api.predictions import LAG_S, Predictors
from nas.service import Service
from nas.settings import Settings
from tests.nas.api.filled import BARE, NETWORKS, fill, measure
from tests.nas.api.test_api_problems import check_problem

if TYPE_CHECKING:
    from tests.conftest import World
    from tests.nas.api.conftest import Filled


def ask(filled: Filled, architectures: list[str], device: str = "world") -> Any:
    body = {"architectures": architectures, "device": device}
    return filled.client.post("/v1/predict", json=body)


def test_rows_are_those_of_the_service_in_the_order_of_the_keys(
    filled: Filled, world: World
) -> None:
    keys = [arch.key for arch in world.networks(5, seed=3).architectures()]

    answer = ask(filled, keys)

    assert answer.status_code == 200
    rows = answer.json()["predictions"]
    assert rows == filled.service.predict(keys, "world")
    assert [row["architecture"] for row in rows] == keys
    assert {row["kind"] for row in rows} == {"predicted"}
    assert {row["target"] for row in rows} == {world.target}
    assert {row["measured_networks"] for row in rows} == {NETWORKS}
    for row in rows:
        assert row["lower_ms"] < row["latency_ms"] < row["upper_ms"]
        assert row["latency_ms"] == pytest.approx(world.true_ms(row["architecture"]), rel=0.1)


def test_the_same_network_twice_has_two_equal_rows(filled: Filled) -> None:
    first, second = ask(filled, [filled.keys[0]] * 2).json()["predictions"]

    assert first == second


def test_a_gene_outside_its_choice_is_named(filled: Filled) -> None:
    wrong = filled.keys[0].replace("mobilenetv3:", "mobilenetv3:z", 1)[: len(filled.keys[0])]

    problem = check_problem(ask(filled, [wrong]), 422)

    assert "gene 0 (resolution) of mobilenetv3 is 35" in problem["detail"]
    assert "0=128" in problem["detail"]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("mobilenetv3:012", "46 genes, 3 were given"),
        ("mobilenetv3", "is not an architecture key"),
        ("mobilenetv3:!!", "is not an architecture key"),
        ("nothing:012", "unknown search space 'nothing'"),
    ],
)
def test_what_is_no_network_is_refused_with_the_reason(
    filled: Filled, key: str, words: str
) -> None:
    assert words in check_problem(ask(filled, [key]), 422)["detail"]


def test_an_unknown_device_is_refused_with_the_known_ones(filled: Filled) -> None:
    problem = check_problem(ask(filled, filled.keys[:1], "wordl"), 422)

    assert "world" in problem["detail"]


def test_a_device_that_nothing_is_known_of_asks_for_calibration(filled: Filled) -> None:
    problem = check_problem(ask(filled, filled.keys[:1], BARE), 409)

    assert problem["type"].endswith(":not-calibrated")
    assert "calibrate" in problem["detail"]


@pytest.mark.parametrize(
    "body",
    [{"architectures": []}, {"architectures": "mobilenetv3:0"}, {"architectures": [1]},
     {"architectures": ["x"], "device": ""}, {"architectures": ["x"], "devise": "world"}, {}],
)  # fmt: skip
def test_a_malformed_body_is_refused(filled: Filled, body: dict[str, Any]) -> None:
    problem = check_problem(filled.client.post("/v1/predict", json=body), 422)

    assert problem["errors"]


def test_many_clients_at_once_all_get_their_own_answer(filled: Filled, world: World) -> None:
    keys = [arch.key for arch in world.networks(32, seed=5).architectures()]
    wanted = {row["architecture"]: row for row in filled.service.predict(keys, "world")}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda key: ask(filled, [key]), keys))

    for key, answer in zip(keys, answers, strict=True):
        (row,) = answer.json()["predictions"]
        # Sums of one row and of many may differ in the last bit.
        assert row["architecture"] == key
        assert row["latency_ms"] == pytest.approx(wanted[key]["latency_ms"], rel=1e-9)
        assert row["upper_ms"] == pytest.approx(wanted[key]["upper_ms"], rel=1e-9)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """The present second."""
        return self.seconds


def test_a_loaded_predictor_follows_the_store(tmp_path: Path, world: World) -> None:
    keys = fill(tmp_path, world)
    service, clock = Service.open(Settings(tmp_path)), Clock()
    predictors = Predictors(service, clock)
    try:
        (before,) = predictors.rows(keys[:1], "world")
        assert predictors.rows(keys[:1], "world") == [before]

        more = [arch.key for arch in world.networks(4, seed=9).architectures()]
        measure(service, world, more)
        (soon,) = predictors.rows(keys[:1], "world")
        clock.seconds += LAG_S + 0.1
        (later,) = predictors.rows(keys[:1], "world")

        assert soon == before
        assert later["measured_networks"] == NETWORKS + len(more)
        assert [later] == service.predict(keys[:1], "world")
    finally:
        service.store.close()


def test_a_newly_registered_predictor_is_taken_at_once(tmp_path: Path, world: World) -> None:
    keys = fill(tmp_path, world)
    service = Service.open(Settings(tmp_path))
    predictors = Predictors(service, Clock())
    try:
        predictors.rows(keys[:1], "world")
        more = [arch.key for arch in world.networks(4, seed=9).architectures()]
        measure(service, world, more)
        digest = service.store.add_artefact(b"a predictor", "application/x-npz")
        service.store.add_predictor(
            world.target, "mobilenetv3", "block-lut", digest, {}, "2026-01-02T03:04:05+00:00"
        )

        (row,) = predictors.rows(keys[:1], "world")

        assert row["measured_networks"] == NETWORKS + len(more)
    finally:
        service.store.close()


def test_predictors_of_many_devices_do_not_pile_up(filled: Filled) -> None:
    predictors = Predictors(filled.service, Clock())
    spellings = ["world", "World", "WORLD", " world", "world ", "world:ort-fp32-t1"]

    for device in spellings * 2:
        predictors.rows(filled.keys[:1], device)

    assert len(predictors._loaded) <= len(spellings)
