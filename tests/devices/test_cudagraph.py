"""The CUDA runtime: what it refuses everywhere, and what it measures where there is a device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devices.device import Target
from devices.errors import UnsupportedTargetError
from devices.model import encode
from devices.reference import reference_graph
from devices.runtime import RUNTIMES
from devices.runtimes import cudagraph
from search_spaces.graph_json import graph_to_json

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = RUNTIMES.get("cudagraph")
TARGET = Target("gpu", "cudagraph")


def test_the_plug_in_is_listed_and_imported_without_torch() -> None:
    code = (
        "import sys; from devices.runtime import RUNTIMES; RUNTIMES.get('cudagraph'); "
        "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("gpu:cudagraph-int8-t1", "measures fp32 and fp16"),
        ("gpu:cudagraph-fp32-t2", "write -t1"),
    ],
)
def test_what_it_cannot_do_is_refused_with_what_it_can(target: str, words: str) -> None:
    with pytest.raises(UnsupportedTargetError, match=words):
        RUNTIME.check(Target.parse(target))


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(UnsupportedTargetError, match=r"pip install 'hardware-aware-nas\[train\]'"):
        RUNTIME.check(TARGET)


def test_without_a_device_nothing_runs_on_the_processor_instead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch", exc_type=ImportError)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    model = encode(reference_graph(), RUNTIME, 1)
    with (
        pytest.raises(UnsupportedTargetError, match="finds no CUDA device"),
        RUNTIME.prepare(model, TARGET),
    ):
        pass


def test_normalisation_is_folded_and_the_digest_stays() -> None:
    graph = reference_graph()

    folded = cudagraph._folded(graph)

    assert folded.digest == graph.digest
    assert '"bias":true' in graph_to_json(folded)
    assert '"normalised":false' in graph_to_json(folded)


@pytest.mark.gpu
@pytest.mark.parametrize("target", ["gpu:cudagraph-fp32-t1-b8", "gpu:cudagraph-fp16-t1-b8"])
def test_a_network_is_captured_and_timed_on_device_events(target: str) -> None:
    where = Target.parse(target)

    with RUNTIME.prepare(encode(reference_graph(), RUNTIME, 8), where) as run_once:
        timings = [run_once() for _ in range(20)]

    assert all(0 < timing.clock_ms <= timing.wall_ms * 1.05 for timing in timings)
    assert RUNTIME.versions()["clock"] == "device events"


@pytest.mark.gpu
def test_single_precision_is_not_tf32() -> None:
    import torch

    x = torch.randn(64, 256, 16, 16, generator=torch.Generator().manual_seed(0)).to("cuda")
    w = torch.randn(256, 256, 3, 3, generator=torch.Generator().manual_seed(1)).to("cuda")
    with cudagraph._reproducible():
        found = torch.nn.functional.conv2d(x, w)
    exact = torch.nn.functional.conv2d(x.double(), w.double())

    assert float((found - exact).abs().max() / exact.abs().max()) < 1e-5
