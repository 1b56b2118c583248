"""Operators that MobileNetV3 does not need: costs counted by hand, numbers by another route."""

from __future__ import annotations

from math import erf
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from search_spaces.graph import OpGraph
from search_spaces.onnx_build import build_onnx
from search_spaces.ops import (
    Activate,
    Attention,
    AveragePool,
    BatchNorm,
    ChannelShuffle,
    ClassToken,
    Conv,
    LayerNorm,
    Op,
    PositionEmbedding,
    TakeToken,
    TokenLinear,
    Tokens,
    WeightSlice,
    Zero,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = NDArray[np.float32]

IMAGE = (4, 5, 6)
SEQUENCE = (5, 8)


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def run(graph: OpGraph, weights: Mapping[str, Array] | str, *samples: Array) -> Array:
    """Output for samples, one batch."""
    model = build_onnx(graph, weights, batch=len(samples))  # type: ignore[arg-type]  # a word
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": np.stack(samples)})[0])


def check(op: Op, entry: tuple[int, ...], weights: Mapping[str, Array], expected: object) -> None:
    """One operator on two samples gives what `expected` computes of each."""
    samples = [noise(*entry, seed=seed) for seed in (1, 2)]

    found = run(OpGraph(entry, (op,)), weights, *samples)

    assert callable(expected)
    assert found.shape == (2, *op.shape)
    assert found == pytest.approx(np.stack([expected(x) for x in samples]), rel=1e-4, abs=1e-5)


def costs(op: Op) -> tuple[int, int, int]:
    return op.macs, op.parameters, op.weight_elements


# --- Images ------------------------------------------------------------------------------------


def patches(**changes: object) -> Conv:
    fields: dict = {
        "in_channels": 4, "kernel": 2, "stride": 2, "padding": 0, "normalised": False, "bias": True,
    }  # fmt: skip
    return Conv(
        name="p", inputs=("input",), shape=(3, 2, 3), weight=whole("p", 3, 4, 2, 2),
        **(fields | changes),
    )  # fmt: skip


def test_patches_are_windows_that_do_not_overlap() -> None:
    weight, bias = noise(3, 4, 2, 2, seed=3), noise(3, seed=4)

    def expected(x: Array) -> Array:
        windows = x[:, :4].reshape(4, 2, 2, 3, 2)
        return np.asarray(np.einsum("iahbw,oihw->oab", windows.transpose(0, 1, 2, 3, 4), weight)
                          + bias[:, None, None])  # fmt: skip

    check(patches(), (4, 4, 6), {"p": weight, "p.bias": bias}, expected)
    assert costs(patches()) == (3 * 16 * 6, 3 * 16 + 3, 3 * 16 + 3)


def test_padding_is_part_of_the_digest_only_where_it_is_not_the_common_one() -> None:
    common, said = patches(padding=None), patches(padding=1)

    assert (patches().pad, common.pad) == (0, 1)
    assert common.signature() == said.signature() != patches().signature()


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "shape"), [(3, 1, 1, IMAGE), (2, 2, 0, (4, 2, 3))], ids=str
)
def test_average_pooling_leaves_padded_places_out(
    kernel: int, stride: int, padding: int, shape: tuple[int, int, int]
) -> None:
    op = AveragePool(
        name="a", inputs=("input",), shape=shape, kernel=kernel, stride=stride, padding=padding
    )

    def expected(x: Array) -> Array:
        out = np.zeros(shape)
        for row in range(shape[1]):
            for column in range(shape[2]):
                top, left = row * stride - padding, column * stride - padding
                window = x[:, max(top, 0) : top + kernel, max(left, 0) : left + kernel]
                out[:, row, column] = window.mean(axis=(1, 2))
        return np.asarray(out, dtype=np.float32)

    check(op, IMAGE, {}, expected)
    assert costs(op) == (0, 0, 0)


