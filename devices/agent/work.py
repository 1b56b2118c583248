"""What an agent is asked to measure, read from JSON with every field checked, and the measuring.

The request comes from elsewhere, over the wire or in a file: only plain values are taken from it,
no path, and a layer graph that is not the one announced is answered with a failure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NoReturn, cast, get_args

from devices.benchmark import Plan
from devices.device import Target
from devices.errors import DeviceError, DeviceUnavailableError
from devices.local import Subject, measure_locally
from devices.measurement import Measurement, SubjectKind
from devices.model import encode
from devices.runtime import RUNTIMES
from devices.wire import Job
from search_spaces.errors import InvalidGraphError, NasError, UsageError
from search_spaces.graph_json import graph_from_json

Outcome = dict[str, Any]
"""As it travels: `{"failure": reason}`, or samples, reference, occasion, environment, taken_at."""

# Whoever measures on this host now may take long; the lease is kept meanwhile.
_LOCK_TIMEOUT_S = 3600.0
_MOST_ITEMS = 100_000
_MOST_ROUNDS = 100_000
_LONGEST_KEY = 300
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(frozen=True, slots=True)
class Item:
    """One network or block to measure.

    Attributes:
        position: In the job, as the server counts.
        subject: Architecture key, or `block:` and a digest.
        kind: Whole network or block.
        digest: What the digest of the layer graph must be.
        graph: The layer graph as JSON text.
    """

    position: int
    subject: str
    kind: SubjectKind
    digest: str
    graph: str


@dataclass(frozen=True, slots=True)
class Work:
    """Items to measure on one target.

    Attributes:
        target: Where; its device must be the agent's.
        plan: How long.
        alone: Each item in a process of its own, loaded first.
        items: In order.
    """

    target: Target
    plan: Plan
    alone: bool
    items: tuple[Item, ...]

    @classmethod
    def from_json(cls, data: object) -> Work:
        """Read the fields that claims and packs share.

        Raises:
            UsageError: If a field is missing or of a wrong form; it is named.
        """
        found = _object(data, "the job")
        entries = found.get("items")
        if not isinstance(entries, list) or len(entries) > _MOST_ITEMS:
            _fail("items", entries, f"a list of at most {_MOST_ITEMS}")
        return cls(
            target=Target.parse(_text(found, "target", _LONGEST_KEY)),
            plan=_plan(found.get("plan")),
            alone=_is_alone(found.get("alone")),
            items=tuple(_item(n, entry) for n, entry in enumerate(entries)),
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this agent holds under a lease.

    Attributes:
        job_id: The server's number of it.
        token: Secret of this claim.
        lease_s: How long it holds without a heartbeat [s].
        work: What is left to measure.
    """

    job_id: int
    token: str
    lease_s: float
    work: Work

    @classmethod
    def from_json(cls, data: object) -> Claim:
        """Read the answer to a claim.

        Raises:
            UsageError: If a field is missing or of a wrong form; it is named.
        """
        found = _object(data, "the claim")
        lease_s, token = found.get("lease_s"), found.get("token")
        if isinstance(lease_s, bool) or not isinstance(lease_s, int | float) or not lease_s >= 1:
            _fail("lease_s", lease_s, "a number of seconds of 1 or more")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            _fail("token", "…", "a text of at most 200 printable characters")
        job_id = _whole(found, "job_id", 2**63)
        return cls(job_id, token, float(lease_s), Work.from_json(data))


def failure(reason: str) -> Outcome:
    """The outcome of what could not be measured."""
    return {"failure": reason}


