from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from devices.benchmark import NETWORK_PLAN, Plan
from devices.device import Device, Target
from devices.reference import reference_graph
from nas.errors import StaleLeaseError
from nas.fleet import LEASE_S, Fleet, Work
from nas.jobs import Lease
from nas.knowledge import Knowledge
from nas.store import SqlStore
from nas.trial import Failure, StoredMeasurement
from search_spaces.architecture import Architecture
from search_spaces.errors import InvalidArchitectureError, UnknownNameError, UsageError
from search_spaces.graph_json import graph_from_json
from search_spaces.moves import sample
from search_spaces.spaces.mobilenetv3 import SPACE

PI = Target("raspberry-pi-5")


@dataclass
class Clock:
    """A clock that moves when somebody sleeps."""

    time: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += timedelta(seconds=seconds)


def outcome(occasion: str = "o1", **changes: Any) -> dict[str, Any]:
    """What an agent sends of a network."""
    samples = {"clock_ms": [1.0, 1.1], "wall_ms": [1.2, 1.3],
               "before_ms": [0.5, 0.5], "after_ms": [0.5, 0.6]}  # fmt: skip
    fields: dict[str, Any] = {
        "samples": samples, "reference": reference_graph().digest, "occasion": occasion,
        "environment": {"load_1min": 0.5}, "taken_at": "2026-01-02T04:04:05+01:00",
    }  # fmt: skip
    return fields | changes


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fleet(clock: Clock) -> Iterator[Fleet]:
    """A fleet with one agent on a Raspberry Pi."""
    with SqlStore.in_memory() as store:
        opened = Fleet(store, clock, clock.sleep)
        opened.hello("agent-1", PI.device, {"cores": 4}, ["ort"], "0.2")
        yield opened


@pytest.fixture(scope="module")
def archs() -> list[Architecture]:
    return sample(SPACE, 3, np.random.default_rng(0)).architectures()


def claimed(fleet: Fleet) -> Lease:
    lease = fleet.claim("agent-1")
    assert lease
    return lease


# --- Agents ------------------------------------------------------------------------------------


def test_hello_registers_the_agent_and_its_device(fleet: Fleet, clock: Clock) -> None:
    clock.sleep(5)
    agent = fleet.hello("agent-1", PI.device, {"cores": 4, "ram": 8}, ("ort", "trt"), "0.3")

    assert fleet.store.agents() == [agent]
    assert agent.last_seen_at == "2026-01-02T03:04:10.000000+00:00"
    assert fleet.store.devices() == [Device(PI.device, {"cores": 4, "ram": 8})]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("agent_id", "", "agent_id must be a text of 1 to 200 printable characters"),
        ("agent_id", "a\0b", r"agent_id must be .* not 'a\\x00b'"),
        ("agent_id", 7, "agent_id must be"),
        ("device", "local", "device must be the name of a device"),
        ("device", "imported", "device must be the name of a device"),
        ("device", "Pi 5", "device: 'Pi 5' is not a target"),
        ("device", "PI", "device must be the name of a device in lower case"),
        ("device", "pi:ort-fp32-t1", "device must be the name of a device"),
        ("facts", [1], "facts must be a JSON object"),
        ("facts", {"x": float("nan")}, "facts must hold JSON values only"),
        ("facts", {"x": object()}, "facts must hold JSON values only"),
        ("facts", {"x": "y" * 70_000}, "facts has .* bytes of JSON; at most 65536"),
        ("runtimes", "ort", "runtimes must be a list"),
        ("runtimes", ["ort", 1], r"runtimes\[1\] must be a text"),
        ("version", None, "version must be a text .* not nothing"),
    ],
)
def test_a_wrong_hello_is_refused_and_nothing_stored(
    fleet: Fleet, field: str, value: Any, words: str
) -> None:
    before = fleet.store.agents(), fleet.store.devices()
    fields: dict[str, Any] = {
        "agent_id": "agent-2", "device": "phone", "facts": {}, "runtimes": [], "version": "1"
    }  # fmt: skip

    with pytest.raises(UsageError, match=words):
        fleet.hello(**(fields | {field: value}))

    assert (fleet.store.agents(), fleet.store.devices()) == before