def test_batch_norm_at_inference_is_a_scale_and_a_shift_of_each_channel() -> None:
    op = BatchNorm(name="b", inputs=("input",), shape=IMAGE, weight=whole("b", 4))
    scale, shift = noise(4, seed=3), noise(4, seed=4)

    check(
        op, IMAGE, {"b": scale, "b.bias": shift},
        lambda x: x * scale[:, None, None] + shift[:, None, None],
    )  # fmt: skip
    assert costs(op) == (0, 8, 8)


def test_channel_shuffle_takes_channels_of_the_groups_in_turn() -> None:
    op = ChannelShuffle(name="c", inputs=("input",), shape=(6, 5, 6), groups=2)

    check(op, (6, 5, 6), {}, lambda x: x[[0, 3, 1, 4, 2, 5]])
    assert costs(op) == (0, 0, 0)


def test_zero_is_zero_for_every_input() -> None:
    check(Zero(name="z", inputs=("input",), shape=IMAGE), IMAGE, {}, np.zeros_like)


def gelu(x: Array) -> Array:
    return np.asarray(x * 0.5 * (1.0 + np.vectorize(erf)(x / np.sqrt(2.0))))


@pytest.mark.parametrize(
    ("kind", "expected"), [("relu", lambda x: np.maximum(x, 0)), ("gelu", gelu)]
)
def test_an_activation_stands_on_its_own(kind: str, expected: object) -> None:
    op = Activate(name="a", inputs=("input",), shape=IMAGE, activation=kind)  # type: ignore[arg-type]  # parametrised

    check(op, IMAGE, {}, expected)
    assert costs(op) == (0, 0, 0)


def test_no_activation_hands_the_input_on() -> None:
    op = Activate(name="a", inputs=("input",), shape=IMAGE, activation="none")

    check(op, IMAGE, {}, lambda x: x)


# --- Sequences ---------------------------------------------------------------------------------


def test_an_image_becomes_a_sequence_row_by_row() -> None:
    op = Tokens(name="t", inputs=("input",), shape=(30, 4))

    check(op, IMAGE, {}, lambda x: np.stack([x[:, r, c] for r in range(5) for c in range(6)]))


def test_the_class_token_comes_first_and_is_cut_from_the_largest() -> None:
    op = ClassToken(name="c", inputs=("input",), shape=(6, 8), weight=whole("c", 1, 1, 8))
    token = noise(1, 1, 11, seed=3)

    check(op, SEQUENCE, {"c": token}, lambda x: np.vstack([token[0, :, :8], x]))
    assert costs(op) == (0, 8, 8)


def test_positions_are_added() -> None:
    op = PositionEmbedding(
        name="p", inputs=("input",), shape=SEQUENCE, weight=whole("p", 1, *SEQUENCE)
    )
    positions = noise(1, *SEQUENCE, seed=3)

    check(op, SEQUENCE, {"p": positions}, lambda x: x + positions[0])
    assert costs(op) == (0, 40, 40)


def test_layer_norm_makes_each_token_standard_then_scales_and_shifts() -> None:
    op = LayerNorm(name="n", inputs=("input",), shape=SEQUENCE, weight=whole("n", 8))
    scale, shift = noise(8, seed=3), noise(8, seed=4)

    def expected(x: Array) -> Array:
        centred = x - x.mean(axis=1, keepdims=True)
        return np.asarray(centred / np.sqrt(x.var(axis=1, keepdims=True) + 1e-6) * scale + shift)

    check(op, SEQUENCE, {"n": scale, "n.bias": shift}, expected)
    assert costs(op) == (0, 16, 16)


@pytest.mark.parametrize("bias", [True, False])
def test_a_token_layer_is_a_matrix_cut_from_the_largest_one(bias: bool) -> None:
    op = TokenLinear(
        name="l", inputs=("input",), shape=(5, 3), in_features=8, bias=bias, activation="gelu",
        weight=whole("l", 3, 8),
    )  # fmt: skip
    matrix, shift = noise(4, 9, seed=3), noise(4, seed=4)

    def expected(x: Array) -> Array:
        return gelu(x @ matrix[:3, :8].T + (shift[:3] if bias else 0))

    check(op, SEQUENCE, {"l": matrix, "l.bias": shift}, expected)
    assert costs(op) == (5 * 8 * 3, 24 + 3 * bias, 24 + 3 * bias)


