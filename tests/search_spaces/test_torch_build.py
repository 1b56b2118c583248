"""Networks in torch against the same ones in ONNX Runtime, of every space and every operator."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.errors import InvalidGraphError
from search_spaces.graph import INPUT, OpGraph
from search_spaces.moves import sample
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
    Linear,
    Op,
    PositionEmbedding,
    TakeToken,
    TokenLinear,
    Tokens,
    WeightSlice,
    Zero,
    whole,
)
from search_spaces.tensors import graph_slots, shared_slots
from search_spaces.torch_build import (
    GraphModule,
    folded,
    forward,
    from_arrays,
    init_slots,
    init_tensors,
    to_arrays,
)

PARITY = 1e-4


def lively(tensors: dict[str, torch.Tensor], seed: int = 0) -> dict[str, torch.Tensor]:
    """The same kernels with statistics, scales and shifts as training would leave them."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in tensors.items():
        if name.endswith((".bn.var", ".bn.weight")):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.dim() == 1:
            tensor.normal_(0.0, 0.3, generator=generator)
    return tensors


def in_onnxruntime(graph: OpGraph, tensors: dict[str, torch.Tensor], x: torch.Tensor) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        build_onnx(graph, folded(graph, tensors), batch=len(x)), options,
        providers=["CPUExecutionProvider"],
    )  # fmt: skip
    return np.asarray(session.run(None, {"input": x.numpy()})[0])