def test_an_agent_is_alive_for_as_long_as_it_is_heard(fleet: Fleet, clock: Clock) -> None:
    clock.sleep(90)
    assert fleet.alive(PI.device)
    assert not fleet.alive("phone")
    clock.sleep(1)
    assert not fleet.alive(PI.device)
    assert fleet.alive(PI.device, within_s=100)

    assert fleet.claim("agent-1") is None

    assert fleet.alive(PI.device)


# --- Jobs --------------------------------------------------------------------------------------


def test_what_is_offered_is_what_was_enqueued(fleet: Fleet, archs: list[Architecture]) -> None:
    number = fleet.enqueue(SPACE, archs, PI, NETWORK_PLAN, owner="run 1")

    lease = claimed(fleet)
    offer = fleet.offer(lease)

    assert json.loads(json.dumps(offer)) == offer
    assert (offer["job_id"], offer["token"], offer["lease_s"]) == (number, lease.token, LEASE_S)
    assert (offer["target"], offer["alone"]) == (PI.key, False)
    assert Plan(**offer["plan"]) == NETWORK_PLAN
    assert [item["position"] for item in offer["items"]] == [0, 1, 2]
    for item, arch in zip(offer["items"], archs, strict=True):
        graph = graph_from_json(item["graph"])
        assert item["subject"] == SPACE.canonical_arch(arch).key
        assert item["digest"] == graph.digest == SPACE.graph(arch).digest


def test_only_open_items_are_offered_again(
    fleet: Fleet, clock: Clock, archs: list[Architecture]
) -> None:
    fleet.enqueue(SPACE, archs, PI, NETWORK_PLAN)
    first = claimed(fleet)
    fleet.finish(first.job.id, first.token, 1, outcome())
    clock.sleep(LEASE_S)

    again = claimed(fleet)

    assert again.token != first.token
    assert [item["position"] for item in fleet.offer(again)["items"]] == [0, 2]


def test_a_heartbeat_keeps_a_job(fleet: Fleet, clock: Clock, archs: list[Architecture]) -> None:
    fleet.enqueue(SPACE, archs, PI, NETWORK_PLAN)
    lease = claimed(fleet)
    for _ in range(3):
        clock.sleep(LEASE_S - 1)
        fleet.heartbeat(lease.job.id, lease.token)
        assert fleet.claim("agent-1") is None
    clock.sleep(LEASE_S)

    with pytest.raises(StaleLeaseError):
        fleet.heartbeat(lease.job.id, lease.token)
    with pytest.raises(StaleLeaseError):
        fleet.finish(lease.job.id, lease.token, 0, outcome())
    assert fleet.store.measurements(PI.key) == []


def test_what_agents_measure_is_known_like_any_other(
    fleet: Fleet, archs: list[Architecture]
) -> None:
    number = fleet.enqueue(SPACE, archs, PI, NETWORK_PLAN)
    lease = claimed(fleet)
    for position in range(2):
        fleet.finish(number, lease.token, position, outcome())
    fleet.finish(number, lease.token, 2, {"failure": "too large"})
    fleet.finish(number, lease.token, 0, outcome("o2"))

    job = fleet.store.job(number)
    rows = fleet.store.measurements(PI.key, kind="network", space="mobilenetv3",
                                    reference=reference_graph().digest)  # fmt: skip
    assert job.state == "done"
    assert [item.outcome for item in job.items] == [*rows, Failure("too large")]
    assert all(isinstance(row, StoredMeasurement) for row in rows)
    first = rows[0].measurement
    assert (first.subject, first.occasion) == (SPACE.canonical_arch(archs[0]).key, "o1")
    assert first.taken_at == "2026-01-02T03:04:05.000000+00:00"
    known = Knowledge(SPACE, PI.key, {}, [row.measurement for row in rows])
    assert known.latency_ms == pytest.approx(known.quiet_ms * first.samples.ratio)


