"""Tiny networks to measure, and a measuring lock that nobody else waits for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from devices.benchmark import Plan
from devices.device import Target
from devices.local import Subject, resolve
from devices.wire import Job
from search_spaces.graph import OpGraph
from search_spaces.onnx_build import build_onnx
from search_spaces.ops import Conv, Flatten, GlobalAveragePool, Linear, WeightSlice

Broken = Callable[[], bytes]


@cache
def tiny_graph(width: int = 8) -> OpGraph:
    """A convolution, a pool and a classifier."""
    return OpGraph(
        (3, 16, 16),
        (
            Conv(
                name="conv", inputs=("input",), shape=(width, 8, 8), in_channels=3, kernel=3,
                stride=2, weight=WeightSlice("conv", (0, 0, 0, 0), (width, 3, 3, 3)),
                activation="relu",
            ),
            GlobalAveragePool(name="pool", inputs=("conv",), shape=(width, 1, 1)),
            Flatten(name="flatten", inputs=("pool",), shape=(width,)),
            Linear(
                name="linear", inputs=("flatten",), shape=(10,), in_features=width,
                weight=WeightSlice("linear", (0, 0), (10, width)),
            ),
        ),
    )  # fmt: skip


@pytest.fixture
def tiny() -> Callable[..., Subject]:
    """Make a subject of a tiny network, or of a model that is something else."""

    def subject(width: int = 8, model: Broken | None = None) -> Subject:
        graph = tiny_graph(width)
        build = model or (lambda: build_onnx(graph, "seeded"))
        return Subject(f"tiny:{width}", "network", graph.digest, build)

    return subject


@pytest.fixture
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of our own, and with it a measuring lock, here and in child processes."""
    folder = tmp_path / "lock"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def job(own_lock: Path) -> Job:
    """As short as a measurement can be."""
    plan = Plan(warmup=1, min_rounds=3, max_rounds=3)
    return Job(resolve(Target("local")), plan, owner="a test", lock_timeout_s=20.0)
