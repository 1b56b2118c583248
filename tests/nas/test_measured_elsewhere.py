"""The agent's own code and ours, face to face: what one says the other understands."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices.agent.offline import run_pack
from devices.agent.work import Claim, measure
from devices.benchmark import Plan
from devices.device import Target
from devices.local import LOCAL, resolve
from nas.fleet import Fleet, ImportReport
from nas.store import SqlStore
from nas.trial import Failure, StoredMeasurement
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.moves import sample

pytestmark = pytest.mark.slow

SPACE = SPACES.get("nasbench201")
PLAN = Plan(warmup=1, min_rounds=3, max_rounds=3)
HERE = resolve(Target(LOCAL))


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet; the lock of a measurement that runs beside the tests is not ours to take."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with SqlStore.in_memory() as store:
        yield Fleet(store)


@pytest.fixture(scope="module")
def archs() -> list[Architecture]:
    return sample(SPACE, 2, np.random.default_rng(0)).architectures()


def test_an_agent_measures_a_job(fleet: Fleet, archs: list[Architecture]) -> None:
    fleet.hello("agent-1", HERE.device, {"cores": 2}, ["ort"], "0.2")
    unsupported = fleet.enqueue(SPACE, archs[:1], replace(HERE, precision="int3"), PLAN)
    number = fleet.enqueue(SPACE, archs, HERE, PLAN)

    while (lease := fleet.claim("agent-1")) is not None:
        claim = Claim.from_json(json.loads(json.dumps(fleet.offer(lease))))
        for item, outcome in measure(claim.work, HERE.device, owner="test"):
            fleet.heartbeat(claim.job_id, claim.token)
            wire = json.loads(json.dumps(outcome))
            fleet.finish(claim.job_id, claim.token, item.position, wire)

    done = fleet.wait(number, timeout_s=0.0)
    assert done.state == "done"
    stored = fleet.store.measurements(HERE.key, kind="network", space=SPACE.name)
    assert [item.outcome for item in done.items] == sorted(
        stored, key=lambda row: [i.subject for i in done.items].index(row.measurement.subject)
    )
    assert all(isinstance(item.outcome, StoredMeasurement) for item in done.items)
    [refused] = fleet.store.job(unsupported).items
    assert isinstance(refused.outcome, Failure)
    assert "int3" in refused.outcome.reason


def test_a_pack_is_measured_and_comes_home(
    fleet: Fleet, archs: list[Architecture], tmp_path: Path
) -> None:
    pack, results = tmp_path / "pack.json", tmp_path / "results.jsonl"
    pack.write_text(json.dumps(fleet.pack(SPACE, archs, HERE, PLAN)), encoding="utf-8")

    run_pack(pack, results)

    whole = results.read_text(encoding="utf-8")
    cut = whole[:-100]
    for text, report in (
        (cut, ImportReport(1, 0, 0, cut_off=True)),
        (whole, ImportReport(1, 1, 0)),
        (whole, ImportReport(0, 2, 0)),
    ):
        assert fleet.import_results(text.splitlines(keepends=True)) == report
    stored = fleet.store.measurements(HERE.key)
    assert {row.measurement.subject for row in stored} == {
        SPACE.canonical_arch(arch).key for arch in archs
    }
    assert [device.name for device in fleet.store.devices()] == [HERE.device]
