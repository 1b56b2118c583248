"""What agents send is read here and nowhere else: it may be anything, each field is checked.

Every refusal is a `UsageError` that names the field, and nothing of what is refused is stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from devices.device import Target
from devices.measurement import Measurement, Samples, SubjectKind
from devices.reference import reference_graph
from nas.times import uniform_time
from nas.trial import Failure
from search_spaces.errors import UsageError

# A measurement has at most 120 samples and about one kilobyte of environment.
_MOST_SAMPLES = 10_000
_LONGEST_MS = 1e9
_LARGEST_OBJECT = 64 * 1024
_LONGEST_TEXT = 200
_LONGEST_REASON = 2000

_NOT_DEVICES = ("local", "imported")


def read_outcome(
    outcome: Mapping[str, Any], *, subject: str, kind: SubjectKind, digest: str, target: str
) -> Measurement | Failure:
    """Read what became of one network or block.

    Args:
        outcome: `{"failure": reason}`, or `samples`, `reference`, `occasion`, `environment` and
            `taken_at`.
        subject: What was to be measured.
        kind: Whole network or block.
        digest: Digest of its layer graph.
        target: Key of the target.

    Raises:
        UsageError: If a field is missing or not what it should be; the message names it.
    """
    if not isinstance(outcome, Mapping):
        msg = f"outcome must be a JSON object, not {_shown(outcome)}"
        raise UsageError(msg)
    if "failure" in outcome:
        return Failure(_reason(outcome["failure"]))
    return Measurement(
        subject=subject,
        kind=kind,
        digest=digest,
        target=target,
        samples=_samples(outcome.get("samples")),
        reference=_reference(outcome.get("reference")),
        occasion=text_field(outcome, "occasion"),
        environment=object_field(outcome, "environment"),
        taken_at=_taken_at(outcome.get("taken_at")),
    )


def text_field(document: Mapping[str, Any], field: str) -> str:
    """A short printable text.

    Raises:
        UsageError: If it is missing or something else.
    """
    value = document.get(field)
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and value.isprintable():
        return value
    msg = (
        f"{field} must be a text of 1 to {_LONGEST_TEXT} printable characters, not {_shown(value)}"
    )
    raise UsageError(msg)


def texts_field(document: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """A list of short printable texts, at most a hundred.

    Raises:
        UsageError: If it is missing or something else.
    """
    value = document.get(field)
    if not isinstance(value, list | tuple) or len(value) > 100:
        msg = f"{field} must be a list of at most 100 texts, not {_shown(value)}"
        raise UsageError(msg)
    return tuple(text_field({f"{field}[{i}]": one}, f"{field}[{i}]") for i, one in enumerate(value))


def object_field(document: Mapping[str, Any], field: str) -> dict[str, Any]:
    """A JSON object of bounded size, as it comes back from JSON.

    Raises:
        UsageError: If it is missing, too large, or holds what JSON cannot.
    """
    value = document.get(field)
    if not isinstance(value, Mapping):
        msg = f"{field} must be a JSON object, not {_shown(value)}"
        raise UsageError(msg)
    try:
        text = json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"{field} must hold JSON values only: {error}"
        raise UsageError(msg) from error
    if len(text) > _LARGEST_OBJECT:
        msg = f"{field} has {len(text)} bytes of JSON; at most {_LARGEST_OBJECT} are allowed"
        raise UsageError(msg)
    return dict(json.loads(text))


def device_field(document: Mapping[str, Any], field: str) -> str:
    """The name of a device, as targets spell it.

    Raises:
        UsageError: If it cannot begin a target, or is a word with another meaning.
    """
    name = text_field(document, field)
    if ":" in name or name in _NOT_DEVICES or _parsed(name, field).device != name:
        msg = (
            f"{field} must be the name of a device in lower case, such as raspberry-pi-5, "
            f"not {_shown(name)}"
        )
        raise UsageError(msg)
    return name


def target_field(document: Mapping[str, Any], field: str) -> Target:
    """A target on a device with a name of its own.

    Raises:
        UsageError: If it is none, or not in the one spelling of its key.
    """
    text = text_field(document, field)
    target = _parsed(text, field)
    if target.key != text:
        msg = f"{field} must be the whole key of a target, such as {target.key}, not {_shown(text)}"
        raise UsageError(msg)
    device_field({field: target.device}, field)
    return target


def _parsed(text: str, field: str) -> Target:
    try:
        return Target.parse(text)
    except UsageError as error:
        msg = f"{field}: {error}"
        raise UsageError(msg) from error


def _reason(value: object) -> str:
    if isinstance(value, str) and value.strip():
        return value[:_LONGEST_REASON]
    msg = f"failure must be a text that says why, not {_shown(value)}"
    raise UsageError(msg)


def _samples(value: object) -> Samples:
    """The samples as the store rounds them, so that what is too short is refused here."""
    if not isinstance(value, Mapping):
        msg = f"samples must be a JSON object of columns, not {_shown(value)}"
        raise UsageError(msg)
    for name in Samples.__slots__:
        column = value.get(name)
        if not isinstance(column, list) or not 0 < len(column) <= _MOST_SAMPLES:
            msg = f"samples.{name} must be a list of 1 to {_MOST_SAMPLES} numbers"
            raise UsageError(msg)
        for number in column:
            # Comparisons are false for NaN.
            plain = isinstance(number, int | float) and not isinstance(number, bool)
            if not (plain and 0 < number <= _LONGEST_MS):
                msg = f"samples.{name} must hold positive milliseconds, not {_shown(number)}"
                raise UsageError(msg)
    try:
        return Samples.from_json(Samples.from_json(value).as_json())
    except UsageError as error:
        msg = f"samples: {error}"
        raise UsageError(msg) from error


def _reference(value: object) -> str:
    wanted = reference_graph().digest
    if value != wanted:
        msg = (
            f"reference must be {wanted}, the digest of the network that measurements are paired "
            f"with, not {_shown(value)}; use the same version on both machines"
        )
        raise UsageError(msg)
    return wanted


def _taken_at(value: object) -> str:
    if not isinstance(value, str):
        msg = f"taken_at must be an ISO 8601 time, not {_shown(value)}"
        raise UsageError(msg)
    try:
        return uniform_time(value)
    except UsageError as error:
        msg = f"taken_at: {error}"
        raise UsageError(msg) from error


def _shown(value: object) -> str:
    """A wrong value in few characters; None stands for a field that is not there."""
    if value is None:
        return "nothing"
    try:
        text = ascii(value)
    except (RecursionError, ValueError):
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
