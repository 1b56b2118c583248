"""How fast the machine is when nothing else of its owner's runs: the reference's quiet time.

Unloaded latency = median paired ratio x quiet time. The quiet time is the upper quartile of
reference runs taken while the kernel reports little CPU pressure: three runs of four are as fast.

Why not the median, or the fastest tenth? On a virtual machine a core has a fast and a slow state,
a third apart, as neighbours on the host come and go unseen by the guest. The fast state is what
users rarely meet. The median jumps from one state to the other with their shares: windows of 30 s
differed by 5 %, against 1.6 % for the upper quartile (ADR 0007). On a calm machine all three agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from devices.measurement import Measurement

# Reference runs of a quiet machine that are no slower than its quiet time [%].
QUIET_PERCENTILE = 75.0
# CPU pressure below which a machine counts as quiet [% of time some task waited].
QUIET_PRESSURE = 5.0
# Of the latest quiet measurements, as many as give this many reference runs.
ENOUGH_RUNS = 1000
# A change of the quiet time by more is reported.
NOTEWORTHY = 0.03
# Prior of the relative spread of the quiet time between occasions, and its weight.
_SPREAD, _WEIGHT = 0.015, 3.0


@dataclass(frozen=True, slots=True)
class Quiet:
    """Quiet time of the reference network on one target.

    Attributes:
        time_ms: Upper quartile of reference runs [ms].
        relative_se: Standard error of it, from the spread between occasions.
        runs: Reference runs it rests on.
        pressure_percent: Highest CPU pressure among them; above `QUIET_PRESSURE` the machine was
            never quiet, and the time is too long rather than too short. None where unknown.
    """

    time_ms: float
    relative_se: float
    runs: int
    pressure_percent: float | None


def quiet_time(measurements: Sequence[Measurement], enough: int = ENOUGH_RUNS) -> Quiet:
    """Quiet time from the latest quiet measurements, or the least pressed if none was quiet.

    Args:
        measurements: In the order they were taken, one target and reference.
        enough: Reference runs after which older measurements are left out.

    Raises:
        ValueError: If there is no measurement.
    """
    if not measurements:
        msg = "the quiet time needs at least one measurement"
        raise ValueError(msg)
    # A stable sort keeps the latest first among equally quiet ones.
    latest_first = list(measurements[::-1])
    latest_first.sort(key=lambda m: max(_pressure(m) or 0.0, QUIET_PRESSURE))
    quiet = [m for m in latest_first if (_pressure(m) or 0.0) <= QUIET_PRESSURE]
    runs: dict[str, list[float]] = {}
    count, pressure = 0, None
    for measurement in quiet or latest_first:
        known = _pressure(measurement)
        pressure = known if pressure is None else max(pressure, known or 0.0)
        times = measurement.reference_ms
        runs.setdefault(measurement.occasion, []).extend(times)
        count += len(times)
        if count >= enough:
            break
    pooled = np.concatenate([np.asarray(times) for times in runs.values()])
    time_ms = float(np.percentile(pooled, QUIET_PERCENTILE))
    quartiles = [np.percentile(times, QUIET_PERCENTILE) for times in runs.values()]
    logs = np.log(np.array(quartiles) / time_ms)
    share = np.array([len(times) for times in runs.values()]) / count
    freedom = len(runs) - 1
    spread = (_WEIGHT * _SPREAD**2 + freedom * float(share @ logs**2)) / (_WEIGHT + freedom)
    error = float(np.sqrt(spread * float(share @ share)))
    return Quiet(time_ms, error, count, pressure)


def _pressure(measurement: Measurement) -> float | None:
    value = measurement.environment.get("cpu_pressure_percent")
    return None if value is None else float(value)
