"""The block table of a device: measure each distinct block once, store each group as it ends."""

from __future__ import annotations

import time
from functools import partial

from devices.benchmark import BLOCK_PLAN
from devices.device import Target
from devices.local import Subject, measure_locally
from devices.measurement import Measurement
from devices.model import encode
from devices.reference import reference_graph
from devices.runtime import RUNTIMES, Runtime
from devices.wire import Job
from nas.progress import Progress
from nas.store import Store
from search_spaces.space import ChainSpace

_GROUP = 8


def block_key(digest: str) -> str:
    """Name of a block in the store.

    Example:
        >>> block_key("0123456789abcdef0123")
        'block:0123456789abcdef'
    """
    return f"block:{digest[:16]}"


def block_ratios(store: Store, target: Target, up_to_id: int | None = None) -> dict[str, float]:
    """Median ratio of each measured block by graph digest; the first measurement counts."""
    rows = store.measurements(
        target.key, kind="block", reference=reference_graph().digest, up_to_id=up_to_id
    )
    found: dict[str, float] = {}
    for row in rows:
        found.setdefault(row.measurement.digest, row.measurement.samples.ratio)
    return found


def measure_blocks(
    store: Store, target: Target, space: ChainSpace, owner: str, progress: Progress
) -> dict[str, float]:
    """Measure the blocks of the space that the store lacks, and return all of them.

    Blocks that the runtime refuses are reported and left out; the predictor scales them.
    """
    known = block_ratios(store, target)
    wanted = list(dict.fromkeys(space.block_digests))
    missing = [digest for digest in wanted if digest not in known]
    if not missing:
        return known
    first = {digest: number for number, digest in reversed(list(enumerate(space.block_digests)))}
    runtime = RUNTIMES.get(target.runtime)
    subjects = [
        Subject(
            block_key(d),
            "block",
            d,
            partial(_block_model, space, first[d], runtime, target.batch),
        )
        for d in missing
    ]
    job = Job(target, BLOCK_PLAN, group=_GROUP, owner=owner)
    pending: list[Measurement] = []
    started = time.monotonic()
    outcomes = measure_locally(subjects, job, on_wait=lambda who: progress.note(_waiting(who)))
    try:
        for done, (index, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, str):
                progress.note(f"block {subjects[index].key} was not measured: {outcome}")
            else:
                pending.append(outcome)
            if len(pending) >= _GROUP:
                store.add_measurements(pending)
                pending = []
            left = (time.monotonic() - started) / done * (len(subjects) - done)
            progress.step(done, len(subjects), left)
    finally:
        store.add_measurements(pending)
    # As stored, not as measured: a resumed run must see the very same numbers.
    return block_ratios(store, target)


def _block_model(space: ChainSpace, number: int, runtime: Runtime, batch: int) -> bytes:
    return encode(space.block(number).graph(), runtime, batch)


def _waiting(holder: str) -> str:
    return f"waiting for {holder}, which is measuring on this host"
