from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from devices.device import Device
from devices.measurement import Measurement, Samples
from nas.errors import StoreError
from nas.store import SqlStore, Store
from nas.trial import Batch, Failure, StoredMeasurement
from search_spaces.errors import UnknownNameError, UsageError

NOW = "2026-01-02T03:04:05Z"
TARGET = "box:ort-fp32-t1"


def measured(subject: str = "toy:012", **changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "subject": subject,
        "kind": "network",
        "digest": "d1",
        "target": TARGET,
        "samples": Samples((1.0, 1.1), (1.2, 1.3), (0.5, 0.5), (0.5, 0.6)),
        "reference": "r1",
        "occasion": "o1",
        "environment": {"load": 0.5, "versions": {"ort": "1.2", "kernel": "6"}},
        "taken_at": NOW,
    }
    return Measurement(**(fields | changes))


@pytest.fixture
def store() -> Iterator[SqlStore]:
    with SqlStore.in_memory() as opened:
        opened.open_run("run-1", '{"budget": "5ms"}', NOW)
        yield opened


def count(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.close()
    return int(found)


# --- Measurements ------------------------------------------------------------------------------

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)  # fmt: skip
_row = st.tuples(*[st.integers(1, 10**10).map(lambda n: round(n * 1e-5, 5))] * 4)
_samples = st.lists(_row, min_size=1, max_size=6).map(
    lambda rows: Samples(*(tuple(column) for column in zip(*rows, strict=True)))
)
_measurements = st.builds(
    Measurement,
    subject=_text,
    kind=st.sampled_from(["network", "block"]),
    digest=_text,
    target=st.just(TARGET),
    samples=_samples,
    reference=_text,
    occasion=_text,
    environment=st.dictionaries(st.text(max_size=5), _json, max_size=3),
    taken_at=_text,
)


def test_measurements_come_back_as_they_went_in(store: SqlStore) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(values=st.lists(_measurements, max_size=4))
    def check(values: list[Measurement]) -> None:
        newest = max((m.id for m in store.measurements(TARGET)), default=0)
        ids = store.add_measurements(values)

        assert [m for m in store.measurements(TARGET) if m.id > newest] == [
            StoredMeasurement(number, value) for number, value in zip(ids, values, strict=True)
        ]
        assert ids == sorted(ids)

    check()


def test_an_outcome_is_returned_as_a_later_load_returns_it(store: SqlStore) -> None:
    store.add_batch("run-1", 0, "search", ["toy:012"])
    third = 1 / 3
    fine = measured(
        samples=Samples((third,), (third,), (third,), (third,)), environment={"pair": (1, 2)}
    )

    stored = store.add_outcome("run-1", 0, 0, fine)

    assert store.batches("run-1")[0].outcomes == (stored,)
    assert store.measurements(TARGET) == [stored]
    assert stored.measurement.samples.clock_ms == (0.33333,)


def test_samples_that_round_to_zero_are_refused_before_they_are_stored(store: SqlStore) -> None:
    tiny = Samples((1e-6,), (1.0,), (1.0,), (1.0,))

    with pytest.raises(UsageError, match="positive"):
        store.add_measurements([measured(), measured(samples=tiny)])

    assert store.measurements(TARGET) == []


def test_measurements_are_chosen_by_every_criterion(store: SqlStore) -> None:
    store.add_measurements(
        [
            measured("toy:0"),
            measured("big:0"),
            measured("block:ab", kind="block"),
            measured("toy:1", reference="r2"),
            measured("toy:2", target="other:ort-fp32-t1"),
            measured("toy:3"),
        ]
    )

    def chosen(**criteria: Any) -> list[str]:
        return [m.measurement.subject for m in store.measurements(TARGET, **criteria)]

    assert chosen() == ["toy:0", "big:0", "block:ab", "toy:1", "toy:3"]
    assert chosen(kind="block") == ["block:ab"]
    assert chosen(kind="network", space="toy") == ["toy:0", "toy:1", "toy:3"]
    assert chosen(up_to_id=3) == ["toy:0", "big:0", "block:ab"]
    assert chosen(up_to_id=0) == []
    assert chosen(reference="r2") == ["toy:1"]
    assert store.measurements("nowhere") == []


