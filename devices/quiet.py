"""How fast the machine is when nothing else runs: the reference network's quiet time.

On shared or hyper-threaded processors one network's CPU time has a fast mode (the sibling idle)
and slow ones. Unloaded latency means the fast mode, so it is read from the low end of many
reference runs; the ratio of a network to the reference is the same in all modes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from devices.measurement import Measurement

# Low enough to find the fast mode when it is rare, high enough not to be one lucky run.
QUIET_PERCENTILE = 5.0
# Of the latest measurements, as many as give this many reference runs.
ENOUGH_RUNS = 400
# A change of the quiet time by more is reported.
NOTEWORTHY = 0.03


def quiet_time_ms(measurements: Sequence[Measurement], enough: int = ENOUGH_RUNS) -> float:
    """Quiet time of the reference from the latest of the given measurements [ms].

    Args:
        measurements: In the order they were taken, one target and reference.
        enough: Reference runs after which older measurements are left out.

    Raises:
        ValueError: If there is no measurement.
    """
    if not measurements:
        msg = "the quiet time needs at least one measurement"
        raise ValueError(msg)
    runs, count = [], 0
    for measurement in reversed(measurements):
        runs.append(measurement.reference_ms)
        count += len(runs[-1])
        if count >= enough:
            break
    return float(np.percentile(np.concatenate(runs), QUIET_PERCENTILE))
