"""Layer graphs as torch computations; the room's only import of torch.

`forward` is a pure function of a graph and named tensors. A super-network is the same function over
shared tensors: each operator reads its slice, no module is built, nothing is copied. `GraphModule`
is a thin shell for those who want a network of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.errors import InvalidGraphError
from search_spaces.graph import INPUT, OpGraph
from search_spaces.ops import (
    Activate,
    Activation,
    Add,
    Attention,
    AveragePool,
    BatchNorm,
    ChannelShuffle,
    ClassToken,
    Conv,
    Flatten,
    GlobalAveragePool,
    LayerNorm,
    Linear,
    Op,
    PositionEmbedding,
    Scale,
    TakeToken,
    TokenLinear,
    Tokens,
    Zero,
)
from search_spaces.tensors import NORM_EPS, TensorSlot, covering, fold, graph_slots, slots

Statistics = Literal["batch", "stored"]
Tensors = Mapping[str, Tensor]

# Large first steps of the classifier drown the features: it starts near zero.
_HEAD_STD = 0.01
_EMBEDDING_STD = 0.02
_MODULE_MOMENTUM = 0.1


def forward(
    graph: OpGraph,
    tensors: Tensors,
    x: Tensor,
    *,
    training: bool = False,
    statistics: Statistics = "stored",
    momentum: float | None = None,
) -> Tensor:
    """Run a network on tensors of its own or on slices of shared ones.

    Args:
        graph: The network.
        tensors: By name, see `search_spaces.tensors`; the largest network's or this one's.
        x: (n, *graph.input_shape) samples.
        training: Keep what gradients need; without it nothing is recorded.
        statistics: What batch norms divide by: the batch's own, or the `.bn.mean` and `.bn.var` of
            `tensors`. A sub-network's stored statistics must have been taken of itself.
        momentum: With `batch`, how far the stored statistics move towards the batch's, in place;
            None leaves them alone, and then they need not be there.

    Returns:
        (n, *graph.output.shape).

    Raises:
        InvalidGraphError: If an operator is unknown or a tensor is missing or too small.
    """
    context = _Context(tensors, statistics, momentum)
    last_use = {name: step for step, op in enumerate(graph.ops) for name in op.inputs}
    live = {INPUT: x}
    with torch.set_grad_enabled(training and torch.is_grad_enabled()):
        for step, op in enumerate(graph.ops):
            live[op.name] = _apply(op, [live[name] for name in op.inputs], context)
            for name in set(op.inputs):
                if last_use[name] == step:
                    del live[name]
    return live[graph.output.name]


class _Context:
    """The tensors of one pass, and how its batch norms are to behave."""

    def __init__(self, tensors: Tensors, statistics: Statistics, momentum: float | None) -> None:
        self.tensors = tensors
        self.statistics = statistics
        self.momentum = momentum

    def read(self, slot: TensorSlot) -> Tensor:
        """The slot's part of its shared tensor, as a view."""
        whole = self.tensors.get(slot.name)
        if whole is None:
            msg = f"no tensor named {slot.name!r}; {len(self.tensors)} others are there"
            raise InvalidGraphError(msg)
        return whole if whole.shape == slot.shape else whole[slot.within(tuple(whole.shape))]

    def by_role(self, op: Op) -> dict[str, Tensor]:
        """What the operator reads, by role; statistics only if they are used."""
        wanted = self.statistics == "stored" or self.momentum is not None
        return {slot.role: self.read(slot) for slot in slots(op) if slot.trained or wanted}

    def normalise(self, x: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        """Batch norm over all axes but the channels'."""
        return functional.batch_norm(
            x, own.get("mean"), own.get("variance"), own["scale"], own["shift"],
            training=self.statistics == "batch", momentum=self.momentum or 0.0, eps=NORM_EPS,
        )  # fmt: skip


def _apply(op: Op, inputs: list[Tensor], context: _Context) -> Tensor:
    x = inputs[0]
    match op:
        case Conv():
            own = context.by_role(op)
            y = functional.conv2d(
                x, own["kernel"], own.get("bias"), stride=op.stride, padding=op.pad,
                groups=op.groups,
            )  # fmt: skip
            return _activate(context.normalise(y, own) if op.normalised else y, op.activation)
        case BatchNorm():
            return context.normalise(x, context.by_role(op))
        case Linear():
            own = context.by_role(op)
            return functional.linear(x, own["matrix"], own.get("bias"))
        case Activate():
            return _activate(x, op.activation)
        case AveragePool():
            return functional.avg_pool2d(
                x, op.kernel, op.stride, op.padding, count_include_pad=False
            )
        case ChannelShuffle():
            grouped = x.reshape(len(x), op.groups, -1, *op.shape[1:])
            return grouped.transpose(1, 2).reshape(x.shape)
        case GlobalAveragePool():
            return x.mean(dim=(2, 3), keepdim=True)
        case Flatten():
            return x.flatten(1)
        case Add():
            return x + inputs[1]
        case Scale():
            return x * inputs[1]
        case Zero():
            return x * 0.0
        case _:
            return _apply_to_tokens(op, inputs, context)


def _apply_to_tokens(op: Op, inputs: list[Tensor], context: _Context) -> Tensor:
    x = inputs[0]
    match op:
        case Tokens():
            return x.flatten(2).transpose(1, 2)
        case ClassToken():
            token = context.by_role(op)["embedding"].to(x.dtype)
            return torch.cat([token.expand(len(x), -1, -1), x], dim=1)
        case PositionEmbedding():
            return x + context.by_role(op)["embedding"]
        case LayerNorm():
            own = context.by_role(op)
            return functional.layer_norm(
                x, own["scale"].shape, own["scale"], own["shift"], op.epsilon
            )
        case TokenLinear():
            own = context.by_role(op)
            y = functional.linear(x, own["matrix"], own.get("bias"))
            return _activate(y, op.activation)
        case Attention():
            heads = [part.unflatten(2, (op.heads, -1)).transpose(1, 2) for part in inputs]
            mixed = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2])
            return mixed.transpose(1, 2).flatten(2)
        case TakeToken():
            return x[:, op.index]
        case _:
            msg = f"operator {op.name!r} of kind {op.kind!r} has no torch form here"
            raise InvalidGraphError(msg)


