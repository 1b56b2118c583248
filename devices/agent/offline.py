"""Packs: measure where there is no network, and carry the results home in a file.

A pack is one JSON document, its results are JSON lines: a header, then one line an item, on the
disk before the next item begins. After a kill the same command goes on where the file ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from devices.agent.identity import measured_device
from devices.agent.work import Item, Work, measure
from devices.device import Device
from devices.errors import DeviceUnavailableError, InvalidPackError
from devices.measurement import Samples
from devices.runtime import RUNTIMES
from search_spaces.errors import UsageError

PACK, RESULTS, VERSION = "nas-pack", "nas-results", 1

# Ten thousand of the largest networks.
_LARGEST_PACK = 512 * 2**20

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class PackTally:
    """What came of a pack.

    Attributes:
        total: Items in it.
        before: Items whose outcome was in the file already.
        measured: Measurements added.
        failed: Failures added.
    """

    total: int
    before: int
    measured: int
    failed: int


@dataclass(frozen=True, slots=True)
class Results:
    """A file of results.

    Attributes:
        header: Its first line.
        lines: The others: `subject`, `kind`, `digest`, and the outcome.
        whole_bytes: Length of the part that is whole; a kill may leave half a line after it.
    """

    header: Mapping[str, Any]
    lines: tuple[Mapping[str, Any], ...]
    whole_bytes: int


def read_pack(data: bytes) -> Work:
    """Read a pack.

    Raises:
        InvalidPackError: If it is damaged, of another version, or no pack at all.
    """
    document = _parsed(data, "the pack")
    _check_format(document, PACK, "the pack")
    try:
        return Work.from_json(document)
    except UsageError as error:
        msg = f"the pack is damaged: {error}; make it again with `nas profile pack`"
        raise InvalidPackError(msg) from error


def read_results(data: bytes) -> Results:
    """Read a file of results; half a line at the end is left out.

    Raises:
        InvalidPackError: If a whole line is no result.
    """
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].splitlines()
    if not lines:
        return Results({}, (), 0)
    header = _parsed(lines[0], "line 1 of the results")
    _check_format(header, RESULTS, "the file of results")
    found = []
    for number, line in enumerate(lines[1:], start=2):
        where = f"line {number} of the results"
        entry = _parsed(line, where)
        if not all(isinstance(entry.get(name), str) for name in ("subject", "kind", "digest")):
            msg = f"{where} lacks subject, kind or digest; the file was altered"
            raise InvalidPackError(msg)
        if "failure" not in entry:
            try:
                Samples.from_json(entry.get("samples", {}))
            except (UsageError, AttributeError) as error:
                msg = f"{where}: {error}; the file was altered"
                raise InvalidPackError(msg) from error
        found.append(entry)
    return Results(header, tuple(found), whole)


def run_pack(
    pack: Path, output: Path, *, name: str | None = None,
    on_step: Callable[[int, int, str], None] = lambda done, total, text: None,
    on_wait: Callable[[str], None] | None = None,
) -> PackTally:  # fmt: skip
    """Measure what a pack asks for and is not in the results yet.

    Args:
        pack: The pack.
        output: The results; made, or gone on with.
        name: Call this device so; else its own name must be that of the pack.
        on_step: Called with (done, total, what happened) after each item.
        on_wait: Called with the holder's name if another process is measuring on this host.

    Raises:
        InvalidPackError: If the pack is damaged, or the results are of another one.
        DeviceUnavailableError: If the pack is for another device, or its target cannot be measured
            here; nothing is written then, and the same command goes on when it can.
    """
    data = _bytes(pack)
    work = read_pack(data)
    device = _device(work, name)
    header = {
        "format": RESULTS, "version": VERSION, "target": work.target.key, "device": device.name,
        "facts": dict(device.facts), "pack": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    with _opened(output) as file:
        results = read_results(file.read())
        _check_same(results.header, header, output)
        file.truncate(results.whole_bytes)
        file.seek(results.whole_bytes)
        if not results.header:
            _append(file, header)
        missing = _missing(work, results)
        done = before = len(work.items) - len(missing)
        measured = failed = 0
        outcomes = measure(
            replace(work, items=missing),
            device.name,
            owner=f"pack {pack.name}",
            strict=True,
            on_wait=on_wait,
        )
        # Closing the generator ends the child process that measures.
        with closing(cast("Any", outcomes)):
            for item, outcome in outcomes:
                _append(
                    file,
                    {"subject": item.subject, "kind": item.kind, "digest": item.digest, **outcome},
                )
                done += 1
                failed += "failure" in outcome
                measured += "failure" not in outcome
                on_step(done, len(work.items), f"{item.subject}: {outcome.get('failure', 'ok')}")
    return PackTally(len(work.items), before, measured, failed)


def _device(work: Work, name: str | None) -> Device:
    """What the runtime of the pack measures on here, if it is the device of the pack."""
    place = RUNTIMES.get(work.target.runtime).runs_on
    device = measured_device(name, accelerator=place == "accelerator")
    if device.name == work.target.device:
        return device
    msg = (
        f"the pack is for {work.target.device!r}, this machine is {device.name!r}; "
        f"if it is that device, say so with --name {work.target.device}"
    )
    raise DeviceUnavailableError(msg)


def _missing(work: Work, results: Results) -> tuple[Item, ...]:
    """Items without a line; what a pack holds twice needs two lines."""
    there: Counter[Key] = Counter(
        (str(line["subject"]), str(line["kind"]), str(line["digest"])) for line in results.lines
    )
    missing = []
    for item in work.items:
        key = (item.subject, item.kind, item.digest)
        if there[key]:
            there[key] -= 1
        else:
            missing.append(item)
    return tuple(missing)


def _check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], output: Path) -> None:
    for field in ("target", "device", "pack"):
        if found and found.get(field) != wanted[field]:
            msg = (
                f"{output} holds results of the {field} {found.get(field)!r}, not of "
                f"{wanted[field]!r}; give another file for this pack"
            )
            raise InvalidPackError(msg)


@contextmanager
def _opened(output: Path) -> Iterator[IO[bytes]]:
    """The results for one process at a time, to be read and appended to."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(output, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        msg = f"cannot write the results to {output}: {error.strerror}"
        raise InvalidPackError(msg) from error
    with os.fdopen(handle, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"another process is writing {output}; wait for it or stop it"
            raise DeviceUnavailableError(msg) from error
        yield file


def _append(file: IO[bytes], content: Mapping[str, Any]) -> None:
    file.write(json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _bytes(pack: Path) -> bytes:
    try:
        if pack.stat().st_size > _LARGEST_PACK:
            msg = f"{pack} is larger than {_LARGEST_PACK} bytes; no pack is"
            raise InvalidPackError(msg)
        return pack.read_bytes()
    except OSError as error:
        msg = f"cannot read the pack {pack}: {error.strerror}"
        raise InvalidPackError(msg) from error


def _parsed(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = f"{what} is no JSON: {error}"
        raise InvalidPackError(msg) from error
    if not isinstance(found, dict):
        msg = f"{what} is no JSON object"
        raise InvalidPackError(msg)
    return found


def _check_format(found: Mapping[str, Any], wanted: str, what: str) -> None:
    if found.get("format") != wanted:
        msg = f"{what} has the format {found.get('format')!r}, not {wanted!r}"
        raise InvalidPackError(msg)
    if found.get("version") != VERSION:
        msg = f"{what} has version {found.get('version')!r}; this program reads {VERSION}"
        raise InvalidPackError(msg)
