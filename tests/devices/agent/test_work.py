"""Measuring what was asked for: what is wrong with one item, and what with all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from devices.agent.work import Work, measure
from devices.errors import DeviceError
from devices.local import Subject

if TYPE_CHECKING:
    from tests.devices.agent.conftest import Job

DEVICE = "second-device"


def work_of(job: Job) -> Work:
    return Work.from_json(
        {"target": job.target, "plan": job.plan, "alone": job.alone, "items": job.items}
    )


@pytest.mark.slow
def test_a_target_that_cannot_be_measured_fails_every_item_with_the_reason(
    make_job: Callable[..., Job], own_lock: Path
) -> None:
    work = work_of(make_job(2, target=f"{DEVICE}:ort-int8-t1"))

    outcomes = list(measure(work, DEVICE, owner="a test"))

    assert [item.position for item, _ in outcomes] == [0, 1]
    assert all("fp32 only" in outcome["failure"] for _, outcome in outcomes)


def test_a_clock_that_jumps_costs_the_item_in_flight_only(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def jumps(subjects: Sequence[Subject], *args: Any, **options: Any) -> Iterator[Any]:
        asked.append([subject.key for subject in subjects])
        for index, subject in enumerate(subjects):
            if subject.key == "small:1":
                msg = "samples must be positive"
                raise DeviceError(msg)
            yield index, "fine"

    monkeypatch.setattr("devices.agent.work.measure_locally", jumps)

    outcomes = list(measure(work_of(make_job(3)), DEVICE, owner="a test"))

    assert [(item.position, outcome["failure"]) for item, outcome in outcomes] == [
        (0, "fine"), (1, "samples must be positive"), (2, "fine")
    ]  # fmt: skip
    assert asked == [["small:0", "small:1", "small:2"], ["small:2"]]
