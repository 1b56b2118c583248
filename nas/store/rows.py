"""Between values and rows: what a measurement becomes when it is stored, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from devices.measurement import Measurement, Samples
from nas.errors import StoreError
from nas.trial import Estimate, StoredMeasurement
from search_spaces.errors import UsageError


def canonical_json(value: Mapping[str, Any]) -> str:
    """One text for equal JSON objects, whatever the order of their keys.

    Raises:
        ValueError: If a number is not finite; JSON has no word for it.

    Example:
        >>> canonical_json({"b": [1, None], "a": "x"})
        '{"a":"x","b":[1,null]}'
    """
    return json.dumps(dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_json(text: str, where: str) -> dict[str, Any]:
    """Read a stored JSON object; `where` says whose it is if it is damaged.

    Raises:
        StoreError: If the text is not JSON.
    """
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError) as error:
        msg = f"{where} is damaged ({error}); restore a copy of the database"
        raise StoreError(msg) from error


def digest_of(data: bytes | str) -> str:
    """SHA-256 in hexadecimal, of the UTF-8 bytes of a text."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def storable_text(text: str) -> str:
    """Text that every database takes: messages of failures may hold broken UTF-8 and NUL."""
    return text.encode(errors="replace").decode().replace("\0", "?")


def measurement_row(
    measurement: Measurement, environment: Mapping[str, Any], environment_digest: str
) -> tuple[dict[str, Any], Measurement]:
    """Columns of a measurement, its number left out, and the measurement they are read back as.

    Args:
        measurement: What was measured.
        environment: Its environment, having been through JSON.
        environment_digest: Digest of the row that holds it.

    Raises:
        UsageError: If samples are so short that they round to zero.
    """
    samples = measurement.samples.as_json()
    network = measurement.kind == "network"
    row = {
        "subject": measurement.subject,
        "space": measurement.subject.partition(":")[0] if network else None,
        "kind": measurement.kind,
        "digest": measurement.digest,
        "target": measurement.target,
        "reference": measurement.reference,
        "occasion": measurement.occasion,
        "samples": json.dumps(samples, separators=(",", ":")),
        "environment": environment_digest,
        "taken_at": measurement.taken_at,
    }
    rounded = Samples.from_json(samples)
    return row, replace(measurement, samples=rounded, environment=environment)


def read_measurement(
    row: Mapping[str, Any], environments: Mapping[str, Mapping[str, Any]]
) -> StoredMeasurement:
    """Read a row back.

    Args:
        row: Columns of `measurement_row` and `id`.
        environments: Environments by digest, each read once for all rows that share it.

    Raises:
        StoreError: If the row cannot have been written by `measurement_row`.
    """
    try:
        measurement = Measurement(
            subject=row["subject"],
            kind=row["kind"],
            digest=row["digest"],
            target=row["target"],
            samples=Samples.from_json(json.loads(row["samples"])),
            reference=row["reference"],
            occasion=row["occasion"],
            environment=environments[row["environment"]],
            taken_at=row["taken_at"],
        )
    except (KeyError, TypeError, ValueError, UsageError) as error:
        msg = f"measurement {row['id']} is damaged ({error}); restore a copy of the database"
        raise StoreError(msg) from error
    return StoredMeasurement(row["id"], measurement)


def estimate_row(estimate: Estimate) -> tuple[str, Estimate]:
    """JSON of an estimate, and the estimate it is read back as.

    Raises:
        UsageError: If a number is not finite, or the facts are no JSON values.
    """
    fields = {
        "metric": estimate.metric,
        "value": estimate.value,
        "std": estimate.std,
        "facts": dict(estimate.facts),
    }
    try:
        text = canonical_json(fields)
    except (TypeError, ValueError) as error:
        msg = f"an estimate of {estimate.metric} must be finite and its facts JSON values: {error}"
        raise UsageError(msg) from error
    return text, read_estimate(text, "an estimate")


def read_estimate(text: str, where: str) -> Estimate:
    """Read the JSON of an estimate back.

    Raises:
        StoreError: If it cannot have been written by `estimate_row`.
    """
    fields = read_json(text, where)
    try:
        return Estimate(**fields)
    except TypeError as error:
        msg = f"{where} is damaged ({error}); restore a copy of the database"
        raise StoreError(msg) from error
