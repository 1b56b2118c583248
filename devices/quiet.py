"""How fast the machine is when nothing else of its owner's runs: the reference's quiet time.

Unloaded latency = median paired ratio x quiet time. The quiet time is the upper quartile of
reference runs taken while the kernel reports little CPU pressure, spells of unusual speed left out:
three runs of four at the machine's usual speed are as fast.

Why not the median, or the fastest tenth? On a virtual machine a core has a fast and a slow state,
a third apart, as neighbours on the host come and go unseen by the guest. The fast state is what
users rarely meet, and a claim that rests on it breaks when the neighbours come back. The median
jumps from one state to the other with their shares (ADR 0007). On a calm machine all agree.
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
ENOUGH_RUNS = 3000
# A change of the quiet time by more is reported.
NOTEWORTHY = 0.03
# Runs faster than this share of the upper quartile are of a spell of unusual speed.
USUAL = 0.88
# Prior of the relative spread of the quiet time between spells, and its weight.
_SPREAD, _WEIGHT = 0.010, 20.0
# Runs of a spell: a few seconds, over which a machine's speed is looked at as one.
_SPELL_RUNS = 300


@dataclass(frozen=True, slots=True)
class Quiet:
    """Quiet time of the reference network on one target.

    Attributes:
        time_ms: Upper quartile over spells of the upper quartile of their runs [ms].
        relative_sd: Standard deviation of a spell's quartile, relative.
        runs: Reference runs it rests on.
        pressure_percent: Highest CPU pressure among them; above `QUIET_PRESSURE` the machine was
            never quiet, and the time is too long rather than too short. None where unknown.
    """

    time_ms: float
    relative_sd: float
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
    spells: list[list[float]] = [[]]
    count, pressure = 0, None
    for measurement in quiet or latest_first:
        known = _pressure(measurement)
        pressure = known if pressure is None else max(pressure, known or 0.0)
        times = measurement.reference_ms
        if len(spells[-1]) >= _SPELL_RUNS:
            spells.append([])
        spells[-1].extend(times)
        count += len(times)
        if count >= enough:
            break
    usual = USUAL * float(np.percentile(np.concatenate(spells), QUIET_PERCENTILE))
    slow = [np.array([time for time in spell if time > usual]) for spell in spells]
    # A spell with hardly a run at the usual speed says nothing of it, unless there is no other.
    most = max(len(spell) for spell in slow)
    told = [spell for spell in slow if len(spell) >= min(most, _SPELL_RUNS // 10)]
    levels = np.array([np.percentile(spell, QUIET_PERCENTILE) for spell in told])
    # Three spells of four are as fast, too: every second one exceeds the level of the middle one.
    time_ms = float(np.percentile(levels, QUIET_PERCENTILE))
    squares = float(((np.log(levels) - np.log(levels).mean()) ** 2).sum())
    spread = (_WEIGHT * _SPREAD**2 + squares) / (_WEIGHT + len(levels) - 1)
    return Quiet(time_ms, float(np.sqrt(spread)), count, pressure)


def _pressure(measurement: Measurement) -> float | None:
    value = measurement.environment.get("cpu_pressure_percent")
    return None if value is None else float(value)
