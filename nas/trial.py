"""Values of a run: batches of numbered slots, each measured, estimated or failed.

A failing architecture is an outcome, not an exception (ADR 0006): it is stored like any other and
never sinks its batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from devices.measurement import Measurement

Stage = Literal["calibrate", "evaluate", "search", "verify"]
RunState = Literal[
    "running", "stopped", "failed", "infeasible", "predicted", "unverified", "verified"
]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a slot has no measurement."""

    reason: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric of one network that was computed, not timed: equal inputs give an equal value.

    Attributes:
        metric: Such as `accuracy`.
        value: In the metric's unit.
        std: Standard deviation of its error, such as that of a finite set of images.
        facts: How it was found (JSON values): data, number of images, whose weights.
    """

    metric: str
    value: float
    std: float
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredMeasurement:
    """A measurement and the number the store gave it; later measurements have larger numbers."""

    id: int
    measurement: Measurement


Outcome = StoredMeasurement | Estimate | Failure


@dataclass(frozen=True, slots=True)
class Batch:
    """Slots decided together; the next batch is decided when all of them have an outcome.

    Attributes:
        number: Position in the run, from 0.
        stage: What the batch is for.
        subjects: Architecture key of each slot.
        outcomes: What became of each slot; None while it is open.
    """

    number: int
    stage: Stage
    subjects: tuple[str, ...]
    outcomes: tuple[Outcome | None, ...]

    @property
    def open_slots(self) -> list[int]:
        """Slots still without an outcome."""
        return [slot for slot, outcome in enumerate(self.outcomes) if outcome is None]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as stored.

    Attributes:
        id: Unique name.
        request: The request as JSON text; with the stored outcomes it determines every decision.
        baseline_id: Measurements up to this number were there when the run started.
        state: `running` also while nobody works on it: resume it.
        result: JSON text of the result once there is one.
        created_at: ISO 8601 in UTC.
        finished_at: ISO 8601 in UTC, or None.
    """

    id: str
    request: str
    baseline_id: int
    state: RunState
    result: str | None
    created_at: str
    finished_at: str | None
