"""ONNX models straight from a layer graph, without torch; the room's only import of onnx.

Two forms. *Weightless*: every weight is a constant expression that a runtime folds when it loads
the model, so that a network is a few kilobytes and its latency that of the full model. *Full*: the
weights are given, or seeded random ones, said so in the metadata.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from search_spaces.errors import InvalidGraphError, UsageError
from search_spaces.graph import INPUT, OpGraph
from search_spaces.onnx_ops import write_op
from search_spaces.ops import WeightSlice

OPSET = 17
# The oldest IR version of that operator set: runtimes of the last years all read it.
IR_VERSION = 9
# Any small positive number: with zeros a runtime could prune, with large ones values overflow.
_FILL = 0.01
# Kernels of one shape differ a little: a runtime would merge equal layers that read one tensor.
_FILL_STEP = 0.01 / 1024

Weights = Mapping[str, NDArray[np.float32]]
Source = Callable[[WeightSlice], NDArray[np.float32]]


class _Writer:
    """Collects nodes and tensors while a graph is walked."""

    def __init__(self, weights: Source | None, batch: int) -> None:
        self.batch = batch
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._weights = weights
        self._shapes: dict[tuple[int, ...], str] = {}
        self._fills: Counter[tuple[int, ...]] = Counter()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def node(
        self, kind: str, inputs: list[str], output: str, **attributes: int | float | list[int]
    ) -> onnx.NodeProto:
        """Append one node; filled in by hand, which is four times as fast as the helper."""
        node = onnx.NodeProto(op_type=kind, input=inputs, output=[output])
        for name, value in attributes.items():
            attribute = node.attribute.add(name=name)
            if isinstance(value, list):
                attribute.type = AttributeProto.INTS
                attribute.ints.extend(value)
            elif isinstance(value, float):
                attribute.type, attribute.f = AttributeProto.FLOAT, value
            else:
                attribute.type, attribute.i = AttributeProto.INT, value
        self.nodes.append(node)
        return node

    def weight(self, name: str, part: WeightSlice, *, transposed: bool = False) -> str:
        """Add one weight tensor in the form asked for; returns its name."""
        if self._weights is None:
            extent = part.shape[::-1] if transposed else part.shape
            # One shape tensor serves all weights of that shape.
            shape = self._shapes.get(extent)
            if shape is None:
                shape = self._shapes[extent] = f"shape{len(self._shapes)}"
                self.tensors.append(
                    numpy_helper.from_array(np.array(extent, dtype=np.int64), shape)
                )
            node = self.node("ConstantOfShape", [shape], name)
            fill = node.attribute.add(name="value", type=AttributeProto.TENSOR)
            fill.t.dims.append(1)
            fill.t.data_type = TensorProto.FLOAT
            fill.t.float_data.append(_FILL + self._fills[extent] * _FILL_STEP)
            self._fills[extent] += len(extent) > 1
        else:
            value = self._weights(part)
            value = np.ascontiguousarray(value.T) if transposed else value
            self.tensors.append(numpy_helper.from_array(value, name))
        return name

    def constant(self, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add a tensor that is no weight, once; returns its name."""
        content = (value.dtype.str, value.shape, value.tobytes())
        name = self._constants.get(content)
        if name is None:
            name = self._constants[content] = f"constant{len(self._constants)}"
            self.tensors.append(numpy_helper.from_array(value, name))
        return name


def build_onnx(
    graph: OpGraph,
    weights: Literal["none", "seeded"] | Weights = "none",
    *,
    seed: int = 0,
    batch: int = 1,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Serialise a layer graph as an ONNX model with input `input` and output `output`.

    Args:
        graph: The network.
        weights: `none` for the weightless form; `seeded` for He-normal random weights, the same
            for the same seed and weight name; or tensors by name, normalisation folded, biases
            under `<name>.bias`: those of the largest network, from which this one's slices are
            taken, or this network's own.
        seed: For `seeded`.
        batch: Samples that one run takes, fixed in the model.
        metadata: Text stored in the model beside `weights` and `graph_digest`.

    Raises:
        InvalidGraphError: If an operator is unknown or a weight is missing or too small.
        UsageError: If `weights` is another word.
    """
    source: Source | None = None
    kind = "none"
    if weights == "seeded":
        source, kind = _seeded(seed), f"seeded:{seed}"
    elif not isinstance(weights, str):
        source, kind = _sliced(weights), "given"
    elif weights != "none":
        msg = f"weights {weights!r} are unknown; give none, seeded, or tensors by name"
        raise UsageError(msg)
    writer = _Writer(source, batch)
    names = {INPUT: "input"}
    for op in graph.ops:
        output = "output" if op is graph.output else op.name
        write_op(writer, op, [names[name] for name in op.inputs], output)
        names[op.name] = output
    model = helper.make_model(
        helper.make_graph(
            writer.nodes, "network", [_value("input", (batch, *graph.input_shape))],
            [_value("output", (batch, *graph.output.shape))], writer.tensors,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="hardware-aware-nas",
    )  # fmt: skip
    props = {"weights": kind, "graph_digest": graph.digest, **(metadata or {})}
    helper.set_model_props(model, props)
    data: bytes = model.SerializeToString()
    return data


def _value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _sliced(weights: Weights) -> Source:
    """Slices of the shared tensors of the largest network."""

    def cut(part: WeightSlice) -> NDArray[np.float32]:
        if part.key not in weights:
            msg = f"no weight named {part.key!r}; the file holds {len(weights)} others"
            raise InvalidGraphError(msg)
        whole = weights[part.key]
        if whole.shape == part.shape:
            # Already cut to this network, as an extracted sub-network's tensors are.
            return np.ascontiguousarray(whole, dtype=np.float32)
        stop = [start + extent for start, extent in zip(part.start, part.shape, strict=True)]
        if whole.ndim != len(stop) or any(s > e for s, e in zip(stop, whole.shape, strict=True)):
            msg = f"weight {part.key!r} has shape {whole.shape}; {part.shape} are needed of it"
            raise InvalidGraphError(msg)
        index = tuple(slice(a, b) for a, b in zip(part.start, stop, strict=True))
        return np.ascontiguousarray(whole[index], dtype=np.float32)

    return cut


_POOL = 1 << 20


@lru_cache(maxsize=2)
def _pool(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(_POOL, dtype=np.float32)


def _seeded(seed: int) -> Source:
    """He-normal kernels, zero biases, scales of one.

    Each kernel is cut from one pool at a place of its own: drawing every weight anew would take
    twenty times as long as the rest of the build.
    """
    pool = _pool(seed)

    def draw(part: WeightSlice) -> NDArray[np.float32]:
        if len(part.shape) == 1:
            fill = 0.0 if part.key.endswith(".bias") else 1.0
            return np.full(part.shape, fill, dtype=np.float32)
        place = int.from_bytes(hashlib.sha256(part.key.encode()).digest()[:8], "little") % _POOL
        size, fan_in = int(np.prod(part.shape)), int(np.prod(part.shape[1:]))
        values = np.empty(size, dtype=np.float32)
        done = 0
        while done < size:
            piece = pool[place : place + size - done]
            values[done : done + len(piece)] = piece
            done, place = done + len(piece), 0
        values *= np.float32(np.sqrt(2.0 / fan_in))
        return values.reshape(part.shape)

    return draw
