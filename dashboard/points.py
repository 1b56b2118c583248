"""The networks of a run as columns, and the filters that choose among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nas.errors import StoreError
from search_spaces.architecture import BoolArray, FloatArray, IntArray

KINDS = ("imported", "predicted", "measured", "verified")
"""How a latency can be known, the least certain first."""

# Fields of a stored candidate that may be absent, as in runs of older versions.
_NUMBERS = {
    "low_ms": "latency_low_ms",
    "high_ms": "latency_high_ms",
    "accuracy_std": "top1_std_percent",
    "macs": "macs",
    "parameters": "parameters",
    "peak_bytes": "peak_activation_bytes",
}


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """n networks of a run; a number that is not known is nan.

    Attributes:
        key: (n,) architecture keys.
        kind: (n,) how each latency is known: `KINDS`, or a word of a newer version.
        latency_ms: (n,) unloaded latency [ms].
        accuracy: (n,) predicted or evaluated accuracy [%].
        low_ms: (n,) lower end of the latency's interval [ms].
        high_ms: (n,) upper end [ms]; for verified networks the confidence bound.
        accuracy_std: (n,) one standard deviation of the accuracy [%].
        macs: (n,) multiply-accumulates.
        parameters: (n,) trained values.
        peak_bytes: (n,) most bytes of live activations [B].
        on_front: (n,) not dominated by another network of the same kind.
        holds: (n,) 1 if verified within the budget, 0 if verified beyond it, -1 if not verified.
    """

    key: NDArray[np.str_]
    kind: NDArray[np.str_]
    latency_ms: FloatArray
    accuracy: FloatArray
    low_ms: FloatArray
    high_ms: FloatArray
    accuracy_std: FloatArray
    macs: FloatArray
    parameters: FloatArray
    peak_bytes: FloatArray
    on_front: BoolArray
    holds: IntArray

    @classmethod
    def read(cls, candidates: Sequence[Mapping[str, Any]]) -> Self:
        """Columns of stored candidates.

        Raises:
            StoreError: If a candidate has no key, kind, latency or accuracy.
        """
        try:
            return cls(
                key=np.array([str(c["key"]) for c in candidates], dtype=np.str_),
                kind=np.array([str(c["kind"]) for c in candidates], dtype=np.str_),
                latency_ms=_numbers(c["latency_ms"] for c in candidates),
                accuracy=_numbers(c["top1_percent"] for c in candidates),
                on_front=np.array([bool(c.get("on_front")) for c in candidates], dtype=np.bool_),
                holds=np.array([_verdict(c.get("within_budget")) for c in candidates], np.int64),
                **{
                    ours: _numbers(c.get(stored) for c in candidates)
                    for ours, stored in _NUMBERS.items()
                },
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            msg = (
                f"the stored networks of the run cannot be read ({type(error).__name__}: {error}); "
                "write the result again with: nas run resume RUN"
            )
            raise StoreError(msg) from error

    def __len__(self) -> int:
        """Number of networks."""
        return len(self.key)

    def take(self, rows: BoolArray | IntArray) -> Points:
        """The networks of these rows, in that order."""
        return Points(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def row(self, key: str) -> int | None:
        """Position of a network; None if it is not among them."""
        found = np.flatnonzero(self.key == key)
        return int(found[0]) if len(found) else None

    def kinds(self) -> list[str]:
        """The kinds there are, the least certain first, unknown ones before them."""
        present = set(self.kind.tolist())
        return [*sorted(present.difference(KINDS)), *(kind for kind in KINDS if kind in present)]


Range = tuple[float, float]
EVERYTHING: Range = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which networks to show; ends of ranges belong to them.

    Attributes:
        kinds: How the latency is known; None for any.
        latency_ms: Range [ms].
        accuracy: Range [%].
        macs: Range.
        peak_bytes: Range [B].
        on_front: Only those that no other of their kind dominates.
    """

    kinds: frozenset[str] | None = None
    latency_ms: Range = EVERYTHING
    accuracy: Range = EVERYTHING
    macs: Range = EVERYTHING
    peak_bytes: Range = EVERYTHING
    on_front: bool = False

    def passing(self, points: Points) -> BoolArray:
        """(n,) whether each network passes; a number that is not known passes any range."""
        passed = np.ones(len(points), dtype=np.bool_)
        for name in ("latency_ms", "accuracy", "macs", "peak_bytes"):
            low, high = getattr(self, name)
            values = getattr(points, name)
            passed &= ~((values < low) | (values > high))
        if self.kinds is not None:
            passed &= np.isin(points.kind, sorted(self.kinds))
        if self.on_front:
            passed &= points.on_front
        return passed


def slider_ends(values: FloatArray) -> tuple[float, float, float] | None:
    """Round ends and step of a slider over values; None if there is nothing to choose.

    Example:
        >>> slider_ends(np.array([3.14159, 4.2]))
        (3.14, 4.2, 0.01)
    """
    known = values[np.isfinite(values)]
    if len(known) == 0 or known.min() == known.max():
        return None
    digits = 2 - math.floor(math.log10(float(known.max() - known.min())))
    step = 10.0**-digits
    low = math.floor(float(known.min()) / step) * step
    high = math.ceil(float(known.max()) / step) * step
    return round(low, digits), round(high, digits), round(step, max(digits, 0)) or step


def order_by_interest(points: Points, winner: str | None) -> list[str]:
    """Keys with the winner first, then by certainty, then fronts, then accuracy."""
    certainty = [KINDS.index(kind) if kind in KINDS else -1 for kind in points.kind.tolist()]
    rows = np.lexsort(
        (
            -points.accuracy,
            ~points.on_front,
            -np.array(certainty, int),
            points.key != (winner or ""),
        )
    )
    return [str(key) for key in points.key[rows]]


def _numbers(values: Any) -> FloatArray:
    return np.array([math.nan if value is None else float(value) for value in values], np.float64)


def _verdict(within_budget: bool | None) -> int:
    return -1 if within_budget is None else int(within_budget)
