"""What an accuracy source is: a cheap metric that names whose weights its numbers belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from search_spaces.architecture import BoolArray, FloatArray, Population


@dataclass(frozen=True, slots=True)
class AccuracyReport:
    """What is known of the accuracy of n networks, and how.

    Attributes:
        top1_percent: (n,) predicted top-1 accuracy, the drop already taken off.
        std_percent: (n,) one standard deviation of it.
        drop_percent: (n,) estimated loss from a smaller resolution, part of `top1_percent`.
        estimated: (n,) whether such a drop is in it.
        extrapolated: (n,) unlike the networks that the model was fitted to.
        weights: Whose weights the accuracy belongs to.
    """

    top1_percent: FloatArray
    std_percent: FloatArray
    drop_percent: FloatArray
    estimated: BoolArray
    extrapolated: BoolArray
    weights: str


class AccuracySource(Protocol):
    """A cheap metric that can also say how sure it is."""

    name: str
    unit: str

    def __call__(self, population: Population) -> FloatArray:
        """(n,) accuracy, fast."""

    def report(self, population: Population) -> AccuracyReport:
        """Accuracy with its uncertainty and origin."""