def test_measurements_of_a_target_are_found_through_an_index(store: SqlStore) -> None:
    asked: list[tuple[str, Any]] = []
    plans: list[str] = []

    def spy(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))
            plan = connection.connection.cursor().execute(
                f"EXPLAIN QUERY PLAN {statement}", parameters
            )
            plans.append("\n".join(str(step[-1]) for step in plan))

    event.listen(Engine, "before_cursor_execute", spy)
    try:
        store.measurements(TARGET)
        store.measurements(TARGET, kind="network", space="toy", up_to_id=9)
    finally:
        event.remove(Engine, "before_cursor_execute", spy)

    assert len(asked) == 4, "two queries a load, whatever its size"
    assert all("USING INDEX ix_measurements_target_kind_space_id (target=?" in p for p in plans)
    assert "TEMP B-TREE" not in plans[2], "the index is in the order asked for"
    assert not any("SCAN measurements" in plan for plan in plans)


def test_equal_environments_are_kept_once(tmp_path: Path) -> None:
    first = {"load": 1.0, "versions": {"a": "1", "b": "2"}}
    same = {"versions": {"b": "2", "a": "1"}, "load": 1.0}
    with SqlStore(tmp_path / "s.db") as store:
        store.add_measurements([measured(environment=first), measured(environment=same)])
        store.add_measurements([measured(environment=same), measured(environment={"load": 2.0})])
        loaded = store.measurements(TARGET)

    assert count(tmp_path / "s.db", "environments") == 2
    assert loaded[0].measurement.environment is loaded[2].measurement.environment


def test_an_empty_list_of_measurements_is_fine(store: SqlStore) -> None:
    assert store.add_measurements([]) == []


def test_many_measurements_keep_their_order(store: SqlStore) -> None:
    ids = store.add_measurements([measured(f"toy:{i}") for i in range(2500)])

    loaded = store.measurements(TARGET)
    assert [m.id for m in loaded] == ids
    assert [m.measurement.subject for m in loaded] == [f"toy:{i}" for i in range(2500)]


# --- Runs and batches --------------------------------------------------------------------------


def test_a_run_starts_with_the_newest_measurement_as_baseline(store: SqlStore) -> None:
    ids = store.add_measurements([measured(), measured()])

    record = store.open_run("run-2", "{}", "2026-01-03T00:00:00Z")

    assert record.baseline_id == ids[-1]
    assert store.run("run-1").baseline_id == 0
    assert store.run("run-2") == record
    assert [run.id for run in store.runs()] == ["run-2", "run-1"]


def test_a_run_ends_and_may_go_on(store: SqlStore) -> None:
    store.finish_run("run-1", "stopped", None, NOW)
    stopped = store.run("run-1")
    store.finish_run("run-1", "running", None, None)
    store.finish_run("run-1", "verified", '{"best": 1}', NOW)

    assert (stopped.state, stopped.result, stopped.finished_at) == ("stopped", None, NOW)
    assert store.run("run-1").result == '{"best": 1}'
    assert store.run("run-1").request == '{"budget": "5ms"}'


def test_runs_are_found_by_a_unique_beginning(store: SqlStore) -> None:
    store.open_run("run-1-again", "{}", NOW)
    store.open_run("Other_%", "{}", NOW)

    assert store.run("run-1").id == "run-1"
    assert store.run("run-1-").id == "run-1-again"
    assert store.run("O").id == "Other_%"
    with pytest.raises(UnknownNameError, match=r"begins several runs.*run-1, run-1-again"):
        store.run("run")
    for nothing in ("other", "run_1", "%", ""):
        with pytest.raises(UnknownNameError, match="known: Other_%, run-1, run-1-again"):
            store.run(nothing)


