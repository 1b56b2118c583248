"""When "meets the budget" may be said: several processes apart in time, upper bound within it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from devices.measurement import Measurement
from devices.quiet import Quiet
from predictors.predictor import student_t_quantile

# Least time between two occasions [s].
GAP_S = 10.0
# Prior of the spread of a network's ratio between occasions, relative, and its weight: three
# occasions alone would leave the spread nearly unknown.
OCCASION_SD, _WEIGHT = 0.01, 8.0
# Verified alone in a process, a network takes so much longer, relative, than measured after others.
ALONE = 0.01


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification found of one network.

    Attributes:
        key: The network.
        latency_ms: Unloaded latency, mean over occasions [ms].
        upper_ms: Upper confidence bound of it [ms].
        confidence: Of the bound.
        occasions: Number of processes.
        occasion_ms: Latency in each of them [ms].
        wall_ms: Median elapsed time, load and all [ms].
        holds: Whether the bound lies within the budget.
    """

    key: str
    latency_ms: float
    upper_ms: float
    confidence: float
    occasions: int
    occasion_ms: tuple[float, ...]
    wall_ms: float
    holds: bool


def expected_margin(quiet: Quiet, occasions: int, risk: float) -> float:
    """Relative distance below the budget at which a network will just be verified.

    Args:
        quiet: Quiet time as known now.
        occasions: Processes that will verify.
        risk: 1 - confidence.
    """
    error = float(np.sqrt(OCCASION_SD**2 / occasions + quiet.relative_sd**2))
    return ALONE + student_t_quantile(1.0 - risk, _WEIGHT + occasions - 1) * error


def judge(
    key: str, measurements: Sequence[Measurement], quiet: Quiet, budget_ms: float, risk: float
) -> Verdict:
    """Bound the latency from one measurement an occasion.

    Args:
        key: The network.
        measurements: Verification measurements only: samples that chose the network would flatter.
        quiet: Quiet time of the reference; how it will differ on a coming occasion is part of the
            bound, since the budget is to hold then.
        budget_ms: The limit [ms].
        risk: 1 - confidence.

    Raises:
        ValueError: If two measurements are of one occasion.
    """
    if len({m.occasion for m in measurements}) != len(measurements):
        msg = "each verification measurement must come from a process of its own"
        raise ValueError(msg)
    logs = np.log([m.samples.ratio for m in measurements])
    mean, count = float(logs.mean()), len(logs)
    dof = _WEIGHT + count - 1
    spread = np.sqrt((_WEIGHT * OCCASION_SD**2 + float(((logs - mean) ** 2).sum())) / dof)
    error = np.sqrt(spread**2 / count + quiet.relative_sd**2)
    upper = mean + student_t_quantile(1.0 - risk, dof) * error
    upper_ms = float(np.exp(upper) * quiet.time_ms)
    return Verdict(
        key=key,
        latency_ms=float(np.exp(mean) * quiet.time_ms),
        upper_ms=upper_ms,
        confidence=1.0 - risk,
        occasions=count,
        occasion_ms=tuple(float(v) for v in np.exp(logs) * quiet.time_ms),
        wall_ms=float(np.median([m.wall_ms for m in measurements])),
        holds=upper_ms <= budget_ms,
    )
