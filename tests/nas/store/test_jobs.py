from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event

from devices.measurement import Measurement, Samples
from nas.errors import StaleLeaseError
from nas.jobs import Agent, JobItem, Lease
from nas.store import SqlStore
from nas.trial import Failure, StoredMeasurement
from search_spaces.errors import UnknownNameError, UsageError

TARGET = "pi:ort-fp32-t1"
PLAN = {"warmup": 2, "relative_se": 0.01}


def at(seconds: float) -> str:
    return f"2026-01-02T03:{int(seconds) // 60:02}:{seconds % 60:09.6f}+00:00"


def agent(name: str = "a1", device: str = "pi", seen: float = 0.0) -> Agent:
    return Agent(name, device, {"cores": 4}, ("ort",), "0.2", at(seen))


def measured(position: int = 0, **changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "subject": f"toy:{position}",
        "kind": "network",
        "digest": f"d{position}",
        "target": TARGET,
        "samples": Samples((1.0, 1.1), (1.2, 1.3), (0.5, 0.5), (0.5, 0.6)),
        "reference": "r1",
        "occasion": "o1",
        "environment": {"load": 0.5},
        "taken_at": at(0),
    }
    return Measurement(**(fields | changes))


@pytest.fixture
def store() -> Iterator[SqlStore]:
    with SqlStore.in_memory() as opened:
        opened.add_agent(agent())
        yield opened


def add_job(store: SqlStore, count: int = 3, target: str = TARGET) -> int:
    graph = store.add_artefact(b"{}", "application/json")
    items = [JobItem(f"toy:{i}", "network", f"d{i}", graph) for i in range(count)]
    return store.add_job(target, PLAN, False, "run 1", items, at(0))


def claim(store: SqlStore, now: float = 0, name: str = "a1", token: str = "t1") -> Lease | None:
    return store.claim_job(name, at(now), at(now + 60), token)


def test_agents_come_back_as_they_said_hello_last(store: SqlStore) -> None:
    store.add_agent(agent("b", "phone", 1))
    store.add_agent(replace(agent(seen=5), facts={"cores": 8, "x": None}, runtimes=("ort", "trt")))

    first, second = store.agents()

    assert first == Agent("a1", "pi", {"cores": 8, "x": None}, ("ort", "trt"), "0.2", at(5))
    assert second == agent("b", "phone", 1)


def test_times_of_agents_are_kept_in_one_form(store: SqlStore) -> None:
    store.add_agent(replace(agent(), last_seen_at="2026-01-02T05:00:07+02:00"))

    assert store.agents()[0].last_seen_at == at(7)
    with pytest.raises(UsageError, match="no time in ISO 8601"):
        store.add_agent(replace(agent(), last_seen_at="yesterday"))


def test_a_job_comes_back_as_it_was_added(store: SqlStore) -> None:
    number = add_job(store)

    job = store.job(number)

    assert (job.id, job.target, job.plan, job.alone, job.owner) == (
        number, TARGET, PLAN, False, "run 1",
    )  # fmt: skip
    assert [item.subject for item in job.items] == ["toy:0", "toy:1", "toy:2"]
    assert store.artefact(job.items[0].graph) == b"{}"
    assert job.open_items == [0, 1, 2]
    assert (job.state, job.created_at) == ("open", at(0))


def test_what_a_job_needs_must_be_there(store: SqlStore) -> None:
    item = JobItem("toy:0", "network", "d0", "nothing")

    with pytest.raises(UnknownNameError, match="no artefact has the digest 'nothing'"):
        store.add_job(TARGET, PLAN, False, "me", [item], at(0))
    with pytest.raises(UsageError, match="is not a target"):
        store.add_job("no target", PLAN, False, "me", [], at(0))
    assert store.jobs() == []