def test_blocks_may_be_measured_as_well(fleet: Fleet) -> None:
    graph = SPACE.block(1).graph()
    subject = f"block:{graph.digest[:16]}"
    number = fleet.enqueue_work([Work(subject, "block", graph)], PI, NETWORK_PLAN, alone=True)
    lease = claimed(fleet)
    fleet.finish(number, lease.token, 0, outcome())

    [row] = fleet.store.measurements(PI.key, kind="block")
    assert lease.job.alone
    assert (row.measurement.subject, row.measurement.digest) == (subject, graph.digest)


def test_what_cannot_be_measured_elsewhere_is_refused(
    fleet: Fleet, archs: list[Architecture]
) -> None:
    with pytest.raises(UsageError, match=r"target must be the name of a device .* not 'local'"):
        fleet.enqueue(SPACE, archs, Target("local"), NETWORK_PLAN)
    with pytest.raises(UsageError, match="nothing to measure"):
        fleet.enqueue(SPACE, [], PI, NETWORK_PLAN)
    with pytest.raises(InvalidArchitectureError):
        fleet.enqueue(SPACE, [*archs, Architecture("mobilenetv3", (0,))], PI, NETWORK_PLAN)
    with pytest.raises(UnknownNameError, match="unknown agent"):
        fleet.claim("nobody")
    assert fleet.store.jobs() == []


def test_one_waits_until_the_job_is_done(
    fleet: Fleet, clock: Clock, archs: list[Architecture]
) -> None:
    number = fleet.enqueue(SPACE, archs, PI, NETWORK_PLAN)
    lease = claimed(fleet)
    told: list[tuple[int, int]] = []

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        fleet.finish(number, lease.token, len(told) - 1, outcome())

    waiting = replace(fleet, sleep=sleep)
    job = waiting.wait(number, 30.0, on_progress=lambda *counts: told.append(counts))

    assert job.state == "done"
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_one_does_not_wait_for_ever(fleet: Fleet, clock: Clock, archs: list[Architecture]) -> None:
    number = fleet.enqueue(SPACE, archs, PI, NETWORK_PLAN)
    claimed(fleet)
    start = clock.time

    late = fleet.wait(number, 5.2, poll_s=2.0)

    assert (late.state, late.open_items) == ("leased", [0, 1, 2])
    assert (clock.time - start).total_seconds() == pytest.approx(5.2)
    fleet.store.cancel_job(number)
    assert fleet.wait(number, 5.0).state == "cancelled"
    with pytest.raises(UnknownNameError, match="no job 9"):
        fleet.wait(9, 1.0)


# --- Files -------------------------------------------------------------------------------------


def results(pack: dict[str, Any], **header: Any) -> list[str]:
    """What an agent makes of a pack: the last network fails."""
    first = {"format": "nas-results", "version": 1, "target": pack["target"],
             "device": PI.device, "facts": {"cores": 4}}  # fmt: skip
    lines = [first | header]
    for item in pack["items"]:
        last = item is pack["items"][-1]
        place = {name: item[name] for name in ("subject", "kind", "digest")}
        lines.append(place | ({"failure": "too large"} if last else outcome()))
    return [json.dumps(line) + "\n" for line in lines]


def test_a_pack_says_what_a_claim_would(fleet: Fleet, archs: list[Architecture]) -> None:
    fleet.enqueue(SPACE, archs, PI, NETWORK_PLAN, alone=True)
    offer = fleet.offer(claimed(fleet))

    pack = fleet.pack(SPACE, archs, PI, NETWORK_PLAN, alone=True)

    assert json.loads(json.dumps(pack)) == pack
    assert (pack["format"], pack["version"]) == ("nas-pack", 1)
    for name in ("target", "plan", "alone", "items"):
        assert pack[name] == offer[name]
    assert pack["plan"] == asdict(NETWORK_PLAN)
    with pytest.raises(UsageError, match="not 'local'"):
        fleet.pack(SPACE, archs, Target("local"), NETWORK_PLAN)


