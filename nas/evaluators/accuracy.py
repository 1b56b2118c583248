"""Where accuracies come from: for each space, a source whose weights are named."""

from __future__ import annotations

import numpy as np

from nas.accuracy import AccuracyReport, AccuracySource
from nas.errors import InvalidRequestError
from search_spaces.architecture import FloatArray, Population


class OnceForAllAccuracy:
    """ImageNet top-1 of once-for-all MobileNetV3 sub-networks, predicted."""

    name = "accuracy"
    unit = "ImageNet top-1 %, predicted"

    def __init__(self) -> None:
        """Load the packaged model."""
        from nas.evaluators.ofa_accuracy import OfaAccuracy

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


def accuracy_source(space: str) -> AccuracySource:
    """The accuracy source of a space.

    Raises:
        InvalidRequestError: If the space has none; searching it would have no objective.
    """
    if space == "mobilenetv3":
        return OnceForAllAccuracy()
    msg = f"space {space!r} has no accuracy source; spaces with one: mobilenetv3"
    raise InvalidRequestError(msg)