def test_the_oldest_job_of_the_device_is_claimed_first(store: SqlStore) -> None:
    store.add_agent(agent("b1", "phone"))
    add_job(store, target="phone:ort-fp32-t1")
    first, second = add_job(store), add_job(store, target="pi:ort-fp32-t2")

    leases = [claim(store, token="t1"), claim(store, token="t2"), claim(store, token="t3")]

    assert [lease and lease.job.id for lease in leases] == [first, second, None]
    assert [lease and lease.token for lease in leases] == ["t1", "t2", None]
    assert leases[0]
    assert (leases[0].expires_at, leases[0].job.state) == (at(60), "leased")
    assert [job.id for job in store.jobs("pi")] == [first, second]
    assert [job.id for job in store.jobs("pi", owner="run 1")] == [first, second]
    assert store.jobs(owner="run 2") == []
    assert len(store.jobs()) == 3


def test_a_lease_ends_by_the_given_clock(store: SqlStore) -> None:
    number = add_job(store)
    claim(store)

    assert claim(store, 59.999999, token="t2") is None
    assert store.job(number, at(59)).state == "leased"
    assert store.job(number, at(60)).state == "open"
    again = claim(store, 60, token="t2")
    assert again
    assert again.job.id == number
    with pytest.raises(StaleLeaseError, match=rf"job {number} is leased to another claim"):
        store.add_job_outcome(number, "t1", 0, measured(), at(60))


def test_times_of_a_lease_compare_in_whatever_form_they_come(store: SqlStore) -> None:
    add_job(store)
    store.claim_job("a1", "2026-01-02T03:00:00Z", "2026-01-02T04:01:00+01:00", "t1")

    assert store.claim_job("a1", "2026-01-02T03:00:59.5Z", at(120), "t2") is None
    assert store.claim_job("a1", "2026-01-02T05:01:00+02:00", at(120), "t3") is not None


def test_a_heartbeat_keeps_the_lease(store: SqlStore) -> None:
    number = add_job(store)
    claim(store)
    store.extend_lease(number, "t1", at(50), at(110))

    assert claim(store, 100, token="t2") is None
    store.add_job_outcome(number, "t1", 0, Failure("x"), at(109))
    with pytest.raises(StaleLeaseError, match=r"was leased until \S+ only; claim again"):
        store.extend_lease(number, "t1", at(110), at(170))
    with pytest.raises(StaleLeaseError, match="is leased to another claim, or to none"):
        store.extend_lease(number, "other", at(100), at(170))
    assert store.agents()[0].last_seen_at == at(109)


def test_every_sign_of_life_renews_when_an_agent_was_seen(store: SqlStore) -> None:
    assert claim(store, 3) is None
    assert store.agents()[0].last_seen_at == at(3)

    claim(store, 2)
    assert store.agents()[0].last_seen_at == at(3), "a clock set back makes nobody younger"


def test_outcomes_fill_items_once(store: SqlStore) -> None:
    number = add_job(store)
    claim(store)

    first = store.add_job_outcome(number, "t1", 0, measured(), at(1))
    failed = store.add_job_outcome(number, "t1", 2, Failure("bad \udcff"), at(2))

    assert first == StoredMeasurement(1, measured())
    assert failed == Failure("bad ?")
    job = store.job(number)
    assert [item.outcome for item in job.items] == [first, None, failed]
    assert job.open_items == [1]
    for again in (measured(occasion="o2"), Failure("no")):
        assert store.add_job_outcome(number, "t1", 0, again, at(3)) == first
        assert store.add_job_outcome(number, "t1", 2, replace_position(again), at(3)) == failed
    assert store.measurements(TARGET) == [first]
    store.add_job_outcome(number, "t1", 1, measured(1), at(4))
    assert store.job(number).state == "done"
    assert claim(store, 1000) is None


def replace_position(outcome: Measurement | Failure) -> Measurement | Failure:
    return outcome if isinstance(outcome, Failure) else measured(2)


def test_what_is_sent_under_a_stale_lease_is_not_stored(store: SqlStore) -> None:
    number = add_job(store)
    with pytest.raises(StaleLeaseError, match="or to none; claim again"):
        store.add_job_outcome(number, "t1", 0, measured(), at(0))
    claim(store)
    for token, now in (("t1", 60), ("other", 1)):
        with pytest.raises(StaleLeaseError):
            store.add_job_outcome(number, token, 0, measured(), at(now))

    assert store.measurements(TARGET) == []
    assert store.job(number).open_items == [0, 1, 2]