def measure(
    work: Work, device: str, *, owner: str, strict: bool = False,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[tuple[Item, Outcome]]:  # fmt: skip
    """Measure all items in child processes; each item gets one outcome, in any order.

    Args:
        work: What to measure.
        device: What this agent measures on; items for another device fail.
        owner: Who asks, for those who wait for the host's measuring lock.
        strict: Raise what stands in the way of all items, instead of failing each for it.
        on_wait: Called with the holder's name if another process is measuring on this host.

    Yields:
        (item, outcome) as each ends.

    Raises:
        DeviceUnavailableError: With `strict`, if the target cannot be measured here at all.
    """
    items: list[Item] = []
    subjects: list[Subject] = []
    for item in work.items:
        try:
            subjects.append(_subject(item, work.target, device))
            items.append(item)
        except NasError as error:
            yield item, failure(str(error))
    job = Job(work.target, work.plan, owner=owner, lock_timeout_s=_LOCK_TIMEOUT_S)
    numbers = list(range(len(items)))
    for part in [[n] for n in numbers] if work.alone else [numbers]:
        left = {n: (items[n], subjects[n]) for n in part}
        while left:
            try:
                yield from _one_process(left, job, on_wait)
            except DeviceUnavailableError as error:
                if strict:
                    raise
                yield from ((item, failure(str(error))) for item, _ in left.values())
                break
            except DeviceError as error:
                # Of the item in flight, such as samples from a clock that jumped.
                item, _ = left.pop(min(left))
                yield item, failure(str(error))


def _one_process(
    left: dict[int, tuple[Item, Subject]], job: Job, on_wait: Callable[[str], None] | None
) -> Iterator[tuple[Item, Outcome]]:
    """Measure what is left; what has an outcome is taken away from it."""
    numbers = list(left)
    outcomes = measure_locally([left[n][1] for n in numbers], job, on_wait=on_wait)
    # Closed at once when the agent stops or loses its lease: that ends the child process.
    with closing(cast("Any", outcomes)):
        for index, outcome in outcomes:
            item, _ = left.pop(numbers[index])
            yield item, _as_json(outcome)


def _as_json(outcome: Measurement | str) -> Outcome:
    if isinstance(outcome, str):
        return failure(outcome)
    return {
        "samples": outcome.samples.as_json(),
        "reference": outcome.reference,
        "occasion": outcome.occasion,
        "environment": dict(outcome.environment),
        "taken_at": outcome.taken_at,
    }


def _subject(item: Item, target: Target, device: str) -> Subject:
    """The item with the bytes that will be run.

    Raises:
        NasError: If it is for another device, its graph is damaged, or the runtime is unknown.
    """
    if target.device != device:
        msg = f"this agent measures on {device!r}, not on {target.device!r}"
        raise DeviceUnavailableError(msg)
    graph = graph_from_json(item.graph)
    if graph.digest != item.digest:
        msg = (
            f"the layer graph of {item.subject} has the digest {graph.digest[:12]}…, announced "
            f"was {item.digest[:12]}…; agent and server must run the same version"
        )
        raise InvalidGraphError(msg)
    runtime = RUNTIMES.get(target.runtime)
    model = partial(encode, graph, runtime, target.batch)
    return Subject(item.subject, item.kind, item.digest, model)


def _item(number: int, data: object) -> Item:
    where = f"items[{number}]"
    found = _object(data, where)
    kind = found.get("kind")
    if kind not in get_args(SubjectKind):
        _fail(f"{where}.kind", kind, f"one of {', '.join(get_args(SubjectKind))}")
    digest = found.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        _fail(f"{where}.digest", digest, "64 hexadecimal digits")
    graph = found.get("graph")
    if not isinstance(graph, str):
        _fail(f"{where}.graph", graph, "a layer graph as JSON text")
    position = _whole(found, "position", 2**31) if "position" in found else number
    return Item(
        position, _text(found, "subject", _LONGEST_KEY), cast("SubjectKind", kind), digest, graph
    )


def _plan(data: object) -> Plan:
    found = _object(data, "plan")
    known = {field.name for field in fields(Plan)}
    if not set(found) <= known:
        _fail("plan", sorted(found), f"an object with {', '.join(sorted(known))}")
    plan = Plan(**found)
    for name in ("warmup", "min_rounds", "max_rounds"):
        value = getattr(plan, name)
        least = 0 if name == "warmup" else 1
        if isinstance(value, bool) or not isinstance(value, int):
            _fail(f"plan.{name}", value, "a whole number")
        if not least <= value <= _MOST_ROUNDS:
            _fail(f"plan.{name}", value, f"from {least} to {_MOST_ROUNDS}")
    se: object = plan.relative_se
    if isinstance(se, bool) or not isinstance(se, int | float) or not se >= 0:
        _fail("plan.relative_se", se, "a number of 0 or more")
    return plan


def _is_alone(value: object) -> bool:
    if not isinstance(value, bool):
        _fail("alone", value, "true or false")
    return value


def _object(data: object, where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        _fail(where, data, "an object")
    return data


def _text(data: Mapping[str, Any], name: str, longest: int) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not value.isprintable():
        _fail(name, value, f"a text of 1 to {longest} printable characters")
    return value


def _whole(data: Mapping[str, Any], name: str, below: int) -> int:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
        _fail(name, value, "a whole number of 0 or more")
    return value


def _fail(name: str, value: object, wanted: str) -> NoReturn:
    shown = repr(value)
    msg = f"{name} is {shown if len(shown) <= 80 else shown[:77] + '…'}; it must be {wanted}"
    raise UsageError(msg)