def _activate(x: Tensor, activation: Activation) -> Tensor:
    match activation:
        case "relu":
            return functional.relu(x)
        case "hard_swish":
            return functional.hardswish(x)
        case "hard_sigmoid":
            return functional.hardsigmoid(x)
        case "gelu":
            return functional.gelu(x)
        case "none":
            return x


def init_tensors(graph: OpGraph, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Fresh tensors of a network, by name: see `init_slots`; its last matrix starts near zero."""
    return init_slots(covering(graph_slots(graph)), generator, head=head_name(graph))


def head_name(graph: OpGraph) -> str | None:
    """Name of the matrix that makes the output, if the last operator is one."""
    last = graph.output
    return last.weight.key if isinstance(last, Linear) else None


def init_slots(
    wanted: Mapping[str, TensorSlot],
    generator: torch.Generator | None = None,
    *,
    head: str | None = None,
) -> dict[str, Tensor]:
    """Fresh tensors for slots, in 32 bits on the generator's device, drawn in the given order.

    Kernels are He-normal (variance 2 over the fan-in), matrices have variance 1 over the fan-in,
    the matrix `head` a standard deviation of 0.01, embeddings one of 0.02; scales and variances are
    1, all else 0.

    Source: He et al., "Delving Deep into Rectifiers", 2015, section 2.2.
    """
    device = generator.device if generator is not None else torch.device("cpu")
    result = {}
    for slot in wanted.values():
        fan_in = prod(slot.shape[1:])
        if slot.role == "kernel":
            std = sqrt(2.0 / fan_in)
        elif slot.role == "matrix":
            std = _HEAD_STD if slot.name == head else sqrt(1.0 / fan_in)
        elif slot.role == "embedding":
            std = _EMBEDDING_STD
        else:
            fill = 1.0 if slot.role in ("scale", "variance") else 0.0
            result[slot.name] = torch.full(slot.shape, fill, device=device)
            continue
        drawn = torch.randn(slot.shape, generator=generator, device=device)
        result[slot.name] = drawn * std
    return result


def to_arrays(tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    """Tensors as NumPy arrays in 32 bits, copied off their device."""
    return {
        name: np.array(tensor.detach().to("cpu", torch.float32).numpy(), order="C")
        for name, tensor in tensors.items()
    }


def from_arrays(
    arrays: Mapping[str, NDArray[np.float32]], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """NumPy arrays as tensors in 32 bits on a device, copied."""
    return {
        name: torch.tensor(array, dtype=torch.float32, device=device)
        for name, array in arrays.items()
    }


def folded(graph: OpGraph, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    """What `build_onnx` takes: a network's own tensors with its stored statistics folded in."""
    names = {slot.name for slot in graph_slots(graph)}
    return fold(graph, to_arrays({name: tensors[name] for name in names if name in tensors}))


class GraphModule(nn.Module):
    """One network with parameters and statistics of its own.

    Batch norms use the batch in training mode, moving the stored statistics by a tenth, and the
    stored statistics in evaluation mode, as torch's own do.

    Args:
        graph: The network.
        weights: Tensors by name to start from, this network's or the largest one's; copied.
        seed: Of the initial values where no weights are given.
    """

    def __init__(self, graph: OpGraph, weights: Tensors | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.graph = graph
        tensors = init_tensors(graph, torch.Generator().manual_seed(seed))
        source = _Context(weights, "stored", None) if weights is not None else None
        for slot in graph_slots(graph):
            value = tensors[slot.name][slot.within(tuple(tensors[slot.name].shape))]
            if source is not None:
                value = source.read(slot).detach()
            if slot.trained:
                self.register_parameter(_attribute(slot.name), nn.Parameter(value.clone()))
            else:
                self.register_buffer(_attribute(slot.name), value.clone())
        self._names = [slot.name for slot in graph_slots(graph)]

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and statistics under the names of the layer graph."""
        return {name: getattr(self, _attribute(name)) for name in self._names}

    def forward(self, x: Tensor) -> Tensor:
        """(n, *input_shape) to (n, *output_shape)."""
        return forward(
            self.graph, self.tensors(), x, training=True,
            statistics="batch" if self.training else "stored",
            momentum=_MODULE_MOMENTUM if self.training else None,
        )  # fmt: skip


def _attribute(name: str) -> str:
    """No dot may stand in the names of parameters."""
    return name.replace(".", "/")
