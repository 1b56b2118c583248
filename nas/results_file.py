"""The file that comes back from a machine without a network: read whole, or refused.

The first line tells target, device and facts; each other one is the outcome of a network or block.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from devices.device import Device, Target
from devices.measurement import Measurement, SubjectKind
from nas.outcomes import device_field, object_field, read_outcome, target_field, text_field
from nas.trial import Failure
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError

RESULTS, VERSION = "nas-results", 1

_LONGEST_LINE = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Results:
    """What a file of results says.

    Attributes:
        device: Where it was measured.
        outcomes: Of networks and blocks, in order.
        cut_off: The last line was not finished; the agent was stopped within it.
    """

    device: Device
    outcomes: tuple[Measurement | Failure, ...]
    cut_off: bool


def read_results(lines: Iterable[str]) -> Results:
    """Read a file of results.

    Raises:
        UsageError: If a line is not what it should be; the message has its number.
    """
    documents, cut_off = _documents(lines)
    target, facts = _header(documents)
    outcomes = tuple(_result(number, document, target) for number, document in documents)
    return Results(Device(target.device, facts), outcomes, cut_off)


def _documents(lines: Iterable[str]) -> tuple[Iterator[tuple[int, dict[str, Any]]], bool]:
    """JSON objects with the numbers of their lines, and whether the last line was cut off."""
    found: list[tuple[int, dict[str, Any]]] = []
    broken: tuple[int, str, bool] | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if broken:
            break
        try:
            if len(line) > _LONGEST_LINE:
                msg = f"longer than {_LONGEST_LINE} characters"
                raise ValueError(msg)
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            # Only the last line can have been cut off, and then it has no end of line.
            broken = number, str(error), line.endswith("\n")
            continue
        if not isinstance(document, dict):
            msg = f"line {number} is no JSON object"
            raise UsageError(msg)
        found.append((number, document))
    else:
        if broken is None or (not broken[2] and found):
            return iter(found), broken is not None
    number, why, _ = broken or (1, "empty", False)
    msg = f"line {number} is no JSON ({why}); a file of results has one JSON object a line"
    raise UsageError(msg)


def _header(documents: Iterator[tuple[int, dict[str, Any]]]) -> tuple[Target, dict[str, Any]]:
    """Target and facts of the device from the first line."""
    number, header = next(documents, (1, {}))
    if (header.get("format"), header.get("version")) != (RESULTS, VERSION):
        msg = (
            f"line {number} does not begin a file of results: its format must be {RESULTS!r} and "
            f"its version {VERSION}; give the file that the agent wrote"
        )
        raise UsageError(msg)
    try:
        target, device = target_field(header, "target"), device_field(header, "device")
        facts = object_field(header, "facts")
    except UsageError as error:
        msg = f"line {number}: {error}"
        raise UsageError(msg) from error
    if target.device != device:
        msg = f"line {number}: the target {target.key} is not on the device {device}"
        raise UsageError(msg)
    return target, facts


def _result(number: int, document: Mapping[str, Any], target: Target) -> Measurement | Failure:
    try:
        subject, digest = text_field(document, "subject"), text_field(document, "digest")
        kind = _kind(document, subject, digest)
        return read_outcome(document, subject=subject, kind=kind, digest=digest, target=target.key)
    except UsageError as error:
        msg = f"line {number}: {error}"
        raise UsageError(msg) from error


def _kind(document: Mapping[str, Any], subject: str, digest: str) -> SubjectKind:
    """Whole network or block, its digest being that of its layer graph."""
    kind = text_field(document, "kind")
    if kind == "network":
        arch = Architecture.parse(subject)
        wanted = SPACES.get(arch.space).graph(arch).digest
        if digest != wanted:
            msg = (
                f"digest of {subject} must be {wanted}, not {digest}; the pack was made by "
                "another version, make a new one"
            )
            raise UsageError(msg)
        return "network"
    if kind == "block":
        if subject != f"block:{digest[:16]}":
            msg = f"subject of a block must be block:{digest[:16]} by its digest, not {subject}"
            raise UsageError(msg)
        return "block"
    msg = f"kind must be network or block, not {kind!r}"
    raise UsageError(msg)
