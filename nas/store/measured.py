"""Measurements in their two tables: each environment is kept once, under its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Text, bindparam, exists, insert, select

from devices.measurement import Measurement
from nas.store import schema
from nas.store.rows import canonical_json, digest_of, measurement_row, read_json
from nas.trial import StoredMeasurement


def insert_measurements(
    connection: Connection, measurements: Sequence[Measurement]
) -> list[StoredMeasurement]:
    """Append measurements.

    Returns:
        What a later load returns: numbers given, samples rounded as they are stored.

    Raises:
        UsageError: If samples are so short that they round to zero.
    """
    if not measurements:
        return []
    bodies = [canonical_json(measurement.environment) for measurement in measurements]
    digests = {body: digest_of(body) for body in bodies}
    environments = {body: json.loads(body) for body in digests}
    prepared = [
        measurement_row(measurement, environments[body], digests[body])
        for measurement, body in zip(measurements, bodies, strict=True)
    ]
    _insert_environments(connection, digests)
    table = schema.measurements
    ids = connection.execute(
        insert(table).returning(table.c.id, sort_by_parameter_order=True),
        [row for row, _ in prepared],
    ).scalars()
    return [
        StoredMeasurement(number, stored) for number, (_, stored) in zip(ids, prepared, strict=True)
    ]


def not_yet_stored(
    connection: Connection, measurements: Sequence[Measurement]
) -> list[Measurement]:
    """Measurements without those that are stored already, and each once.

    The same are those of one subject and target that one process took at one time.
    """
    columns = schema.measurements.c
    place = (columns.target, columns.subject, columns.occasion, columns.taken_at)
    targets = {measurement.target for measurement in measurements}
    rows = connection.execute(select(*place).where(columns.target.in_(targets)))
    known = {tuple(row) for row in rows}
    missing = []
    for one in measurements:
        key = (one.target, one.subject, one.occasion, one.taken_at)
        if key not in known:
            known.add(key)
            missing.append(one)
    return missing


def load_environments(connection: Connection, used: Select[Any]) -> dict[str, dict[str, Any]]:
    """Environments by digest, each read once; `used` selects their digests."""
    table = schema.environments
    rows = connection.execute(select(table).where(table.c.digest.in_(used)))
    return {row.digest: read_json(row.body, f"environment {row.digest}") for row in rows}


def _insert_environments(connection: Connection, digests: Mapping[str, str]) -> None:
    """Insert environments that are not there, given the digest of each body."""
    table = schema.environments
    digest, body = bindparam("new_digest", type_=Text), bindparam("new_body", type_=Text)
    missing = select(digest, body).where(~exists().where(table.c.digest == digest))
    connection.execute(
        insert(table).from_select(["digest", "body"], missing),
        [{"new_digest": value, "new_body": key} for key, value in digests.items()],
    )
