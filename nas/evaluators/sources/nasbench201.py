"""CIFAR-10 accuracy of every NAS-Bench-201 cell, as NATS-Bench published it."""

from __future__ import annotations

from pathlib import Path

from nas.evaluators.tabular_accuracy import TabularAccuracy
from search_spaces import SPACES


def create(data: Path | None = None) -> TabularAccuracy:
    """The table `nasbench201_accuracy.npz` in the folder of data."""
    return TabularAccuracy.nasbench201(SPACES.get("nasbench201"), data)
