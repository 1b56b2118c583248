"""The one way anything is measured, written once for all runtimes.

Protocol: warm up, then rounds of `ref x1 … xk` closed by one more `ref`; neighbouring rounds share
a reference run. Stop when the standard error of every median ratio is small enough. Networks are
measured alone (k = 1), blocks in groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from devices.device import Target
from devices.measurement import Samples, relative_se
from devices.runtime import Runtime, Timing


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure.

    Attributes:
        warmup: Runs of each model before the first sample; from the second run on times are steady.
        min_rounds: Samples of each subject at least.
        max_rounds: Samples of each subject at most.
        relative_se: Stop when the standard error of the median ratio is below this.
    """

    warmup: int = 2
    min_rounds: int = 10
    max_rounds: int = 60
    relative_se: float = 0.01


NETWORK_PLAN = Plan()
# Errors of single blocks average out over a chain of twenty; eight rounds are enough.
BLOCK_PLAN = Plan(warmup=2, min_rounds=8, max_rounds=8)
# The winner's claim rests on these samples alone.
VERIFY_PLAN = Plan(min_rounds=60, max_rounds=120, relative_se=0.004)

Run = Callable[[], Timing]


def paired_rounds(subjects: Sequence[Run], reference: Run, plan: Plan) -> list[Samples]:
    """Measure all subjects interleaved with the reference.

    Args:
        subjects: k runs.
        reference: The reference run.
        plan: When to stop.

    Returns:
        k samples, equally long.
    """
    for run in (*subjects, reference):
        for _ in range(plan.warmup):
            run()
    references = [reference().clock_ms]
    clock: list[list[float]] = [[] for _ in subjects]
    wall: list[list[float]] = [[] for _ in subjects]
    for done in range(1, plan.max_rounds + 1):
        for position, run in enumerate(subjects):
            timing = run()
            clock[position].append(timing.clock_ms)
            wall[position].append(timing.wall_ms)
        references.append(reference().clock_ms)
        if done >= plan.min_rounds and _worst_se(clock, references) <= plan.relative_se:
            break
    before, after = tuple(references[:-1]), tuple(references[1:])
    return [Samples(tuple(c), tuple(w), before, after) for c, w in zip(clock, wall, strict=True)]


def _worst_se(clock: list[list[float]], references: list[float]) -> float:
    ends = np.asarray(references)
    middle = (ends[:-1] + ends[1:]) / 2.0
    return max(relative_se(np.asarray(column) / middle) for column in clock)


def measure(
    models: Sequence[bytes], reference: Run, runtime: Runtime, target: Target, plan: Plan
) -> list[Samples]:
    """Load models, measure them interleaved, and unload them.

    Args:
        models: k models in the form that the runtime reads.
        reference: The prepared reference network; stays loaded between calls.
        runtime: What runs the models.
        target: Precision, batch and threads.
        plan: When to stop.

    Returns:
        k samples.

    Raises:
        UnsupportedTargetError: If the runtime refuses a model.
    """
    with ExitStack() as stack:
        runs = [stack.enter_context(runtime.prepare(model, target)) for model in models]
        return paired_rounds(runs, reference, plan)


def measure_alone(
    model: bytes, reference: bytes, runtime: Runtime, target: Target, plan: Plan
) -> Samples:
    """Measure one model that is the first that this process loads.

    So it will be deployed. A model loaded after others finds a heap in order and runs about 1 %
    faster, which the reference must not.

    Raises:
        UnsupportedTargetError: If the runtime refuses the model.
    """
    with (
        runtime.prepare(model, target) as run,
        runtime.prepare(reference, target) as run_reference,
    ):
        return paired_rounds([run], run_reference, plan)[0]
