"""Measurements: what was measured on a device, newest first. Only agents add any."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Query

from devices.quiet import quiet_time
from nas.api import problems
from nas.api.context import ContextDep
from nas.api.models import MeasuredRow, Measurements
from nas.api.paging import Cursor, Limit, number_in
from nas.places import find_place
from nas.trial import StoredMeasurement
from search_spaces import SPACES

router = APIRouter(tags=["measurements"])


@router.get(
    "/measurements", summary="Measured networks of a device",
    responses=problems.responses(422),
)  # fmt: skip
def list_measurements(
    context: ContextDep,
    device: Annotated[str, Query(max_length=200, description="Device or target.")] = "local",
    space: Annotated[str | None, Query(max_length=200, description="Of this space only.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Measurements:
    """Newest first; all in milliseconds by the present quiet time of the reference network."""
    store, before = context.service.store, number_in(cursor)
    place = find_place(store, space or SPACES.names()[0], device)
    rows = store.measurements(place.key, kind="network", space=space)
    older = [row for row in rows if before is None or row.id < before]
    page = older[::-1][:limit]
    quiet_ms = quiet_time([row.measurement for row in rows]).time_ms if page else 0.0
    return Measurements(
        measurements=[_row(row, quiet_ms) for row in page],
        next_cursor=str(page[-1].id) if len(older) > len(page) else None,
    )


def _row(row: StoredMeasurement, quiet_ms: float) -> MeasuredRow:
    taken, se = row.measurement, row.measurement.samples.ratio_se
    return MeasuredRow(
        id=row.id, architecture=taken.subject, kind="measured",
        latency_ms=taken.latency_ms(quiet_ms), ratio=taken.samples.ratio,
        error_percent=100.0 * se if math.isfinite(se) else None, wall_ms=taken.wall_ms,
        runs=len(taken.samples.clock_ms), target=taken.target, occasion=taken.occasion,
        taken_at=taken.taken_at,
    )  # fmt: skip
