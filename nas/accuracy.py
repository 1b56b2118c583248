"""What an accuracy source is: a cheap metric that names whose weights its numbers belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nas.evaluator import SlotEvaluator
from nas.trial import Estimate
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

    @property
    def name(self) -> str:
        """Such as `accuracy`."""

    @property
    def unit(self) -> str:
        """Such as `top-1 %`."""

    def __call__(self, population: Population) -> FloatArray:
        """(n,) accuracy, fast."""

    def report(self, population: Population) -> AccuracyReport:
        """Accuracy with its uncertainty and origin."""

    def evaluator(self) -> SlotEvaluator | None:
        """A dear look at one network; None if the cheap value is all there is."""

    def told(self, keys: Sequence[str], estimates: Sequence[Estimate]) -> AccuracySource:
        """A source that has learned from evaluations; this very one if there is nothing to learn.

        Args:
            keys: Of the networks evaluated.
            estimates: What was found, for each key.
        """
