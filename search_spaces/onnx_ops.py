"""Each operator of a layer graph as ONNX nodes; knows the operator set, not the onnx package."""

from __future__ import annotations

from math import sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import InvalidGraphError
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
    WeightSlice,
    Zero,
)


class Writer(Protocol):
    """Collects nodes and tensors."""

    batch: int

    def node(
        self, kind: str, inputs: list[str], output: str, **attributes: int | float | list[int]
    ) -> object:
        """Append one node."""

    def weight(self, name: str, part: WeightSlice, *, transposed: bool = False) -> str:
        """Add one weight tensor, a matrix transposed if asked for; returns its name."""

    def constant(self, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add a tensor that is no weight, once; returns its name."""


def write_op(writer: Writer, op: Op, inputs: list[str], output: str) -> None:
    """Append the nodes of one operator.

    Args:
        writer: Takes nodes and tensors.
        op: The operator.
        inputs: Tensors it reads.
        output: The tensor it produces.

    Raises:
        InvalidGraphError: If the operator is unknown, or a weight is missing or too small.
    """
    match op:
        case Conv() | Linear() | BatchNorm() | AveragePool() | ChannelShuffle():
            _write_image(writer, op, inputs, output)
        case GlobalAveragePool():
            writer.node("GlobalAveragePool", inputs, output)
        case Flatten():
            writer.node("Flatten", inputs, output, axis=1)
        case Add():
            writer.node("Add", inputs, output)
        case Scale():
            writer.node("Mul", inputs, output)
        case Zero():
            writer.node("Mul", [*inputs, _scalar(writer, 0.0)], output)
        case Activate():
            _activate(writer, op.activation, inputs[0], output)
        case _:
            _write_tokens(writer, op, inputs, output)


def _write_image(
    writer: Writer, op: Conv | Linear | BatchNorm | AveragePool | ChannelShuffle,
    inputs: list[str], output: str,
) -> None:  # fmt: skip
    match op:
        case Conv():
            inputs = [*inputs, writer.weight(f"{op.name}.weight", op.weight)]
            if op.biased:
                inputs.append(writer.weight(f"{op.name}.bias", op.weight.bias))
            raw = output if op.activation == "none" else f"{op.name}.raw"
            writer.node(
                "Conv", inputs, raw, kernel_shape=[op.kernel] * 2, pads=[op.pad] * 4,
                strides=[op.stride] * 2, group=op.groups, dilations=[1, 1],
            )  # fmt: skip
            if raw != output:
                _activate(writer, op.activation, raw, output)
        case Linear():
            inputs = [*inputs, writer.weight(f"{op.name}.weight", op.weight)]
            if op.bias:
                inputs.append(writer.weight(f"{op.name}.bias", op.weight.bias))
            writer.node("Gemm", inputs, output, transB=1)
        case BatchNorm():
            # Folded: the statistics are in scale and shift already.
            channels = op.shape[0]
            writer.node(
                "BatchNormalization",
                [*inputs, *_scale_and_shift(writer, op.name, op.weight),
                 writer.constant(np.zeros(channels, dtype=np.float32)),
                 writer.constant(np.ones(channels, dtype=np.float32))],
                output, epsilon=0.0,
            )  # fmt: skip
        case AveragePool():
            writer.node(
                "AveragePool", inputs, output, kernel_shape=[op.kernel] * 2,
                strides=[op.stride] * 2, pads=[op.padding] * 4, count_include_pad=0,
            )  # fmt: skip
        case ChannelShuffle():
            channels, *place = op.shape
            grouped = [op.groups, channels // op.groups, *place]
            split = _reshape(writer, inputs[0], grouped, f"{op.name}.split")
            writer.node("Transpose", [split], f"{op.name}.turned", perm=[0, 2, 1, 3, 4])
            _reshape(writer, f"{op.name}.turned", [*op.shape], output)


def _write_tokens(writer: Writer, op: Op, inputs: list[str], output: str) -> None:
    match op:
        case Tokens():
            flat = _reshape(writer, inputs[0], [op.shape[1], op.shape[0]], f"{op.name}.flat")
            writer.node("Transpose", [flat], output, perm=[0, 2, 1])
        case ClassToken():
            token = writer.weight(f"{op.name}.weight", op.weight)
            if writer.batch > 1:
                extent = writer.constant(np.array([writer.batch, 1, 1], dtype=np.int64))
                writer.node("Expand", [token, extent], f"{op.name}.each")
                token = f"{op.name}.each"
            writer.node("Concat", [token, *inputs], output, axis=1)
        case PositionEmbedding():
            writer.node("Add", [*inputs, writer.weight(f"{op.name}.weight", op.weight)], output)
        case LayerNorm():
            tensors = _scale_and_shift(writer, op.name, op.weight)
            writer.node(
                "LayerNormalization", [*inputs, *tensors], output, axis=-1, epsilon=op.epsilon
            )
        case TokenLinear():
            _write_token_linear(writer, op, inputs[0], output)
        case Attention():
            _write_attention(writer, op, inputs, output)
        case TakeToken():
            place = writer.constant(np.array(op.index, dtype=np.int64))
            writer.node("Gather", [*inputs, place], output, axis=1)
        case _:
            msg = f"operator {op.name!r} of kind {op.kind!r} has no ONNX form here"
            raise InvalidGraphError(msg)


def _write_token_linear(writer: Writer, op: TokenLinear, source: str, output: str) -> None:
    raw = output if op.activation == "none" else f"{op.name}.raw"
    product = f"{op.name}.product" if op.bias else raw
    weight = writer.weight(f"{op.name}.weight", op.weight, transposed=True)
    writer.node("MatMul", [source, weight], product)
    if op.bias:
        writer.node("Add", [product, writer.weight(f"{op.name}.bias", op.weight.bias)], raw)
    if raw != output:
        _activate(writer, op.activation, raw, output)


def _write_attention(writer: Writer, op: Attention, inputs: list[str], output: str) -> None:
    count, width = op.shape[0], op.head_width
    turned = []
    # Heads first; keys transposed, so that queries times keys are the scores.
    for part, source, perm in zip(
        ("q", "k", "v"), inputs, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True
    ):
        split = _reshape(writer, source, [count, op.heads, width], f"{op.name}.{part}.heads")
        turned.append(f"{op.name}.{part}")
        writer.node("Transpose", [split], turned[-1], perm=perm)
    query, key, value = turned
    writer.node("MatMul", [query, key], f"{op.name}.raw")
    scale = _scalar(writer, 1.0 / sqrt(width))
    writer.node("Mul", [f"{op.name}.raw", scale], f"{op.name}.scaled")
    writer.node("Softmax", [f"{op.name}.scaled"], f"{op.name}.scores", axis=-1)
    writer.node("MatMul", [f"{op.name}.scores", value], f"{op.name}.mixed")
    writer.node("Transpose", [f"{op.name}.mixed"], f"{op.name}.joined", perm=[0, 2, 1, 3])
    _reshape(writer, f"{op.name}.joined", [*op.shape], output)


def _scale_and_shift(writer: Writer, name: str, part: WeightSlice) -> list[str]:
    return [writer.weight(f"{name}.weight", part), writer.weight(f"{name}.bias", part.bias)]


def _scalar(writer: Writer, value: float) -> str:
    return writer.constant(np.array(value, dtype=np.float32))


def _reshape(writer: Writer, source: str, shape: list[int], output: str) -> str:
    """Give each sample another shape; 0 keeps the batch."""
    extent = writer.constant(np.array([0, *shape], dtype=np.int64))
    writer.node("Reshape", [source, extent], output)
    return output


def _activate(writer: Writer, activation: Activation, raw: str, output: str) -> None:
    match activation:
        case "relu":
            writer.node("Relu", [raw], output)
        case "hard_swish":
            writer.node("HardSwish", [raw], output)
        case "hard_sigmoid":
            writer.node("HardSigmoid", [raw], output, alpha=1.0 / 6.0, beta=0.5)
        case "gelu":
            # Operator set 17 has no Gelu; runtimes know this chain and run it as one kernel.
            writer.node("Div", [raw, _scalar(writer, sqrt(2.0))], f"{output}.gelu.div")
            writer.node("Erf", [f"{output}.gelu.div"], f"{output}.gelu.erf")
            writer.node("Add", [f"{output}.gelu.erf", _scalar(writer, 1.0)], f"{output}.gelu.add")
            writer.node("Mul", [raw, f"{output}.gelu.add"], f"{output}.gelu.mul")
            writer.node("Mul", [f"{output}.gelu.mul", _scalar(writer, 0.5)], output)
        case "none":
            writer.node("Identity", [raw], output)
