from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from devices.device import Target
from devices.environment import local_device
from nas.errors import InvalidRequestError
from nas.fleet import Fleet
from nas.memory import MOST_SOURCES, stored_knowledge
from nas.places import find_place, known_names, slug
from nas.settings import Settings
from nas.store import SqlStore
from predictors.predictor import LatencyTable
from search_spaces import SPACES
from search_spaces.errors import UnknownNameError, UsageError
from search_spaces.moves import sample

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = SqlStore(Settings(tmp_path).database)
    yield opened
    opened.close()


def import_table(store: SqlStore, name: str, seed: int = 0, rows: int = 8) -> LatencyTable:
    space = SPACES.get("fbnet")
    genes = sample(space, rows, np.random.default_rng(seed)).genes
    latency_ms = np.linspace(1.0, 2.0, rows)
    table = LatencyTable(
        "fbnet", genes, f"imported:{name}", latency_ms, np.zeros(rows), "imported", {"file": name}
    )
    store.add_latency_table(table, NOW.isoformat())
    return table


def test_local_is_this_machine_under_its_own_name(store: SqlStore) -> None:
    place = find_place(store, "mobilenetv3", "local")

    assert place.key == Target(local_device().name).key
    assert place.reach == "local"
    assert find_place(store, "mobilenetv3", local_device().name) == place


def test_a_device_of_the_catalogue_is_out_of_reach_under_its_own_name(store: SqlStore) -> None:
    place = find_place(store, "mobilenetv3", "jetson-orin")

    assert (place.device.name, place.reach) == ("jetson-agx-orin", "none")
    assert place.key == "jetson-agx-orin:cudagraph-fp16-t1"
    explicit = find_place(store, "mobilenetv3", "jetson-orin:ort-fp32-t4")
    assert explicit.key == "jetson-agx-orin:ort-fp32-t4"


def test_a_device_is_behind_its_agent_while_that_is_heard_of(store: SqlStore) -> None:
    Fleet(store, now=lambda: NOW).hello("a", "my-board", {"cpu_model": "X"}, ["ort"], "1")

    def reach(seconds: float) -> str:
        at = NOW + timedelta(seconds=seconds)
        return find_place(store, "vit", "my-board", now=lambda: at).reach

    assert [reach(0), reach(80), reach(100)] == ["agent", "agent", "none"]


def test_a_reach_that_was_decided_stays(store: SqlStore) -> None:
    Fleet(store, now=lambda: NOW).hello("a", "my-board", {}, ["ort"], "1")

    assert find_place(store, "vit", "my-board", "agent").reach == "agent"
    assert find_place(store, "vit", "my-board", "none", now=lambda: NOW).reach == "none"


def test_what_an_agent_found_out_goes_before_the_data_sheet(store: SqlStore) -> None:
    facts = {"cpu_cores": 4, "kernel": "6.1"}
    Fleet(store).hello("a", "raspberry-pi-5", facts, ["ort"], "1")

    found = find_place(store, "vit", "raspberry-pi-5").device.facts

    assert found["kernel"] == "6.1"
    assert "memory_bandwidth_gb_s" in found


def test_an_imported_table_is_a_device_on_which_nothing_can_be_measured(store: SqlStore) -> None:
    import_table(store, "titan-rtx-256")

    place = find_place(store, "fbnet", "Titan_RTX_256")

    assert place == find_place(store, "fbnet", "imported:titan-rtx-256")
    assert (place.key, place.reach) == ("imported:titan-rtx-256", "none")
    with pytest.raises(InvalidRequestError, match="nothing can be measured"):
        place.measuring()


def test_a_table_of_another_space_is_no_device_of_this_one(store: SqlStore) -> None:
    import_table(store, "titan-rtx-256")

    with pytest.raises(UnknownNameError, match="unknown device"):
        find_place(store, "vit", "titan-rtx-256")


@pytest.mark.parametrize(("name", "words"), [("jetsn-orin", "jetson-orin"), ("board-9", "local")])
def test_an_unknown_name_is_refused_with_known_ones(store: SqlStore, name: str, words: str) -> None:
    with pytest.raises(UnknownNameError, match=words):
        find_place(store, "mobilenetv3", name)


@pytest.mark.parametrize("name", ["local:ort", "a:b:c", "local:ort-fp32-t0"])
def test_what_looks_like_a_target_and_is_none_is_refused(store: SqlStore, name: str) -> None:
    with pytest.raises(UsageError):
        find_place(store, "mobilenetv3", name)


def test_all_names_are_listed_once(store: SqlStore) -> None:
    import_table(store, "board")

    names = known_names(store)

    assert names == sorted(set(names))
    assert {"local", "board", "h100", "jetson-orin", local_device().name} <= set(names)


def test_names_become_slugs() -> None:
    assert slug(" Raspberry Pi/4 ") == "raspberry-pi-4"


def test_a_table_under_an_alias_informs_the_device_of_the_catalogue(store: SqlStore) -> None:
    table = import_table(store, "raspi4")

    known = stored_knowledge(store, find_place(store, "fbnet", "raspberry-pi-4"))

    assert known.imported is not None
    np.testing.assert_array_equal(known.imported.genes, table.genes)
    assert known.table is not None
    assert known.table.target == known.target


def test_sources_are_other_devices_and_not_too_many(store: SqlStore) -> None:
    for number in range(12):
        import_table(store, f"board-{number}", seed=number)

    known = stored_knowledge(store, find_place(store, "fbnet", "board-3"))

    assert len(known.sources) == MOST_SOURCES
    assert "imported:board-3" not in {table.target for table in known.sources}
    assert known.imported is not None


def test_a_run_sees_the_tables_there_were_when_it_was_opened(store: SqlStore) -> None:
    for number in range(4):
        import_table(store, f"board-{number}", seed=number)
    place = find_place(store, "fbnet", "board-0")

    before, after = (
        stored_knowledge(store, place, stored_by=(NOW + timedelta(seconds=s)).isoformat())
        for s in (-1, 0)
    )

    assert (before.imported, before.sources) == (None, ())
    assert after.imported is not None
    assert len(after.sources) == 3


def test_too_few_sources_are_none(store: SqlStore) -> None:
    import_table(store, "board-0")
    import_table(store, "board-1")

    assert stored_knowledge(store, find_place(store, "fbnet", "board-0")).sources == ()
