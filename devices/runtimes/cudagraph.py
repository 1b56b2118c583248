"""PyTorch on an NVIDIA accelerator, captured once as a CUDA graph and replayed.

Launching kernels one by one costs more than most of them run; a graph is one launch, so what is
timed is the network and not Python. The file imports without torch: a machine that lacks it is
told so when a target asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from devices.device import Target
from devices.environment import accelerator_device
from devices.errors import UnsupportedTargetError
from devices.runtime import ModelFormat, Place, Timing
from search_spaces.errors import InvalidGraphError, NasError
from search_spaces.graph import OpGraph
from search_spaces.graph_json import graph_from_json
from search_spaces.ops import Conv

if TYPE_CHECKING:
    import torch

_PRECISIONS = ("fp32", "fp16")
# Libraries choose kernels and allocate their workspaces in the first runs, which a graph must not
# capture; PyTorch's own example takes three.
_RUNS_BEFORE_CAPTURE = 3


class CudaGraph:
    """The layer graph as a torch module, normalisation folded, in one CUDA graph.

    fp32 is IEEE single precision: TF32 is off. fp16 runs in the layout `channels_last`, which its
    tensor cores want. Kernels are chosen by heuristics, not by timing, so that each process runs
    the same ones.
    """

    name = "cudagraph"
    format: ModelFormat = "graph"
    runs_on: Place = "accelerator"

    def check(self, target: Target) -> None:
        """fp32 or fp16, any batch, one thread, with torch and a device that it can use.

        Raises:
            UnsupportedTargetError: Otherwise; nothing ever runs on the CPU instead.
        """
        if target.precision not in _PRECISIONS:
            msg = f"{target.key}: this runtime measures fp32 and fp16; try cudagraph-fp32-t1"
            raise UnsupportedTargetError(msg)
        if target.threads != 1:
            msg = f"{target.key}: a CUDA graph is launched by one thread; write -t1"
            raise UnsupportedTargetError(msg)
        try:
            import torch
        except ImportError as error:
            msg = (
                f"{target.key} needs PyTorch with CUDA ({error}); "
                "run: pip install 'hardware-aware-nas[train]'"
            )
            raise UnsupportedTargetError(msg) from error
        if not torch.cuda.is_available():
            msg = (
                f"{target.key}: torch {torch.__version__} finds no CUDA device; check that "
                "nvidia-smi lists one and install a build of torch with CUDA"
            )
            raise UnsupportedTargetError(msg)

    def versions(self) -> dict[str, str]:
        """Libraries, driver and device, and the settings that change latency."""
        import torch

        device = accelerator_device()
        driver = device.facts.get("driver") if device else None
        return {
            "torch": str(torch.__version__),
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
            "accelerator": torch.cuda.get_device_name(),
            **({"driver": str(driver)} if driver else {}),
            "tf32": "off",
            "cudnn_benchmark": "off",
            "normalisation": "folded",
            "fp16_layout": "channels_last",
            "clock": "device events",
        }

    @contextmanager
    def prepare(self, model: bytes, target: Target) -> Iterator[Callable[[], Timing]]:
        """Build the module, capture it on seeded normal input; see `Runtime.prepare`."""
        self.check(target)
        import torch

        try:
            graph = _folded(graph_from_json(model.decode()))
        except (UnicodeDecodeError, InvalidGraphError) as error:
            msg = f"what was to run on {target.key} is no layer graph: {error}"
            raise UnsupportedTargetError(msg) from error
        try:
            with _reproducible():
                captured, held = _capture(graph, target)
        except (RuntimeError, NasError) as error:
            msg = f"torch refused the model on {target.key}: {error}"
            raise UnsupportedTargetError(msg) from error
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def run_once() -> Timing:
            wall = time.perf_counter_ns()
            start.record()
            captured.replay()
            end.record()
            end.synchronize()
            wall = time.perf_counter_ns() - wall
            return Timing(start.elapsed_time(end), wall / 1e6)

        try:
            yield run_once
        finally:
            captured.reset()
            del held


def _folded(graph: OpGraph) -> OpGraph:
    """The graph as it is deployed: a normalisation lies in its convolution's kernel and bias.

    The digest stays: it describes what runs.
    """
    ops = (
        replace(op, normalised=False, bias=True) if isinstance(op, Conv) and op.normalised else op
        for op in graph.ops
    )
    return OpGraph(graph.input_shape, tuple(ops))


@contextmanager
def _reproducible() -> Iterator[None]:
    """IEEE arithmetic and kernels chosen by heuristics, while kernels are chosen."""
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def _capture(graph: OpGraph, target: Target) -> tuple[torch.cuda.CUDAGraph, object]:
    """A CUDA graph of one run, and what must live as long since it reads it: weights, input.

    Raises:
        RuntimeError: If torch cannot build, run or capture the network.
    """
    import torch

    from search_spaces.torch_build import GraphModule

    half = target.precision == "fp16"
    layout = torch.channels_last if half else torch.contiguous_format
    kind = torch.float16 if half else torch.float32
    module = GraphModule(graph).eval().to("cuda", kind)
    noise = torch.randn(
        (target.batch, *graph.input_shape), generator=torch.Generator().manual_seed(0)
    )
    x = noise.to("cuda", kind)
    if x.dim() == 4:
        x = x.contiguous(memory_format=layout)
        module = module.to(memory_format=layout)  # type: ignore[call-overload]  # a form unannotated
    captured = torch.cuda.CUDAGraph()
    with torch.no_grad():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_RUNS_BEFORE_CAPTURE):
                module(x)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(captured):
            module(x)
    torch.cuda.synchronize()
    return captured, (module, x)


RUNTIME = CudaGraph()
