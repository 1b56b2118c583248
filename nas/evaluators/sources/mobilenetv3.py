"""ImageNet accuracy of once-for-all MobileNetV3: predicted by a fit to published values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.accuracy import AccuracyReport
from nas.evaluator import SlotEvaluator
from nas.evaluators.ofa_accuracy import OfaAccuracy
from nas.trial import Estimate
from search_spaces.architecture import FloatArray, Population


class OnceForAllAccuracy:
    """ImageNet top-1 of once-for-all MobileNetV3 sub-networks, predicted."""

    name = "accuracy"
    unit = "ImageNet top-1 %, predicted"

    def __init__(self) -> None:
        """Load the packaged model."""
        self._model = OfaAccuracy.load()

    def __call__(self, population: Population) -> FloatArray:
        """See `AccuracySource`."""
        return np.asarray(self._model.mean(population.genes), dtype=np.float64)

    def report(self, population: Population) -> AccuracyReport:
        """See `AccuracySource`."""
        prediction = self._model.predict(population.genes)
        return AccuracyReport(
            prediction.top1_percent, prediction.std_percent, prediction.drop_percent,
            prediction.estimated, prediction.extrapolated,
            "once-for-all (published weights, width 1.0)",
        )  # fmt: skip

    def evaluator(self) -> SlotEvaluator | None:
        """None: the published weights are not at hand."""
        return None

    def told(self, keys: Sequence[str], estimates: Sequence[Estimate]) -> OnceForAllAccuracy:
        """This very source: the model is fixed."""
        return self


def create(data: Path | None = None) -> OnceForAllAccuracy:
    """The packaged model; it needs no data."""
    return OnceForAllAccuracy()
