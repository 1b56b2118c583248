"""Batch statistics by ONNX Runtime, against NumPy in 64 bits."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from search_spaces.errors import InvalidGraphError
from search_spaces.graph import OpGraph
from search_spaces.onnx_build import build_onnx
from search_spaces.onnx_calibrate import calibration_onnx, normalised_ops
from search_spaces.ops import (
    Add,
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    Op,
    Scale,
    WeightSlice,
)
from search_spaces.tensors import NORM_EPS, fold, graph_slots

Array = NDArray[np.float32]
Wide = NDArray[np.float64]


def conv(name: str, source: str, weight: tuple[int, ...], shape: tuple[int, ...],
         **fields: object) -> Conv:  # fmt: skip
    part = WeightSlice(name, (0,) * 4, weight)
    default: dict = {"in_channels": weight[1], "kernel": weight[2]}
    return Conv(name=name, inputs=(source,), shape=shape, weight=part, **(default | fields))


def network() -> OpGraph:
    """Strides, groups, a residual, squeeze-and-excite, a bias with a normalisation and without."""
    ops: tuple[Op, ...] = (
        conv("stem", "input", (6, 3, 3, 3), (6, 5, 4), stride=2, activation="hard_swish"),
        conv("deep", "stem", (6, 1, 5, 5), (6, 5, 4), groups=6, in_channels=6, activation="relu"),
        GlobalAveragePool(name="pool", inputs=("deep",), shape=(6, 1, 1)),
        conv("gate", "pool", (6, 6, 1, 1), (6, 1, 1), activation="hard_sigmoid",
             normalised=False, bias=True),
        Scale(name="scale", inputs=("deep", "gate"), shape=(6, 5, 4)),
        conv("project", "scale", (6, 6, 1, 1), (6, 5, 4), bias=True),
        Add(name="add", inputs=("project", "stem"), shape=(6, 5, 4)),
        GlobalAveragePool(name="last", inputs=("add",), shape=(6, 1, 1)),
        Flatten(name="flat", inputs=("last",), shape=(6,)),
        Linear(name="classes", inputs=("flat",), shape=(4,), in_features=6,
               weight=WeightSlice("classes", (0, 0), (4, 6))),
    )  # fmt: skip
    return OpGraph((3, 10, 7), ops)


def tensors_of(graph: OpGraph) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    return {
        slot.name: rng.standard_normal(slot.shape).astype(np.float32)
        for slot in graph_slots(graph)
        if slot.trained
    }


def convolve(x: Wide, weight: Wide, op: Conv) -> Wide:
    pad, stride = op.kernel // 2, op.stride
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(padded, (op.kernel, op.kernel), (2, 3))[:, :, ::stride, ::stride]
    if op.groups > 1:
        return np.asarray(np.einsum("nchwij,cij->nchw", windows, weight[:, 0]))
    return np.asarray(np.einsum("nchwij,ocij->nohw", windows, weight))


def activate(x: Wide, kind: str) -> Wide:
    gate = np.clip(x / 6.0 + 0.5, 0.0, 1.0)
    forms = {"none": x, "relu": np.maximum(x, 0), "hard_sigmoid": gate, "hard_swish": x * gate}
    return np.asarray(forms[kind])


def interpret(graph: OpGraph, tensors: dict[str, Array], x: Array) -> tuple[Wide, dict[str, Wide]]:
    """Output and statistics of a batch, normalised by its own statistics."""
    live: dict[str, Wide] = {"input": x.astype(np.float64)}
    weights = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    found = {}
    for op in graph.ops:
        read = [live[name] for name in op.inputs]
        match op:
            case Conv():
                key = op.weight.key
                y = convolve(read[0], weights[key], op)
                if op.bias:
                    y = y + weights[f"{key}.bias"][:, None, None]
                if op.normalised:
                    mean, var = y.mean(axis=(0, 2, 3)), y.var(axis=(0, 2, 3))
                    found[f"{op.name}.mean"], found[f"{op.name}.var"] = mean, var
                    y = (y - mean[:, None, None]) / np.sqrt(var + NORM_EPS)[:, None, None]
                    y = y * weights[f"{key}.bn.weight"][:, None, None]
                    y = y + weights[f"{key}.bn.bias"][:, None, None]
                live[op.name] = activate(y, op.activation)
            case GlobalAveragePool():
                live[op.name] = read[0].mean(axis=(2, 3), keepdims=True)
            case Scale():
                live[op.name] = read[0] * read[1]
            case Add():
                live[op.name] = read[0] + read[1]
            case Flatten():
                live[op.name] = read[0].reshape(len(x), -1)
            case Linear():
                key = op.weight.key
                live[op.name] = read[0] @ weights[key].T + weights[f"{key}.bias"]
    return live[graph.output.name], found


def run(model: bytes, x: Array) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": x}), strict=True))


@pytest.fixture
def images() -> Array:
    return np.random.default_rng(2).standard_normal((16, 3, 10, 7)).astype(np.float32) + 0.3


def test_statistics_and_output_are_those_of_the_batch(images: Array) -> None:
    graph = network()
    tensors = tensors_of(graph)

    found = run(calibration_onnx(graph, tensors, len(images)), images)

    output, statistics = interpret(graph, tensors, images)
    assert found.pop("output") == pytest.approx(output, rel=1e-4, abs=1e-5)
    assert set(found) == set(statistics)
    for name, value in statistics.items():
        assert found[name].shape == (1, len(value), 1, 1)
        assert found[name].ravel() == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_folding_the_statistics_gives_the_same_output_on_the_same_batch(images: Array) -> None:
    """What is exported computes for these images what was computed while calibrating."""
    graph = network()
    tensors = tensors_of(graph)
    found = run(calibration_onnx(graph, tensors, len(images)), images)
    for op in normalised_ops(graph):
        for part in ("mean", "var"):
            tensors[f"{op.weight.key}.bn.{part}"] = found[f"{op.name}.{part}"].ravel()

    folded = run(build_onnx(graph, fold(graph, tensors), batch=len(images)), images)

    assert folded["output"] == pytest.approx(found["output"], rel=1e-3, abs=1e-4)


def test_the_model_is_valid_and_holds_no_tensor_that_nobody_reads() -> None:
    graph = network()

    model = onnx.load_from_string(calibration_onnx(graph, tensors_of(graph), 4))

    onnx.checker.check_model(model, full_check=True)
    read = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= read


def test_the_same_network_makes_the_same_bytes() -> None:
    graph = network()

    assert calibration_onnx(graph, tensors_of(graph), 4) == calibration_onnx(
        graph, tensors_of(graph), 4
    )


@pytest.mark.parametrize("name", ["deep", "deep.bn.weight", "deep.bn.bias", "gate.bias"])
def test_a_missing_tensor_is_refused_by_name(name: str) -> None:
    graph = network()
    tensors = tensors_of(graph)
    del tensors[name]

    with pytest.raises(InvalidGraphError, match=repr(name)):
        calibration_onnx(graph, tensors, 4)
