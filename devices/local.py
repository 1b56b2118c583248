"""Measuring on this machine, in child processes: nothing a model does can hurt the caller."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

from devices.device import Device, Target
from devices.environment import accelerator_device, local_device
from devices.errors import DeviceError, DeviceUnavailableError
from devices.measurement import Measurement, Samples, SubjectKind
from devices.runtime import RUNTIMES
from devices.wire import Job, write_model
from search_spaces.errors import UsageError

logger = logging.getLogger(__name__)

LOCAL = "local"

# A model that takes longer than this for one group hangs. The slowest phone-sized network under
# a heavy load takes a few seconds.
GROUP_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to measure.

    Attributes:
        key: Architecture key, or `block:` and a digest.
        kind: Whole network or block.
        digest: Digest of its layer graph.
        model: Builds its bytes, in the form that the runtime reads, when they are needed.
    """

    key: str
    kind: SubjectKind
    digest: str
    model: Callable[[], bytes]


def device_of(runtime: str) -> Device:
    """What a runtime measures on here: this machine, or its accelerator.

    Raises:
        UnknownNameError: If there is no such runtime.
        DeviceUnavailableError: If it needs an accelerator and this machine shows none.
    """
    if RUNTIMES.get(runtime).runs_on == "processor":
        return local_device()
    found = accelerator_device()
    if found is None:
        msg = (
            f"runtime {runtime!r} needs an NVIDIA accelerator and this machine shows none; "
            "check that nvidia-smi lists one"
        )
        raise DeviceUnavailableError(msg)
    return found


def resolve(target: Target) -> Target:
    """Replace `local` by the own name of what the runtime measures on; that name is accepted too.

    Raises:
        UnknownNameError: If there is no such runtime.
        DeviceUnavailableError: If the device is another one; it cannot be measured from here.
    """
    here = device_of(target.runtime).name
    if target.device not in (LOCAL, here):
        msg = (
            f"device {target.device!r} is not within reach; this machine is {here!r}, "
            "or simply 'local'"
        )
        raise DeviceUnavailableError(msg)
    return replace(target, device=here)


def measure_locally(
    subjects: Sequence[Subject],
    job: Job,
    *,
    on_wait: Callable[[str], None] | None = None,
    group_timeout_s: float = GROUP_TIMEOUT_S,
) -> Iterator[tuple[int, Measurement | str]]:
    """Measure subjects in one fresh process, yielding each outcome as it ends.

    If the process dies or hangs, the subjects of the group in flight get a reason instead of a
    measurement, and the rest is measured in another process.

    Args:
        subjects: What to measure.
        job: Target, plan, group, owner; `count` is filled in.
        on_wait: Called with the holder's name if another process is measuring on this host.
        group_timeout_s: How long one group may take before the process is killed.

    Yields:
        (index of the subject, measurement or the reason why there is none); each index once.

    Raises:
        DeviceError: If the process cannot start to measure at all.
    """
    left = list(range(len(subjects)))
    while left:
        models = [subjects[index].model for index in left]
        failed_early = True
        answered: set[int] = set()
        reason = ""
        for position, outcome in _one_process(
            models, replace(job, count=len(left)), on_wait, group_timeout_s
        ):
            if position is None:
                reason = str(outcome)
                break
            failed_early = False
            index = left[position]
            answered.add(index)
            if isinstance(outcome, str):
                yield index, outcome
            else:
                yield index, _measurement(subjects[index], job.target, outcome)
        left = [index for index in left if index not in answered]
        if left and reason.startswith("refused: "):
            raise DeviceUnavailableError(reason.removeprefix("refused: "))
        if left and (reason or failed_early):
            for index in left[: job.group]:
                yield index, reason or "the measuring process ended without an answer"
            left = left[job.group :]


def _measurement(subject: Subject, target: Target, event: dict[str, Any]) -> Measurement:
    try:
        samples = Samples.from_json(event["samples"])
    except UsageError as error:
        msg = f"{subject.key}: {error}"
        raise DeviceError(msg) from error
    return Measurement(
        subject=subject.key, kind=subject.kind, digest=subject.digest, target=target.key,
        samples=samples, reference=event["reference"], occasion=event["occasion"],
        environment=event["environment"], taken_at=event["taken_at"],
    )  # fmt: skip


def _one_process(
    models: Sequence[Callable[[], bytes]], job: Job,
    on_wait: Callable[[str], None] | None, group_timeout_s: float,
) -> Iterator[tuple[int | None, Any]]:  # fmt: skip
    """Events of one worker as (index, event or reason); index None says how the process failed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "devices.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin  # pipes were asked for
    assert process.stdout
    assert process.stderr
    lines: queue.Queue[bytes | None] = queue.Queue()
    errors: list[bytes] = []
    unbuilt: dict[int, str] = {}
    threading.Thread(target=_drain, args=(process.stdout, lines.put), daemon=True).start()
    stderr = threading.Thread(target=_drain, args=(process.stderr, errors.append), daemon=True)
    stderr.start()
    waiting = False
    try:
        threading.Thread(
            target=_feed, args=(process.stdin, job, models, unbuilt), daemon=True
        ).start()
        deadline = time.monotonic() + group_timeout_s
        while True:
            timeout = job.lock_timeout_s + 30.0 if waiting else deadline - time.monotonic()
            try:
                line = lines.get(timeout=max(timeout, 0.0))
            except queue.Empty:
                yield None, f"no answer within {group_timeout_s:.0f} s; killed"
                return
            if line is None:
                process.wait()
                stderr.join(timeout=1.0)
                last = b"".join(e for e in errors if e).decode(errors="replace").strip()
                tail = last.splitlines()[-1] if last else "no message"
                yield None, f"the measuring process ended with {process.returncode}: {tail}"
                return
            event = json.loads(line)
            waiting = event["event"] == "waiting"
            deadline = time.monotonic() + group_timeout_s
            match event["event"]:
                case "waiting":
                    if on_wait:
                        on_wait(event["holder"])
                case "measured":
                    yield event["index"], event
                case "failed" if event["index"] is None:
                    yield None, f"refused: {event['reason']}"
                    return
                case "failed":
                    index = event["index"]
                    yield index, unbuilt.get(index, event["reason"])
                case "done":
                    return
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()


def _feed(
    pipe: IO[bytes], job: Job, models: Sequence[Callable[[], bytes]], unbuilt: dict[int, str]
) -> None:
    """Send models as the worker takes them; the pipe stays open, its end would end the worker.

    Models that cannot be built are noted in `unbuilt`, with the reason.
    """
    with contextlib.suppress(OSError, ValueError):
        job.write(pipe)
        for index, model in enumerate(models):
            try:
                data = model()
            except Exception as error:
                # Whatever a space's code raises, the others are to be measured: an empty model
                # keeps the order, and the worker refuses it.
                logger.debug("model %d was not built", index, exc_info=True)
                unbuilt[index] = f"{type(error).__name__}: {error}"
                data = b""
            write_model(pipe, data)


def _drain(pipe: IO[bytes], put: Callable[[Any], None]) -> None:
    with contextlib.suppress(ValueError, OSError):
        for line in pipe:
            put(line)
    put(None)