def test_a_measurement_of_something_else_is_refused(store: SqlStore) -> None:
    number = add_job(store)
    claim(store)

    for wrong in (
        measured(1),
        measured(target="pi:ort-fp32-t2"),
        measured(digest="x"),
        measured(kind="block"),
    ):
        with pytest.raises(UsageError, match="cannot be the outcome of"):
            store.add_job_outcome(number, "t1", 0, wrong, at(1))
    assert store.measurements(TARGET) == []


def test_a_cancelled_job_is_nobodys(store: SqlStore) -> None:
    number = add_job(store)
    claim(store)
    done = store.add_job_outcome(number, "t1", 0, measured(), at(1))
    store.cancel_job(number)
    store.cancel_job(number)

    job = store.job(number)
    assert (job.state, job.items[0].outcome, job.open_items) == ("cancelled", done, [1, 2])
    assert claim(store, 100) is None
    with pytest.raises(StaleLeaseError, match=f"job {number} was cancelled"):
        store.add_job_outcome(number, "t1", 1, measured(1), at(2))
    with pytest.raises(StaleLeaseError, match="was cancelled"):
        store.extend_lease(number, "t1", at(2), at(62))


def test_what_does_not_exist_is_named(store: SqlStore) -> None:
    number = add_job(store)
    claim(store)

    with pytest.raises(UnknownNameError, match="unknown agent 'nobody'; it must say hello"):
        claim(store, name="nobody")
    with pytest.raises(UsageError, match=f"job {number} has no item 3; it has 3"):
        store.add_job_outcome(number, "t1", 3, Failure("x"), at(1))
    for call in (
        lambda: store.job(9),
        lambda: store.job_item(9, 0),
        lambda: store.cancel_job(9),
        lambda: store.extend_lease(9, "t1", at(1), at(2)),
        lambda: store.add_job_outcome(9, "t1", 0, Failure("x"), at(1)),
    ):
        with pytest.raises(UnknownNameError, match="there is no job 9"):
            call()


def test_an_item_is_found_with_its_target(store: SqlStore) -> None:
    number = add_job(store)

    target, item = store.job_item(number, 1)

    assert (target, item) == (TARGET, store.job(number).items[1])


def test_the_number_of_queries_does_not_grow_with_jobs(store: SqlStore) -> None:
    for count in (1, 5, 50):
        number = add_job(store, count)
        claim(store, token=f"t{count}")
        for position in range(count):
            outcome = measured(position, environment={"n": position})
            store.add_job_outcome(number, f"t{count}", position, outcome, at(1))
    statements: list[str] = []

    def spy(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", spy)
    try:
        jobs = store.jobs()
    finally:
        event.remove(Engine, "before_cursor_execute", spy)

    assert [job.state for job in jobs] == ["done"] * 3
    assert sum(statement.startswith("SELECT") for statement in statements) == 3


def test_a_claim_does_not_look_at_everything_ever_measured(store: SqlStore) -> None:
    plans: list[str] = []

    def spy(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT jobs.id"):
            raw = connection.connection.cursor()
            steps = raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(str(step[-1]) for step in steps)

    event.listen(Engine, "before_cursor_execute", spy)
    try:
        claim(store)
    finally:
        event.remove(Engine, "before_cursor_execute", spy)

    assert any("USING INDEX ix_job_items_measurement_id" in step for step in plans)
    assert not any(step.startswith("SCAN") for step in plans)


def test_measurements_are_added_once_however_often_they_come(store: SqlStore) -> None:
    ids = store.add_missing_measurements([measured(0), measured(1), measured(0)])
    more = store.add_missing_measurements([measured(1), measured(1, taken_at=at(1)), measured(2)])
    elsewhere = store.add_missing_measurements([measured(0, target="pi:ort-fp32-t2")])

    assert (ids, more, elsewhere) == ([1, 2], [3, 4], [5])
    assert store.add_missing_measurements([]) == []
    subjects = [row.measurement.subject for row in store.measurements(TARGET)]
    assert subjects == ["toy:0", "toy:1", "toy:1", "toy:2"]
