"""One network's forward and backward pass, repeated thousands of times: eagerly or as CUDA graphs.

Networks of this size keep an accelerator waiting for launches: eagerly, a quarter of the arithmetic
gave only 1.37 times the speed. So each network of the pool is captured once, after its first,
eager pass, and replayed as one launch from then on.
"""

from __future__ import annotations

import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from nas.supernet.data import CLASSES, SIZE
from nas.supernet.optimiser import leaves
from search_spaces.architecture import Architecture
from search_spaces.graph import OpGraph
from search_spaces.space import SearchSpace
from search_spaces.torch_build import forward

logger = logging.getLogger(__name__)


@contextmanager
def mixed_precision(device: torch.device) -> Iterator[None]:
    """bfloat16 where an operator stands it, on accelerators; 32 bits on a CPU."""
    # Without a cache of cast weights: a captured pass must cast them anew at each replay.
    with torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False
    ):
        yield


def fitted(x: Tensor, graph: OpGraph) -> Tensor:
    """Pictures at the resolution that the network takes."""
    height, width = graph.input_shape[1:]
    if x.shape[2:] == (height, width):
        return x
    return functional.interpolate(x, (height, width), mode="bilinear", antialias=False)


class Sandwich:
    """Passes of networks over one batch; gradients add up in a shared vector's views.

    Args:
        space: Whose networks.
        values: Shared trained tensors by name.
        gradients: As large; each pass adds to them.
        batch: Images of a batch.
        label_smoothing: For passes on labels.
        share: Weight of each network's loss.
        device: Where everything lies.
        kept: How many networks are kept prepared; the one unused for longest is dropped.
        captured: Replay CUDA graphs; only on CUDA devices.

    Attributes:
        losses: (2,) summed losses since they were last taken: of teachers, and of learners.
    """

    def __init__(
        self, space: SearchSpace, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor], *,
        batch: int, label_smoothing: float, share: float, device: torch.device, kept: int,
        captured: bool,
    ) -> None:  # fmt: skip
        self._space, self._values, self._gradients = space, values, gradients
        self._label_smoothing, self._share = label_smoothing, share
        self._device, self._kept, self._captured = device, kept, captured
        self._ready: OrderedDict[tuple[Architecture, bool], Callable[[], None]] = OrderedDict()
        # Addresses that captured passes read and write.
        self._images = torch.zeros(batch, 3, SIZE, SIZE, device=device).contiguous(
            memory_format=torch.channels_last
        )
        self._labels = torch.zeros(batch, dtype=torch.int64, device=device)
        self._answers = torch.zeros(batch, len(CLASSES), device=device)
        self.losses = torch.zeros(2, device=device)
        if captured:
            self._stream = torch.cuda.Stream(device)
            self._memory = torch.cuda.graph_pool_handle()

    def feed(self, images: Tensor, labels: Tensor) -> None:
        """Set the batch: (batch, 3, 32, 32) floats and (batch,) classes."""
        self._images.copy_(images)
        self._labels.copy_(labels)

    def teach(self, arch: Architecture) -> None:
        """Train a network on the labels; its answers are what `learn` learns from."""
        self._run(arch, teacher=True)

    def learn(self, arch: Architecture) -> None:
        """Train a network on the answers of the last one that was taught."""
        self._run(arch, teacher=False)

    def take_losses(self) -> tuple[float, float]:
        """The summed losses, which start again from 0; waits for the device."""
        teacher, learners = self.losses.tolist()
        self.losses.zero_()
        return teacher, learners

    def _run(self, arch: Architecture, *, teacher: bool) -> None:
        key = (arch, teacher)
        run = self._ready.get(key)
        if run is not None:
            self._ready.move_to_end(key)
            run()
            return
        graph = self._space.graph(arch)
        own = leaves(graph, self._values, self._gradients)

        def run_eagerly() -> None:
            self._pass(graph, own, teacher=teacher)

        self._ready[key] = self._capture(run_eagerly) if self._captured else run_eagerly
        if not self._captured:
            run_eagerly()
        if len(self._ready) > self._kept:
            self._ready.popitem(last=False)

    def _pass(self, graph: OpGraph, own: Mapping[str, Tensor], *, teacher: bool) -> None:
        with mixed_precision(self._device):
            logits = forward(
                graph, own, fitted(self._images, graph), training=True, statistics="batch"
            )
        logits = logits.float()
        if teacher:
            loss = functional.cross_entropy(
                logits, self._labels, label_smoothing=self._label_smoothing
            )
            self._answers.copy_(logits.detach().softmax(1))
        else:
            loss = -(self._answers * logits.log_softmax(1)).sum(1).mean()
        with warnings.catch_warnings():
            # Gradients are views of one vector on purpose: nothing is copied, nothing is lost.
            warnings.filterwarnings("ignore", message="grad and param do not obey")
            torch.autograd.backward([loss * self._share])
        self.losses[0 if teacher else 1].add_(loss.detach())

    def _capture(self, run_eagerly: Callable[[], None]) -> Callable[[], None]:
        """Run a pass once, which also chooses its algorithms, then record it without running it."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            run_eagerly()
        current.wait_stream(self._stream)
        recorded = torch.cuda.CUDAGraph()
        try:
            # Passes never overlap and leave nothing behind but sums, so they share their memory.
            with torch.cuda.graph(recorded, pool=self._memory, stream=self._stream):
                run_eagerly()
        except RuntimeError as error:
            logger.warning("passes cannot be captured, going on eagerly: %s", error)
            self._captured = False
            return run_eagerly
        return recorded.replay