def difference(graph: OpGraph, tensors: dict[str, torch.Tensor], batch: int = 2) -> float:
    """Largest difference over the largest output."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(batch, *graph.input_shape, generator=generator)
    theirs = in_onnxruntime(graph, tensors, x)
    return float(np.abs(forward(graph, tensors, x).numpy() - theirs).max() / np.abs(theirs).max())


# --- Spaces ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES.names())
def test_every_space_computes_in_torch_what_it_computes_in_onnxruntime(name: str) -> None:
    space = SPACES.get(name)
    last = Architecture(name, tuple(int(count) - 1 for count in space.option_counts))
    first = space.canonical_arch(Architecture(name, (0,) * len(space.choices)))
    for arch in [first, space.canonical_arch(last), sample(space, 1, np.random.default_rng(3))[0]]:
        graph = space.graph(arch)
        tensors = lively(init_tensors(graph, torch.Generator().manual_seed(1)))

        if np.abs(in_onnxruntime(graph, tensors, torch.ones(1, *graph.input_shape))).max() > 0:
            assert difference(graph, tensors, batch=1) <= PARITY, arch.key


@pytest.mark.slow
def test_a_sub_network_reads_its_slices_of_the_largest_tensors() -> None:
    space = SPACES.get("mobilenetv3")
    shared = lively(init_slots(shared_slots(space), torch.Generator().manual_seed(0)))
    graph = space.graph(Architecture("mobilenetv3", (0,) * len(space.choices)))

    assert difference(graph, shared, batch=1) <= PARITY


# --- Operators ---------------------------------------------------------------------------------


def conv(
    name: str, source: str, cut: WeightSlice, shape: tuple[int, ...], **fields: object
) -> Conv:
    defaults: dict = {"in_channels": cut.shape[1], "kernel": cut.shape[2]}
    return Conv(name=name, inputs=(source,), shape=shape, weight=cut, **(defaults | fields))


def image_network() -> OpGraph:
    """Operators on images that the spaces use in one place or another, in one chain."""
    shape = (8, 5, 5)
    ops: tuple[Op, ...] = (
        conv("a", INPUT, WeightSlice("a", (0, 0, 1, 1), (8, 3, 3, 3)), shape, stride=2,
             activation="hard_swish"),
        conv("b", "a", whole("b", 8, 4, 1, 1), shape, groups=2, in_channels=8, normalised=False,
             bias=True, activation="hard_sigmoid"),
        ChannelShuffle(name="c", inputs=("b",), shape=shape, groups=4),
        Activate(name="d", inputs=("c",), shape=shape, activation="relu"),
        BatchNorm(name="e", inputs=("d",), shape=shape, weight=whole("e", 8)),
        AveragePool(name="f", inputs=("e",), shape=shape, kernel=3, padding=1),
        conv("g", "f", whole("g", 4, 8, 2, 2), (4, 2, 2), stride=2, padding=0),
        Zero(name="z", inputs=("g",), shape=(4, 2, 2)),
        AveragePool(name="h", inputs=("g",), shape=(4, 1, 1), kernel=2, stride=2),
    )  # fmt: skip
    return OpGraph((3, 9, 9), ops)


def token_network() -> OpGraph:
    shape = (10, 6)
    ops: list[Op] = [
        Tokens(name="t", inputs=(INPUT,), shape=(9, 6)),
        ClassToken(name="c", inputs=("t",), shape=shape, weight=whole("c", 1, 1, 6)),
        PositionEmbedding(name="p", inputs=("c",), shape=shape, weight=whole("p", 1, 10, 6)),
        LayerNorm(name="n", inputs=("p",), shape=shape, weight=whole("n", 6)),
    ]
    for name in "qkv":
        part = TokenLinear(
            name=name, inputs=("n",), shape=shape, in_features=6, weight=whole(name, 6, 6),
            activation="gelu" if name == "v" else "none",
        )  # fmt: skip
        ops.append(part)
    ops += [
        Attention(name="a", inputs=("q", "k", "v"), shape=shape, heads=3),
        TakeToken(name="x", inputs=("a",), shape=(6,)),
        Linear(name="y", inputs=("x",), shape=(4,), in_features=6, weight=whole("y", 4, 6)),
    ]
    return OpGraph((6, 3, 3), tuple(ops))


@pytest.mark.parametrize("graph", [image_network(), token_network()], ids=["images", "tokens"])
def test_every_operator_computes_what_its_onnx_form_computes(graph: OpGraph) -> None:
    tensors = lively(init_tensors(graph, torch.Generator().manual_seed(2)))

    assert difference(graph, tensors, batch=3) <= PARITY


def test_an_operator_without_a_torch_form_is_refused_by_kind() -> None:
    class Rotate(Op):
        pass

    graph = OpGraph((2, 4, 4), (Rotate(name="r", inputs=("input",), shape=(2, 4, 4)),))

    with pytest.raises(InvalidGraphError, match="'r' of kind 'rotate' has no torch form"):
        forward(graph, {}, torch.zeros(1, 2, 4, 4))


def test_a_missing_tensor_is_named() -> None:
    graph = image_network()
    tensors = init_tensors(graph)
    del tensors["e.bn.bias"]

    with pytest.raises(InvalidGraphError, match=r"no tensor named 'e\.bn\.bias'"):
        forward(graph, tensors, torch.zeros(1, 3, 9, 9))


# --- Statistics and gradients ------------------------------------------------------------------


def test_batch_statistics_need_no_stored_ones_and_move_them_only_if_asked() -> None:
    graph = image_network()
    tensors = init_tensors(graph, torch.Generator().manual_seed(0))
    trained = {s.name: tensors[s.name] for s in graph_slots(graph) if s.trained}
    x = torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(1))

    plain = forward(graph, trained, x, statistics="batch")
    assert not tensors["a.bn.mean"].any()
    moved = forward(graph, tensors, x, statistics="batch", momentum=1.0)

    assert (plain == moved).all()
    raw = torch.nn.functional.conv2d(x, tensors["a"][..., 1:4, 1:4], stride=2, padding=1)
    assert tensors["a.bn.mean"].numpy() == pytest.approx(raw.mean((0, 2, 3)).numpy(), abs=1e-5)
    assert tensors["a.bn.var"].numpy() == pytest.approx(raw.var((0, 2, 3)).numpy(), rel=1e-4)


def test_gradients_are_recorded_in_training_only() -> None:
    graph = image_network()
    tensors = {k: v.requires_grad_() for k, v in init_tensors(graph).items() if ".bn." not in k}
    tensors = {**init_tensors(graph), **tensors}
    x = torch.ones(2, 3, 9, 9)

    assert forward(graph, tensors, x, training=True).requires_grad
    assert not forward(graph, tensors, x).requires_grad


def test_a_module_trains_its_own_copies() -> None:
    graph = image_network()
    weights = lively(init_tensors(graph))
    module = GraphModule(graph, weights)
    x = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(1))

    module.eval()
    assert (module(x) == forward(graph, weights, x)).all()
    module.train()
    module(x).square().sum().backward()

    assert all(p.grad is not None for p in module.parameters())
    moved = module.tensors()["a.bn.mean"]
    assert not torch.equal(moved, weights["a.bn.mean"])
    assert sum(p.numel() for p in module.parameters()) == graph.parameters


def test_modules_of_one_seed_are_equal() -> None:
    graph = token_network()
    first, same, other = (GraphModule(graph, seed=seed).tensors() for seed in (0, 0, 1))

    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["q"], other["q"])


# --- Initial values ----------------------------------------------------------------------------


def test_kernels_are_he_normal_and_the_head_starts_near_zero() -> None:
    """Source: He et al., "Delving Deep into Rectifiers", 2015: variance 2 over the fan-in."""
    ops: tuple[Op, ...] = (
        conv("a", INPUT, whole("a", 512, 64, 3, 3), (512, 1, 1), normalised=False),
        TakeToken(name="t", inputs=("a",), shape=(512,)),
        Linear(name="y", inputs=("t",), shape=(100,), in_features=512, weight=whole("y", 100, 512)),
    )
    tensors = init_tensors(OpGraph((64, 3, 3), ops), torch.Generator().manual_seed(0))

    assert tensors["a"].std().item() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.01)
    assert tensors["y"].std().item() == pytest.approx(0.01, rel=0.02)
    assert not tensors["y.bias"].any()


def test_arrays_and_tensors_are_copies_of_each_other() -> None:
    tensors = init_tensors(image_network())
    arrays = to_arrays(tensors)
    back = from_arrays(arrays)

    assert all(torch.equal(tensors[name], back[name]) for name in tensors)
    arrays["a"][:] = 0.0
    assert back["a"].any()
    assert tensors["a"].any()
