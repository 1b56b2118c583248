"""CIFAR-10 accuracy of MobileNetV3 sub-networks on the weights of our own super-network."""

from __future__ import annotations

from pathlib import Path

from nas.evaluators.supernet_accuracy import SupernetAccuracy
from search_spaces import SPACES


def create(data: Path | None = None) -> SupernetAccuracy:
    """The packaged checkpoint; networks are evaluated if the images are at hand."""
    return SupernetAccuracy.open(SPACES.get("mobilenetv3-cifar"), data)
