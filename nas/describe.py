"""Stored values in the words of tables and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from devices.measurement import Measurement
from devices.quiet import quiet_time
from nas.knowledge import Knowledge
from nas.trial import Batch, Estimate, Failure, RunRecord, StoredMeasurement
from search_spaces.architecture import Architecture


def measured_rows(
    archs: Sequence[Architecture], outcomes: Sequence[Measurement | Failure], quiet_ms: float
) -> list[dict[str, Any]]:
    """One row for each network that was to be measured.

    Args:
        archs: The networks.
        outcomes: What became of each.
        quiet_ms: Quiet time of the reference [ms].
    """
    return [
        {
            "architecture": outcome.subject,
            "kind": "measured",
            "latency_ms": outcome.latency_ms(quiet_ms),
            "error_percent": 100.0 * outcome.samples.ratio_se,
            "wall_ms": outcome.wall_ms,
            "runs": len(outcome.samples.clock_ms),
            "target": outcome.target,
        }
        if isinstance(outcome, Measurement)
        else {"architecture": arch.key, "kind": "failed", "failure": outcome.reason}
        for arch, outcome in zip(archs, outcomes, strict=True)
    ]


def measurement_rows(rows: Sequence[StoredMeasurement]) -> list[dict[str, Any]]:
    """Stored measurements, each in milliseconds by the quiet time of all of them together."""
    quiet_ms = quiet_time([row.measurement for row in rows]).time_ms if rows else 0.0
    return [
        {
            "id": row.id,
            "architecture": row.measurement.subject,
            "kind": "measured",
            "latency_ms": row.measurement.latency_ms(quiet_ms),
            "error_percent": _percent(row.measurement.samples.ratio_se),
            "wall_ms": row.measurement.wall_ms,
            "runs": len(row.measurement.samples.clock_ms),
            "target": row.measurement.target,
            "occasion": row.measurement.occasion,
            "taken_at": row.measurement.taken_at,
            "environment": dict(row.measurement.environment),
        }
        for row in rows
    ]


def _percent(share: float) -> float | None:
    """None where nothing can be said: JSON has no word for infinity."""
    return 100.0 * share if math.isfinite(share) else None


def described_run(
    record: RunRecord, batches: Sequence[Batch], artefacts: Mapping[str, str]
) -> dict[str, Any]:
    """A run with all its slots."""
    measured = _measured(batches)
    quiet_ms = quiet_time(measured).time_ms if measured else 0.0
    return {
        "run": record.id,
        "state": record.state,
        "request": json.loads(record.request),
        "created_at": record.created_at,
        "finished_at": record.finished_at,
        "slots": [row for batch in batches for row in _slots(batch, quiet_ms)],
        "result": json.loads(record.result) if record.result else None,
        "artefacts": dict(artefacts),
    }


def _slots(batch: Batch, quiet_ms: float) -> list[dict[str, Any]]:
    rows = []
    for slot, (subject, outcome) in enumerate(zip(batch.subjects, batch.outcomes, strict=True)):
        row: dict[str, Any] = {
            "batch": batch.number, "stage": batch.stage, "slot": slot,
            "architecture": subject, "kind": "open",
        }  # fmt: skip
        if isinstance(outcome, StoredMeasurement):
            row |= {
                "kind": "measured",
                "latency_ms": outcome.measurement.latency_ms(quiet_ms),
                "wall_ms": outcome.measurement.wall_ms,
                "occasion": outcome.measurement.occasion,
            }
        elif isinstance(outcome, Estimate):
            row |= {"kind": "evaluated", outcome.metric: outcome.value, "std": outcome.std}
        elif isinstance(outcome, Failure):
            row |= {"kind": "failed", "failure": outcome.reason}
        rows.append(row)
    return rows


def quiet_change_percent(before: Knowledge, now: Knowledge) -> float | None:
    """Change of the reference's quiet time; None on a device not measured before."""
    if not before.networks:
        return None
    return 100.0 * (now.quiet_ms / before.quiet_ms - 1.0)


def stage_seconds(record: RunRecord, batches: Sequence[Batch]) -> dict[str, float]:
    """Seconds from the start of the run to the last measurement of each stage."""
    start = datetime.fromisoformat(record.created_at)
    ends: dict[str, float] = {}
    for batch in batches:
        for measurement in _measured([batch]):
            passed = (datetime.fromisoformat(measurement.taken_at) - start).total_seconds()
            ends[batch.stage] = max(ends.get(batch.stage, 0.0), passed)
    return ends


def _measured(batches: Sequence[Batch]) -> list[Measurement]:
    return [
        outcome.measurement
        for batch in batches
        for outcome in batch.outcomes
        if isinstance(outcome, StoredMeasurement)
    ]