def test_attention_mixes_values_by_the_likeness_of_queries_and_keys() -> None:
    """Queries, keys and values are three layers, so that every input has a part."""
    parts = [
        TokenLinear(
            name=name, inputs=("input",), shape=SEQUENCE, in_features=8, bias=False,
            weight=whole(name, 8, 8),
        )
        for name in "qkv"
    ]  # fmt: skip
    op = Attention(name="a", inputs=("q", "k", "v"), shape=SEQUENCE, heads=2)
    weights = {name: noise(8, 8, seed=seed) for seed, name in enumerate("qkv")}
    x = noise(*SEQUENCE, seed=9)

    found = run(OpGraph(SEQUENCE, (*parts, op)), weights, x)[0]

    q, k, v = (x @ weights[name].T for name in "qkv")
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        likeness = np.exp(q[:, part] @ k[:, part].T / 2.0)
        heads.append(likeness / likeness.sum(axis=1, keepdims=True) @ v[:, part])
    assert found == pytest.approx(np.hstack(heads), rel=1e-4, abs=1e-5)
    assert costs(op) == (2 * 5 * 5 * 8, 0, 0)


def test_scores_of_attention_count_as_memory() -> None:
    """40 values in and out, 2 heads of 5 x 5 scores, written and read."""
    op = Attention(name="a", inputs=("input", "input", "input"), shape=SEQUENCE, heads=2)
    graph = OpGraph(SEQUENCE, (op,))

    assert graph.peak_activation_bytes == (40 + 40 + 50) * 4
    assert graph.activation_bytes == (3 * 40 + 40 + 2 * 50) * 4


def test_a_token_is_taken_by_its_place() -> None:
    op = TakeToken(name="t", inputs=("input",), shape=(8,), index=2)

    check(op, SEQUENCE, {}, lambda x: x[2])
    assert costs(op) == (0, 0, 0)


# --- All ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (AveragePool(name="a", inputs=("input",), shape=IMAGE, kernel=3, padding=1),
         AveragePool(name="a", inputs=("input",), shape=IMAGE, kernel=5, padding=2)),
        (ChannelShuffle(name="a", inputs=("input",), shape=IMAGE, groups=2),
         ChannelShuffle(name="a", inputs=("input",), shape=IMAGE, groups=4)),
        (Activate(name="a", inputs=("input",), shape=IMAGE, activation="relu"),
         Activate(name="a", inputs=("input",), shape=IMAGE, activation="gelu")),
        (Attention(name="a", inputs=("input",) * 3, shape=SEQUENCE, heads=1),
         Attention(name="a", inputs=("input",) * 3, shape=SEQUENCE, heads=2)),
        (Zero(name="a", inputs=("input",), shape=IMAGE),
         Activate(name="a", inputs=("input",), shape=IMAGE, activation="none")),
    ],
)  # fmt: skip
def test_operators_that_cost_differently_have_different_digests(first: Op, second: Op) -> None:
    entry = first.shape

    assert OpGraph(entry, (first,)).digest != OpGraph(entry, (second,)).digest


def test_seeded_scales_are_one_and_shifts_zero() -> None:
    norm = LayerNorm(name="n", inputs=("input",), shape=SEQUENCE, weight=whole("n", 8))

    model = onnx.load_from_string(build_onnx(OpGraph(SEQUENCE, (norm,)), "seeded"))

    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert (tensors["n.weight"] == 1).all()
    assert (tensors["n.bias"] == 0).all()


def test_the_bias_of_a_slice_follows_its_first_axis() -> None:
    part = WeightSlice("w", (2, 0, 1, 1), (3, 4, 5, 5))

    assert part.bias == WeightSlice("w.bias", (2,), (3,))