def test_batches_come_back_in_order_with_their_outcomes(store: SqlStore) -> None:
    store.add_batch("run-1", 1, "search", [f"toy:{i}" for i in range(12)])
    store.add_batch("run-1", 0, "calibrate", ["toy:a"])
    store.add_batch("run-1", 2, "verify", [])
    late = store.add_outcome("run-1", 1, 11, measured("toy:b"))
    failed = store.add_outcome("run-1", 1, 0, Failure(""))

    first, second, third = store.batches("run-1")

    assert first == Batch(0, "calibrate", ("toy:a",), (None,))
    assert second.subjects == tuple(f"toy:{i}" for i in range(12))
    assert second.outcomes == (failed, *[None] * 10, late)
    assert second.open_slots == list(range(1, 11))
    assert third == Batch(2, "verify", (), ())


def test_the_number_of_queries_does_not_grow_with_batches(store: SqlStore) -> None:
    statements: list[str] = []

    def spy(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    for number in range(20):
        store.add_batch("run-1", number, "search", ["toy:0", "toy:1"])
        store.add_outcome("run-1", number, 0, measured(environment={"n": number}))
    event.listen(Engine, "before_cursor_execute", spy)
    try:
        batches = store.batches("run-1")
    finally:
        event.remove(Engine, "before_cursor_execute", spy)

    assert len(batches) == 20
    assert sum(statement.startswith("SELECT") for statement in statements) == 4


def test_failures_with_broken_text_are_stored(store: SqlStore) -> None:
    store.add_batch("run-1", 0, "search", ["toy:0"])

    stored = store.add_outcome("run-1", 0, 0, Failure("bad \udcff byte and \0"))

    assert stored == Failure("bad ? byte and ?")
    assert store.batches("run-1")[0].outcomes == (stored,)


def test_nothing_stored_is_replaced(tmp_path: Path) -> None:
    with SqlStore(tmp_path / "s.db") as store:
        store.open_run("run-1", "{}", NOW)
        store.add_batch("run-1", 0, "search", ["toy:0", "toy:1"])
        first = store.add_outcome("run-1", 0, 0, measured())
        failed = store.add_outcome("run-1", 0, 1, Failure("out of memory"))

        with pytest.raises(StoreError, match="run 'run-1' already"):
            store.open_run("run-1", "{}", NOW)
        with pytest.raises(StoreError, match="batch 0 already"):
            store.add_batch("run-1", 0, "search", ["toy:2"])
        for slot in (0, 1):
            for outcome in (measured(environment={"new": slot}), Failure("again")):
                with pytest.raises(StoreError, match=f"slot {slot} .* has an outcome already"):
                    store.add_outcome("run-1", 0, slot, outcome)

        assert store.batches("run-1")[0].outcomes == (first, failed)
    assert count(tmp_path / "s.db", "measurements") == 1
    assert count(tmp_path / "s.db", "environments") == 1


def test_what_does_not_exist_is_named(store: SqlStore) -> None:
    store.add_batch("run-1", 0, "search", ["toy:0"])

    with pytest.raises(StoreError, match="slot 1 of batch 0 of run 'run-1' does not exist"):
        store.add_outcome("run-1", 0, 1, measured())
    with pytest.raises(StoreError, match="does not exist; add its batch first"):
        store.add_outcome("none", 0, 0, measured())
    with pytest.raises(UnknownNameError, match=r"unknown run 'run-2'; did you mean run-1\?"):
        store.add_batch("run-2", 0, "search", [])
    for method in (store.batches, store.run_artefacts):
        with pytest.raises(UnknownNameError, match="unknown run 'none'"):
            method("none")
    with pytest.raises(UnknownNameError, match="unknown run 'none'"):
        store.finish_run("none", "failed", None, NOW)
    assert store.measurements(TARGET) == []


def test_threads_share_a_store(store: SqlStore) -> None:
    store.add_batch("run-1", 0, "search", [f"toy:{i}" for i in range(64)])
    errors: list[BaseException] = []

    def fill(first: int) -> None:
        try:
            for slot in range(first, 64, 8):
                store.add_outcome("run-1", 0, slot, measured(f"toy:{slot}"))
                store.batches("run-1")
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=fill, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert store.batches("run-1")[0].open_slots == []


# --- Devices, artefacts, predictors ------------------------------------------------------------


def test_facts_of_a_device_are_renewed(store: SqlStore) -> None:
    store.add_device(Device("box", {"cores": 2}), NOW)
    store.add_device(Device("arm"))
    store.add_device(Device("box", {"cores": 4, "caches": ["1M"]}), NOW)

    assert store.devices() == [Device("arm"), Device("box", {"cores": 4, "caches": ["1M"]})]


def test_equal_artefacts_are_kept_once(store: SqlStore) -> None:
    body = bytes(range(256))
    sha256 = store.add_artefact(body, "application/octet-stream", NOW)

    assert store.add_artefact(body, "application/octet-stream") == sha256
    assert store.artefact(sha256) == body
    assert store.artefact(store.add_artefact(b"", "text/plain")) == b""
    with pytest.raises(UnknownNameError, match="no artefact has the digest 'abc'"):
        store.artefact("abc")


def test_an_altered_artefact_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with SqlStore(path) as store:
        sha256 = store.add_artefact(b"weights", "application/octet-stream")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE artefacts SET body = x'00'")
    connection.close()

    with SqlStore(path) as store, pytest.raises(StoreError, match=f"{sha256} is damaged"):
        store.artefact(sha256)


@pytest.mark.parametrize(
    "damage",
    [
        "measurements SET samples = '{}'",
        "measurements SET samples = '{'",
        "environments SET body = '{'",
    ],
)
def test_a_damaged_row_is_a_store_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "s.db"
    with SqlStore(path) as store:
        store.add_measurements([measured()])
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {damage}")
    connection.close()

    with SqlStore(path) as store, pytest.raises(StoreError, match="is damaged"):
        store.measurements(TARGET)


def test_artefacts_of_a_run_have_names(store: SqlStore) -> None:
    one, two = (store.add_artefact(body, "text/plain") for body in (b"1", b"2"))
    store.name_artefact("run-1", "winner.onnx", one)
    store.name_artefact("run-1", "winner.onnx", one)
    store.name_artefact("run-1", "report.html", two)

    with pytest.raises(StoreError, match=r"another 'winner\.onnx' already"):
        store.name_artefact("run-1", "winner.onnx", two)
    with pytest.raises(UnknownNameError, match="no artefact"):
        store.name_artefact("run-1", "lost", "abc")
    with pytest.raises(UnknownNameError, match="unknown run"):
        store.name_artefact("run-2", "lost", one)
    assert store.run_artefacts("run-1") == {"report.html": two, "winner.onnx": one}


def test_the_latest_predictor_is_the_one_registered_last(store: SqlStore) -> None:
    old, new = (store.add_artefact(body, "application/x-npz") for body in (b"old", b"new"))

    store.add_predictor(TARGET, "toy", "ridge", old, {"rows": 3}, "2026-02-01T00:00:00Z")
    store.add_predictor(TARGET, "toy", "ridge", new, {"rows": 9}, NOW, reference="r1")
    store.add_predictor(TARGET, "big", "ridge", old, {}, NOW)

    assert store.latest_predictor(TARGET, "toy") == new
    assert store.latest_predictor(TARGET, "big") == old
    assert store.latest_predictor("nowhere", "toy") is None
    with pytest.raises(UnknownNameError, match="no artefact"):
        store.add_predictor(TARGET, "toy", "ridge", "abc", {}, NOW)


def test_an_sql_store_is_a_store() -> None:
    store: Store = SqlStore.in_memory()

    assert store.runs() == []
    store.close()
