"""The process that measures: `python -m devices.worker`, a job on stdin, events on stdout.

It is a process of its own so that a crash, a hang or a leak of a runtime costs one measurement,
and so that each occasion starts fresh. It ends when its parent does: at the next model it needs
or, when it has them all, at once.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from devices.benchmark import Run, measure, measure_alone
from devices.environment import load_snapshot, software_versions, steal_ticks
from devices.lock import host_lock
from devices.model import encode
from devices.reference import reference_graph
from devices.runtime import RUNTIMES
from devices.wire import Job, read_model
from search_spaces.errors import NasError


def main() -> int:
    """Measure one job; always ends with an event that says how it went."""
    job = Job.read(sys.stdin.buffer)
    try:
        with host_lock(
            job.owner,
            timeout_s=job.lock_timeout_s,
            on_wait=lambda holder: _tell(event="waiting", holder=holder),
        ):
            _measure_all(job)
    except NasError as error:
        _tell(event="failed", index=None, reason=str(error))
    _tell(event="done")
    return 0


def _measure_all(job: Job) -> None:
    """Groups one after the other on one loaded reference network; a single model comes first."""
    runtime = RUNTIMES.get(job.target.runtime)
    runtime.check(job.target)
    fixed = {
        **software_versions(),
        "clock": "process CPU time" if job.target.threads == 1 else "elapsed time",
        # An accelerator names its own clock.
        **runtime.versions(),
    }
    occasion = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{os.urandom(3).hex()}"

    def measure_group(models: Mapping[int, bytes], reference: Run | None) -> None:
        indices = list(models)
        before, steal = load_snapshot(), steal_ticks()
        try:
            if reference is None:
                other = encode(reference_graph(), runtime, job.target.batch)
                model = models[indices[0]]
                all_samples = [measure_alone(model, other, runtime, job.target, job.plan)]
            else:
                bodies = list(models.values())
                all_samples = measure(bodies, reference, runtime, job.target, job.plan)
        except NasError as error:
            if len(indices) == 1:
                _tell(event="failed", index=indices[0], reason=str(error))
            else:
                # One bad model must not cost its neighbours.
                for index in indices:
                    measure_group({index: models[index]}, reference)
            return
        environment = {**fixed, **before, "group": len(indices), "alone": reference is None}
        after = steal_ticks()
        if steal and after and after[1] > steal[1]:
            share = (after[0] - steal[0]) / (after[1] - steal[1])
            environment["steal_share"] = round(share, 5)
        for index, samples in zip(indices, all_samples, strict=True):
            _tell(
                event="measured", index=index, samples=samples.as_json(), occasion=occasion,
                environment=environment, taken_at=datetime.now(UTC).isoformat(),
                reference=reference_graph().digest,
            )  # fmt: skip

    with ExitStack() as stack:
        reference = None
        if job.count > 1:
            model = encode(reference_graph(), runtime, job.target.batch)
            reference = stack.enter_context(runtime.prepare(model, job.target))
        for start in range(0, job.count, job.group):
            members = range(start, min(start + job.group, job.count))
            models = {index: read_model(sys.stdin.buffer) for index in members}
            if members[-1] == job.count - 1:
                # Nothing more will come: from now on the end of stdin is the end of the parent.
                threading.Thread(target=_end_with_parent, daemon=True).start()
            measure_group(models, reference)


def _tell(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
