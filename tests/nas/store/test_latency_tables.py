from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import StoreError
from nas.store import SqlStore
from predictors.predictor import LatencyTable

NOW, LATER = "2026-01-02T03:04:05Z", "2026-01-03T03:04:05Z"


def table(*latency_ms: float, space: str = "toy", target: str = "imported:phone") -> LatencyTable:
    genes = np.arange(3 * len(latency_ms), dtype=np.int8).reshape(-1, 3) % 5
    zeros = np.zeros(len(latency_ms))
    return LatencyTable(
        space, genes, target, np.array(latency_ms), zeros, "imported", {"file": "phone.csv"}
    )


def same(one: LatencyTable, other: LatencyTable) -> bool:
    return (one.space, one.target, one.kind, one.provenance) == (
        other.space, other.target, other.kind, other.provenance,
    ) and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        and getattr(one, name).dtype == getattr(other, name).dtype
        for name in ("genes", "latency_ms", "relative_se")
    )  # fmt: skip


@pytest.fixture
def store() -> Iterator[SqlStore]:
    with SqlStore.in_memory() as opened:
        yield opened


def test_tables_come_back_as_they_went_in() -> None:
    positive = st.floats(1e-300, 1e300)

    @settings(max_examples=20)
    @given(latency_ms=st.lists(positive, max_size=6))
    def check(latency_ms: list[float]) -> None:
        with SqlStore.in_memory() as store:
            store.add_latency_table(table(*latency_ms), NOW)
            [loaded] = store.latency_tables()
        assert same(loaded, table(*latency_ms))

    check()


def test_the_newest_table_of_a_space_and_target_counts(store: SqlStore) -> None:
    first = store.add_latency_table(table(1.0, 2.0), NOW)
    other = store.add_latency_table(table(3.0, target="imported:cpu"), NOW)
    third = store.add_latency_table(table(4.0, space="big"), NOW)
    newest = store.add_latency_table(table(5.0), LATER)

    assert first < other < third < newest
    found = [(t.space, t.target, t.latency_ms.tolist()) for t in store.latency_tables()]
    assert found == [
        ("toy", "imported:cpu", [3.0]),
        ("big", "imported:phone", [4.0]),
        ("toy", "imported:phone", [5.0]),
    ]
    assert [t.target for t in store.latency_tables("toy")] == ["imported:cpu", "imported:phone"]
    assert [t.space for t in store.latency_tables(target="imported:phone")] == ["big", "toy"]
    assert store.latency_tables("toy", "imported:gpu") == []


def test_equal_tables_are_one(store: SqlStore) -> None:
    first = store.add_latency_table(table(1.0, 2.0), NOW)
    again = replace(table(1.0, 2.0), provenance={"file": "renamed.csv"})

    assert store.add_latency_table(again, LATER) == first
    assert store.latency_tables()[0].provenance == {"file": "phone.csv"}


def test_an_older_table_may_be_taken_up_again(store: SqlStore) -> None:
    store.add_latency_table(table(1.0), NOW)
    store.add_latency_table(table(2.0), NOW)
    store.add_latency_table(table(1.0), LATER)

    assert [t.latency_ms.tolist() for t in store.latency_tables()] == [[1.0]]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("artefacts SET body = x'00'", "artefact .* is damaged"),
        ("latency_tables SET provenance = '{'", "latency table 1 is damaged"),
    ],
)
def test_a_damaged_table_is_a_store_error(tmp_path: Path, damage: str, words: str) -> None:
    path = tmp_path / "s.db"
    with SqlStore(path) as store:
        store.add_latency_table(table(1.0), NOW)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {damage}")
    connection.close()

    with SqlStore(path) as store, pytest.raises(StoreError, match=words):
        store.latency_tables()
