"""A network that normalises by the statistics of the batch it is given, and puts them out.

A sub-network cut out of shared weights has no batch-norm statistics of its own. This ONNX form of
its layer graph finds them in one run: each normalised convolution is followed by the mean and
variance of its own result over the batch, in place of stored ones, so that what comes after sees
what it will see when the network is deployed. No training framework is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from search_spaces.errors import InvalidGraphError
from search_spaces.graph import OpGraph
from search_spaces.onnx_build import build_onnx
from search_spaces.ops import Conv
from search_spaces.tensors import NORM_EPS

_SCALE, _SHIFT = ".bn.weight", ".bn.bias"


def normalised_ops(graph: OpGraph) -> list[Conv]:
    """The convolutions that have statistics, `<key>.bn.mean` and `<key>.bn.var`."""
    return [op for op in graph.ops if isinstance(op, Conv) and op.normalised]


def calibration_onnx(graph: OpGraph, own: Mapping[str, NDArray[np.float32]], batch: int) -> bytes:
    """Serialise a network that computes the statistics of its normalised convolutions.

    Args:
        graph: The network.
        own: Its trained tensors, cut to it, named as in `search_spaces.tensors`.
        batch: Images of the one run, fixed in the model.

    Returns:
        A model with the input `input` (batch, ...) and the outputs `output` and, for each
        normalised convolution, `<op>.mean` and `<op>.var` (1, channels, 1, 1): mean and (biased)
        variance of its result over batch, height and width.

    Raises:
        InvalidGraphError: If a tensor is missing.
    """
    ops = {f"{op.name}.weight": op for op in normalised_ops(graph)}
    for name in (op.weight.key + part for op in ops.values() for part in (_SCALE, _SHIFT)):
        if name not in own:
            msg = f"no tensor named {name!r}; {len(own)} others are there"
            raise InvalidGraphError(msg)
    # The form for inference asks for a bias where a normalisation would be folded in.
    folded = [op for op in ops.values() if not op.bias]
    biases = {f"{op.weight.key}.bias": own[op.weight.key + _SHIFT] for op in folded}
    plain = onnx.load_from_string(build_onnx(graph, {**own, **biases}, batch=batch))
    model = onnx.ModelProto()
    model.CopyFrom(plain)
    body = model.graph
    del body.node[:], body.initializer[:]
    unread = {f"{op.name}.bias" for op in folded}
    body.initializer.extend(t for t in plain.graph.initializer if t.name not in unread)
    body.initializer.append(
        numpy_helper.from_array(np.full((1, 1, 1, 1), NORM_EPS, dtype=np.float32), "epsilon")
    )
    for node in plain.graph.node:
        op = ops.get(node.input[1]) if len(node.input) > 1 else None
        if op is None:
            body.node.append(node)
            continue
        shape = (1, op.shape[0], 1, 1)
        body.node.extend(_normalised(node, op))
        for name, part in (("scale", _SCALE), ("shift", _SHIFT)):
            values = np.reshape(own[op.weight.key + part], shape)
            body.initializer.append(numpy_helper.from_array(values, f"{op.name}.{name}"))
        for name in ("mean", "var"):
            value = helper.make_tensor_value_info(f"{op.name}.{name}", TensorProto.FLOAT, shape)
            body.output.append(value)
    data: bytes = model.SerializeToString()
    return data


def _normalised(conv: onnx.NodeProto, op: Conv) -> Iterator[onnx.NodeProto]:
    """The convolution as in training, then its normalisation; the last tensor keeps its name."""
    name, bare = op.name, onnx.NodeProto()
    bare.CopyFrom(conv)
    if not op.bias:
        del bare.input[2:]
    bare.output[0] = f"{name}.convolved"
    yield bare

    def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        """Names beginning with a point are those of this operator."""
        read = [name + part if part.startswith(".") else part for part in inputs.split()]
        return helper.make_node(kind, read, [name + output], **attributes)

    # Means in two steps, so that not a quarter of a million numbers are added up one by one.
    yield node("GlobalAveragePool", ".convolved", ".means")
    yield node("ReduceMean", ".means", ".mean", axes=[0], keepdims=1)
    yield node("Sub", ".convolved .mean", ".centred")
    yield node("Mul", ".centred .centred", ".squares")
    yield node("GlobalAveragePool", ".squares", ".vars")
    yield node("ReduceMean", ".vars", ".var", axes=[0], keepdims=1)
    yield node("Add", ".var epsilon", ".positive")
    yield node("Sqrt", ".positive", ".sd")
    yield node("Div", ".scale .sd", ".factor")
    yield node("Mul", ".centred .factor", ".scaled")
    yield helper.make_node("Add", [f"{name}.scaled", f"{name}.shift"], [conv.output[0]])
