from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from search_spaces.architecture import Architecture
from search_spaces.errors import InvalidGraphError, UsageError
from search_spaces.graph import OpGraph
from search_spaces.onnx_build import Weights, build_onnx
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
from search_spaces.spaces.mobilenetv3 import RESOLUTIONS, SPACE, from_ofa

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = NDArray[np.float32]

LARGEST = Architecture(SPACE.name, tuple(len(choice.options) - 1 for choice in SPACE.choices))
SMALLEST = Architecture(SPACE.name, (0,) * len(SPACE.choices))


# --- An independent interpreter ----------------------------------------------------------------


def convolve(x: Array, weight: Array, bias: Array | None, stride: int, groups: int) -> Array:
    """A padded convolution, output pixel by output pixel, in 64 bits."""
    kernel, group_out = weight.shape[2], weight.shape[0] // groups
    group_in = weight.shape[1]
    pad = kernel // 2
    padded = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad)))
    height, width = ((extent + stride - 1) // stride for extent in x.shape[1:])
    out = np.zeros((weight.shape[0], height, width))
    for channel in range(weight.shape[0]):
        first = channel // group_out * group_in
        for row in range(height):
            for column in range(width):
                window = padded[
                    first : first + group_in,
                    row * stride : row * stride + kernel,
                    column * stride : column * stride + kernel,
                ]
                out[channel, row, column] = (window * weight[channel]).sum()
        if bias is not None:
            out[channel] += bias[channel]
    return out.astype(np.float32)


def activate(x: Array, kind: str) -> Array:
    gate = np.clip(x / 6.0 + 0.5, 0.0, 1.0)
    forms = {
        "none": x, "relu": np.maximum(x, 0), "hard_sigmoid": gate, "hard_swish": x * gate
    }  # fmt: skip
    return np.asarray(forms[kind])


def interpret(graph: OpGraph, weights: Mapping[str, Array], x: Array) -> Array:
    """Run a layer graph whose weights are used whole."""
    tensors = {"input": x}
    for op in graph.ops:
        read = [tensors[name] for name in op.inputs]
        match op:
            case Conv():
                key = op.weight.key
                biased = op.normalised or op.bias
                bias = weights[f"{key}.bias"] if biased else None
                raw = convolve(read[0], weights[key], bias, op.stride, op.groups)
                tensors[op.name] = activate(raw, op.activation)
            case GlobalAveragePool():
                tensors[op.name] = read[0].mean(axis=(1, 2), keepdims=True)
            case Scale():
                tensors[op.name] = read[0] * read[1]
            case Add():
                tensors[op.name] = read[0] + read[1]
            case Flatten():
                tensors[op.name] = read[0].ravel()
            case Linear():
                key = op.weight.key
                tensors[op.name] = weights[key] @ read[0] + weights[f"{key}.bias"]
    return tensors[graph.output.name]


def run(model: bytes, x: Array | None = None) -> Array:
    """The output of a model, batch left out; input is seeded noise if none is given."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    if x is None:
        x = np.random.default_rng(0).standard_normal(entry.shape[1:], dtype=np.float32)
    return np.asarray(session.run(None, {entry.name: x[None]})[0][0])


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def conv(
    name: str, source: str, cut: WeightSlice, shape: tuple[int, ...], **fields: object
) -> Conv:
    defaults: dict = {"in_channels": cut.shape[1], "kernel": cut.shape[2]}
    return Conv(name=name, inputs=(source,), shape=shape, weight=cut, **(defaults | fields))


def whole(key: str, *shape: int) -> WeightSlice:
    return WeightSlice(key, (0,) * len(shape), shape)


def small_network() -> OpGraph:
    """All operators and activations: a bottleneck with squeeze-and-excite and a classifier."""
    ops: tuple[Op, ...] = (
        conv("stem", "input", whole("stem", 4, 3, 3, 3), (4, 4, 5), stride=2,
             activation="hard_swish"),
        conv("deep", "stem", whole("deep", 4, 1, 5, 5), (4, 4, 5), groups=4, in_channels=4,
             activation="relu"),
        GlobalAveragePool(name="pool", inputs=("deep",), shape=(4, 1, 1)),
        conv("reduce", "pool", whole("reduce", 2, 4, 1, 1), (2, 1, 1), activation="relu",
             normalised=False, bias=True),
        conv("widen", "reduce", whole("widen", 4, 2, 1, 1), (4, 1, 1), activation="hard_sigmoid",
             normalised=False, bias=True),
        Scale(name="scale", inputs=("deep", "widen"), shape=(4, 4, 5)),
        conv("project", "scale", whole("project", 4, 4, 1, 1), (4, 4, 5)),
        Add(name="add", inputs=("project", "stem"), shape=(4, 4, 5)),
        conv("groups", "add", whole("groups", 6, 2, 3, 3), (6, 4, 5), groups=2, in_channels=4,
             normalised=False),
        GlobalAveragePool(name="last", inputs=("groups",), shape=(6, 1, 1)),
        Flatten(name="flat", inputs=("last",), shape=(6,)),
        Linear(name="classes", inputs=("flat",), shape=(3,), in_features=6,
               weight=whole("classes", 3, 6)),
    )  # fmt: skip
    return OpGraph((3, 7, 9), ops)


def weights_of(graph: OpGraph) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for seed, op in enumerate(graph.ops):
        if isinstance(op, Conv | Linear):
            found[op.weight.key] = noise(*op.weight.shape, seed=seed)
            found[f"{op.weight.key}.bias"] = noise(op.weight.shape[0], seed=seed + 100)
    return found


# --- Numbers -----------------------------------------------------------------------------------


def test_a_model_computes_what_its_layer_graph_says() -> None:
    graph = small_network()
    weights, x = weights_of(graph), noise(*graph.input_shape)

    found = run(build_onnx(graph, weights), x)

    assert found == pytest.approx(interpret(graph, weights, x), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", ["none", "relu", "hard_swish", "hard_sigmoid"])
def test_activations_are_those_of_the_papers(kind: str) -> None:
    """From far below to far above the straight part of each."""
    ops = (conv("c", "input", whole("c", 1, 1, 1, 1), (1, 1, 41), activation=kind),)
    weights = {"c": np.ones((1, 1, 1, 1), np.float32), "c.bias": np.zeros(1, np.float32)}
    x = np.linspace(-5.0, 5.0, 41, dtype=np.float32).reshape(1, 1, 41)

    found = run(build_onnx(OpGraph((1, 1, 41), ops), weights), x)

    assert found == pytest.approx(activate(x, kind), abs=1e-6)


def test_the_samples_of_a_batch_do_not_touch_each_other() -> None:
    graph = small_network()
    weights = weights_of(graph)
    batch = noise(3, *graph.input_shape)
    session = onnxruntime.InferenceSession(
        build_onnx(graph, weights, batch=3), providers=["CPUExecutionProvider"]
    )

    (found,) = session.run(None, {"input": batch})

    alone = [run(build_onnx(graph, weights), x) for x in batch]
    assert found == pytest.approx(np.array(alone), rel=1e-4, abs=1e-5)


def test_given_weights_are_cut_from_the_largest_and_kernels_from_their_centre() -> None:
    cut = WeightSlice("deep", (0, 0, 2, 2), (3, 1, 3, 3))
    graph = OpGraph((3, 6, 6), (conv("d", "input", cut, (3, 6, 6), groups=3, in_channels=3),))
    largest = {"deep": noise(5, 1, 7, 7), "deep.bias": noise(5, seed=1)}
    x = noise(3, 6, 6, seed=2)

    found = run(build_onnx(graph, largest), x)

    expected = convolve(x, largest["deep"][:3, :, 2:5, 2:5], largest["deep.bias"][:3], 1, 3)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_small_network_of_the_space_is_cut_from_the_weights_of_the_largest() -> None:
    largest: dict[str, Array] = {}
    for op in SPACE.graph(LARGEST).ops:
        if isinstance(op, Conv | Linear):
            largest[op.weight.key] = np.full(op.weight.shape, 0.01, dtype=np.float32)
            largest[f"{op.weight.key}.bias"] = np.zeros(op.weight.shape[0], dtype=np.float32)
    graph = SPACE.graph(from_ofa({"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "r": 128}))
    kernel = largest["s4.b1.depthwise"]
    kernel[:] = np.arange(49, dtype=np.float32).reshape(7, 7)

    model = onnx.load_from_string(build_onnx(graph, largest))

    tensors = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
    }
    assert tensors["s4.b1.depthwise.weight"].shape == (480, 1, 3, 3)
    assert tensors["s4.b1.depthwise.weight"][7, 0].tolist() == [
        [16, 17, 18], [23, 24, 25], [30, 31, 32],
    ]  # fmt: skip


# --- Forms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["none", "seeded"])
def test_models_pass_the_checker_with_their_shapes_inferred(weights: str) -> None:
    data = build_onnx(SPACE.graph(SMALLEST), weights)  # type: ignore[arg-type]  # parametrised

    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)


def test_weightless_and_full_networks_put_out_finite_values_of_one_shape() -> None:
    graph = SPACE.graph(SMALLEST)

    empty, full = run(build_onnx(graph, "none")), run(build_onnx(graph, "seeded"))

    assert empty.shape == full.shape == (1000,)
    assert np.isfinite(empty).all()
    assert np.isfinite(full).all()
    assert full.std() > 0


def test_the_largest_seeded_network_puts_out_finite_values() -> None:
    assert np.isfinite(run(build_onnx(SPACE.graph(LARGEST), "seeded"))).all()


@pytest.mark.parametrize("arch", [SMALLEST, LARGEST], ids=["smallest", "largest"])
def test_a_weightless_network_is_at_most_five_kilobytes_compressed(arch: Architecture) -> None:
    assert len(gzip.compress(build_onnx(SPACE.graph(arch)))) <= 5000


def test_the_same_seed_makes_the_same_bytes_and_another_one_others() -> None:
    graph = small_network()

    assert build_onnx(graph, "seeded", seed=3) == build_onnx(graph, "seeded", seed=3)
    assert build_onnx(graph, "seeded", seed=3) != build_onnx(graph, "seeded", seed=4)
    assert build_onnx(graph) == build_onnx(graph)


def test_seeded_kernels_are_he_normal_and_biases_zero() -> None:
    """Source: He et al., "Delving Deep into Rectifiers", 2015: variance 2 over the fan-in."""
    graph = SPACE.graph(SMALLEST)

    model = onnx.load_from_string(build_onnx(graph, "seeded", seed=1))

    tensors = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
    }
    classifier = tensors["head.classifier.weight"]
    assert classifier.std() == pytest.approx(np.sqrt(2 / 1280), rel=0.01)
    assert not tensors["head.classifier.bias"].any()


@pytest.mark.parametrize(
    ("weights", "says"), [("none", "none"), ("seeded", "seeded:5"), (None, "given")], ids=str
)
def test_a_model_says_whose_weights_it_holds_and_of_which_graph(
    weights: str | None, says: str
) -> None:
    graph = small_network()
    source: Weights | str = weights or weights_of(graph)

    data = build_onnx(graph, source, seed=5, metadata={"architecture": "toy:0"})  # type: ignore[arg-type]  # parametrised

    model = onnx.load_from_string(data)
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "weights": says, "graph_digest": graph.digest, "architecture": "toy:0",
    }  # fmt: skip


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_input_has_the_resolution_of_the_network(resolution: int) -> None:
    arch = from_ofa({"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "r": resolution})

    model = onnx.load_from_string(build_onnx(SPACE.graph(arch)))

    shape = [extent.dim_value for extent in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 3, resolution, resolution]


# --- Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["deep", "deep.bias"])
def test_a_missing_weight_is_refused_by_name(key: str) -> None:
    graph = small_network()
    weights = weights_of(graph)
    del weights[key]

    with pytest.raises(InvalidGraphError, match=f"no weight named '{key}'"):
        build_onnx(graph, weights)


@pytest.mark.parametrize("shape", [(3, 1, 5, 5), (4, 1, 3, 3), (4, 1, 5), (4, 1, 5, 5, 1)], ids=str)
def test_a_weight_that_is_too_small_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    graph = small_network()
    weights = weights_of(graph) | {"deep": noise(*shape)}

    with pytest.raises(InvalidGraphError) as caught:
        build_onnx(graph, weights)

    message = str(caught.value)
    assert "'deep'" in message
    assert str(shape) in message
    assert "(4, 1, 5, 5)" in message


def test_weights_by_an_unknown_word_are_refused() -> None:
    """A misspelt word must not export a network without weights."""
    with pytest.raises(UsageError, match="'sede' are unknown; give none, seeded"):
        build_onnx(small_network(), "sede")  # type: ignore[arg-type]  # the point of the test


def test_an_operator_without_an_onnx_form_is_refused_by_kind() -> None:
    class Rotate(Op):
        pass

    graph = OpGraph((2, 4, 4), (Rotate(name="r", inputs=("input",), shape=(2, 4, 4)),))

    with pytest.raises(InvalidGraphError, match="'r' of kind 'rotate' has no ONNX form"):
        build_onnx(graph)
