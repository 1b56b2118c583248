"""A measurement: raw samples with everything needed to trust them; medians are derived (ADR 0004).

A subject `x` is run between two runs of a fixed reference network, `ref x ref x … ref`, and each
sample becomes a ratio 2 x_i / (ref_i + ref_{i+1}). The ratio holds when the machine's speed
drifts or it is shared, where naive times err by tens of per cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from search_spaces.architecture import FloatArray
from search_spaces.errors import UsageError

SubjectKind = Literal["network", "block"]

# Efficiency of the median and consistency of the MAD for normal samples.
_MEDIAN_SE, _MAD_SD = 1.2533, 1.4826


@dataclass(frozen=True, slots=True)
class Samples:
    """Raw times of one subject and its reference [ms].

    Attributes:
        clock_ms: (n,) the subject on the target's paired clock (CPU time for one thread).
        wall_ms: (n,) the subject, elapsed.
        before_ms: (n,) the reference run before each sample, paired clock.
        after_ms: (n,) the reference run after each sample, paired clock.
    """

    clock_ms: tuple[float, ...]
    wall_ms: tuple[float, ...]
    before_ms: tuple[float, ...]
    after_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse ragged, empty or non-positive samples: a stopped clock is no latency."""
        columns = (self.clock_ms, self.wall_ms, self.before_ms, self.after_ms)
        if len({len(column) for column in columns}) != 1 or not self.clock_ms:
            msg = "samples need equally long, non-empty columns"
            raise UsageError(msg)
        if not all(np.isfinite(column).all() and min(column) > 0 for column in columns):
            msg = "samples must be positive and finite; the clock stood still or jumped"
            raise UsageError(msg)

    @property
    def ratios(self) -> FloatArray:
        """(n,) subject over the mean of its two reference runs."""
        clock, before, after = map(np.asarray, (self.clock_ms, self.before_ms, self.after_ms))
        return np.asarray(2.0 * clock / (before + after), dtype=np.float64)

    @property
    def ratio(self) -> float:
        """Median ratio: the latency in units of the reference network."""
        return float(np.median(self.ratios))

    @property
    def ratio_se(self) -> float:
        """Robust relative standard error of the median ratio; infinite for fewer than 3."""
        return relative_se(self.ratios)

    def as_json(self) -> dict[str, list[float]]:
        """Columns for the store and the wire, rounded to 10 ns."""
        return {name: [round(v, 5) for v in getattr(self, name)] for name in self.__slots__}

    @classmethod
    def from_json(cls, data: Mapping[str, Sequence[float]]) -> Samples:
        """Read `as_json` back.

        Raises:
            UsageError: If a column is missing or the samples are invalid.
        """
        try:
            return cls(*(tuple(float(v) for v in data[name]) for name in cls.__slots__))
        except (KeyError, TypeError, ValueError) as error:
            msg = f"samples: {error}; columns needed: {', '.join(cls.__slots__)}"
            raise UsageError(msg) from error


def relative_se(ratios: FloatArray) -> float:
    """Standard error of the median over the median, from the median absolute deviation.

    Args:
        ratios: (n,) positive values.

    Returns:
        Infinity for n < 3, where nothing can be said.
    """
    if len(ratios) < 3:
        return float("inf")
    middle = float(np.median(ratios))
    spread = _MAD_SD * float(np.median(np.abs(ratios - middle)))
    return _MEDIAN_SE * spread / (middle * float(np.sqrt(len(ratios))))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One subject measured in one process on one occasion.

    Attributes:
        subject: Architecture key, or `block:<digest prefix>`.
        kind: Whether a whole network or a block alone was run.
        digest: Digest of the layer graph that was run.
        target: Key of the target, with the device's real name (never `local`).
        samples: Raw times.
        reference: Digest of the reference network's graph.
        occasion: Identifies the process that measured.
        environment: What the machine was like (JSON values): versions, load, pressure, clock.
        taken_at: ISO 8601 time in UTC.
    """

    subject: str
    kind: SubjectKind
    digest: str
    target: str
    samples: Samples
    reference: str
    occasion: str
    environment: Mapping[str, Any]
    taken_at: str

    def latency_ms(self, quiet_ms: float) -> float:
        """Unloaded latency [ms]: median ratio times the reference's quiet time."""
        return self.samples.ratio * quiet_ms

    @property
    def wall_ms(self) -> float:
        """Median elapsed time [ms], load and all."""
        return float(np.median(self.samples.wall_ms))

    @property
    def reference_ms(self) -> FloatArray:
        """All reference runs of this measurement on the paired clock [ms]."""
        return np.array([self.samples.before_ms[0], *self.samples.after_ms])