def test_results_are_stored_once_however_often_they_are_imported(
    fleet: Fleet, archs: list[Architecture]
) -> None:
    lines = results(fleet.pack(SPACE, archs, PI, NETWORK_PLAN), facts={"cores": 8})

    reports = [fleet.import_results(lines) for _ in range(2)]

    assert [(r.added, r.repeated, r.failed, r.cut_off) for r in reports] == [
        (2, 0, 1, False), (0, 2, 1, False),
    ]  # fmt: skip
    assert len(fleet.store.measurements(PI.key)) == 2
    assert fleet.store.devices() == [Device(PI.device, {"cores": 8})]


def test_what_came_by_network_is_not_stored_again_from_a_file(
    fleet: Fleet, archs: list[Architecture]
) -> None:
    number = fleet.enqueue(SPACE, archs, PI, NETWORK_PLAN)
    fleet.finish(number, claimed(fleet).token, 0, outcome())

    report = fleet.import_results(results(fleet.pack(SPACE, archs, PI, NETWORK_PLAN)))

    assert (report.added, report.repeated) == (1, 1)


def test_results_end_where_the_agent_was_killed(fleet: Fleet, archs: list[Architecture]) -> None:
    lines = results(fleet.pack(SPACE, archs, PI, NETWORK_PLAN))
    cut = [*lines[:2], lines[2][:40], "\n", " "][:3]

    first, whole = fleet.import_results(cut), fleet.import_results(lines)

    assert (first.added, first.cut_off) == (1, True)
    assert (whole.added, whole.repeated, whole.cut_off) == (1, 1, False)


def _broken(line: int, **changes: Any) -> Any:
    def change(lines: list[str]) -> list[str]:
        document = json.loads(lines[line]) | changes
        kept = {name: value for name, value in document.items() if value is not None}
        return [*lines[:line], json.dumps(kept) + "\n", *lines[line + 1 :]]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [], r"line 1 .*format must be 'nas-results'"),
        (lambda lines: lines[1:], "line 1 .*format must be 'nas-results'"),
        (lambda lines: ["garbage"], "line 1 is no JSON"),
        (lambda lines: [*lines[:2], "{garbage\n", *lines[2:]], "line 3 is no JSON"),
        (lambda lines: [*lines, "{garbage\n"], "line 5 is no JSON"),
        (lambda lines: [*lines, "[1]\n"], "line 5 is no JSON object"),
        (lambda lines: [*lines, "[" * 100_000 + "\n"], "line 5 is no JSON"),
        (_broken(0, version=2), "line 1 .* version 1"),
        (_broken(0, target="local:ort-fp32-t1"), "line 1: target must be the name of a device"),
        (_broken(0, target=PI.device), "line 1: target must be the whole key of a target"),
        (_broken(0, device="phone"), "line 1: the target .* is not on the device phone"),
        (_broken(0, facts=None), "line 1: facts must be a JSON object, not nothing"),
        (_broken(1, subject="toy:000"), "line 2: unknown search space 'toy'"),
        (_broken(1, subject="mobilenetv3:0"), "line 2: mobilenetv3 has 46 genes"),
        (_broken(1, digest="abc"), "line 2: digest of mobilenetv3:.* not abc; the pack was made"),
        (_broken(1, kind="layer"), "line 2: kind must be network or block, not 'layer'"),
        (_broken(1, kind="block"), "line 2: subject of a block must be block:"),
        (_broken(2, reference="r"), "line 3: reference must be"),
        (_broken(2, taken_at="2026-01-02"), "line 3: taken_at"),
    ],
)
def test_wrong_results_are_refused_and_nothing_stored(
    fleet: Fleet, archs: list[Architecture], change: Any, words: str
) -> None:
    lines = results(fleet.pack(SPACE, archs, PI, NETWORK_PLAN))
    devices = fleet.store.devices()

    with pytest.raises(UsageError, match=words):
        fleet.import_results(change(lines))

    assert fleet.store.measurements(PI.key) == []
    assert fleet.store.devices() == devices
