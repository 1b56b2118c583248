from __future__ import annotations

import numpy as np
import pytest

from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.errors import InvalidGraphError
from search_spaces.graph import OpGraph
from search_spaces.moves import sample
from search_spaces.ops import Conv, WeightSlice
from search_spaces.space import SearchSpace
from search_spaces.tensors import (
    NORM_EPS,
    TensorSlot,
    covering,
    cut,
    fold,
    graph_slots,
    shared_slots,
    slots,
)


def conv(key: str, start: tuple[int, ...], shape: tuple[int, ...], **fields: object) -> Conv:
    defaults: dict = {
        "name": key, "inputs": ("input",), "shape": (shape[0], 8, 8), "in_channels": shape[1],
        "kernel": shape[2], "weight": WeightSlice(key, start, shape),
    }  # fmt: skip
    return Conv(**(defaults | fields))


def arrays_for(wanted: dict[str, TensorSlot]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: (rng.random(slot.shape) + 0.5).astype(np.float32) for name, slot in wanted.items()
    }


@pytest.fixture(params=SPACES.names())
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES.get(request.param)


def test_a_normalised_convolution_reads_five_tensors() -> None:
    found = slots(conv("c", (0, 0, 2, 2), (4, 3, 3, 3)))

    assert [(slot.name, slot.shape, slot.role) for slot in found] == [
        ("c", (4, 3, 3, 3), "kernel"), ("c.bn.weight", (4,), "scale"), ("c.bn.bias", (4,), "shift"),
        ("c.bn.mean", (4,), "mean"), ("c.bn.var", (4,), "variance"),
    ]  # fmt: skip
    assert [slot.trained for slot in found] == [True, True, True, False, False]
    assert [slot.decayed for slot in found] == [True, False, False, False, False]


def test_a_part_lies_where_it_starts_and_a_tensor_cut_before_is_taken_whole() -> None:
    slot = slots(conv("c", (0, 0, 2, 2), (4, 3, 3, 3)))[0]

    assert slot.within((8, 3, 7, 7))[2:] == (slice(2, 5), slice(2, 5))
    assert slot.within((4, 3, 3, 3)) == (slice(None),) * 4


@pytest.mark.parametrize("shape", [(3, 3, 7, 7), (4, 3, 4, 7), (4, 3, 7)], ids=str)
def test_a_tensor_that_is_too_small_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    slot = slots(conv("c", (0, 0, 2, 2), (4, 3, 3, 3)))[0]

    with pytest.raises(InvalidGraphError, match=r"'c' has shape .* \(4, 3, 3, 3\) from"):
        slot.within(shape)


def test_one_name_for_two_kinds_of_tensors_is_refused() -> None:
    kernel = TensorSlot("c", (0,), (4,), "bias")

    with pytest.raises(InvalidGraphError, match="give it two names"):
        covering([kernel, *slots(conv("c", (0, 0, 0, 0), (4, 3, 3, 3)))])


def test_parameters_of_the_graph_are_the_elements_of_its_trained_slots(space: SearchSpace) -> None:
    for arch in sample(space, 5, np.random.default_rng(0)).architectures():
        graph = space.graph(arch)
        assert graph.parameters == sum(
            int(np.prod(slot.shape)) for slot in graph_slots(graph) if slot.trained
        )


def test_every_network_can_be_cut_from_the_shared_tensors(space: SearchSpace) -> None:
    shared = shared_slots(space)
    last = Architecture(space.name, tuple(int(count) - 1 for count in space.option_counts))
    for arch in [last, *sample(space, 20, np.random.default_rng(1)).architectures()]:
        for slot in graph_slots(space.graph(arch)):
            assert slot.role == shared[slot.name].role
            slot.within(shared[slot.name].shape)


def test_cutting_twice_is_cutting_once(space: SearchSpace) -> None:
    arch = sample(space, 1, np.random.default_rng(2))[0]
    graph = space.graph(arch)
    own = cut(graph, arrays_for(covering(graph_slots(graph))))

    again = cut(graph, own)

    assert all((again[name] == own[name]).all() for name in own)


def test_folding_multiplies_kernels_and_shifts_biases() -> None:
    graph = OpGraph((3, 8, 8), (conv("c", (0, 0, 0, 0), (4, 3, 3, 3)),))
    arrays = arrays_for(covering(graph_slots(graph)))

    folded = fold(graph, arrays)

    factor = arrays["c.bn.weight"] / np.sqrt(arrays["c.bn.var"] + NORM_EPS)
    assert sorted(folded) == ["c", "c.bias"]
    assert folded["c"][2] == pytest.approx(arrays["c"][2] * factor[2])
    assert folded["c.bias"] == pytest.approx(arrays["c.bn.bias"] - arrays["c.bn.mean"] * factor)


def test_a_missing_tensor_is_named() -> None:
    graph = OpGraph((3, 8, 8), (conv("c", (0, 0, 0, 0), (4, 3, 3, 3)),))

    with pytest.raises(InvalidGraphError, match=r"no tensor named 'c\.bn\.var'"):
        fold(graph, {k: v for k, v in arrays_for(covering(graph_slots(graph))).items()
                     if k != "c.bn.var"})  # fmt: skip
