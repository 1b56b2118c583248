from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from search_spaces import SPACES
from search_spaces.errors import InvalidGraphError
from search_spaces.graph import OpGraph, chain
from search_spaces.ops import Add, Conv, GlobalAveragePool, Linear, Scale, WeightSlice

if TYPE_CHECKING:
    from tests.conftest import World

SHAPE = (2, 4, 4)


def conv(name: str, source: str = "input", **changes: object) -> Conv:
    fields: dict = {
        "in_channels": 2, "kernel": 3, "shape": (2, 4, 4),
        "weight": WeightSlice(name, (0, 0, 0, 0), (2, 2, 3, 3)),
    }  # fmt: skip
    return Conv(name=name, inputs=(source,), **(fields | changes))


def add(name: str, *sources: str) -> Add:
    return Add(name=name, inputs=sources, shape=SHAPE)


def test_costs_of_a_convolution_and_a_classifier_are_those_counted_by_hand() -> None:
    grouped = conv("c", shape=(6, 2, 2), groups=2, stride=2)
    biased = conv("d", normalised=False, bias=True)
    last = Linear(
        name="l", inputs=("d",), shape=(10,), in_features=32, weight=WeightSlice("l", (0, 0), ())
    )

    # 6 output channels x 1 input channel of the group x 3 x 3, at 2 x 2 places.
    assert (grouped.macs, grouped.parameters, grouped.weight_elements) == (216, 66, 60)
    assert (biased.macs, biased.parameters, biased.weight_elements) == (576, 38, 38)
    assert (last.macs, last.parameters, last.weight_elements) == (320, 330, 330)


def test_peak_memory_of_a_residual_is_input_and_both_branches() -> None:
    """32 values a tensor: at `a` input and a; at `b` input, a and b; at `c` input, b and c."""
    graph = OpGraph(SHAPE, (conv("a"), conv("b", "a"), add("c", "b", "input")))

    assert graph.peak_activation_bytes == 3 * 32 * 4
    assert graph.activation_bytes == (2 + 2 + 3) * 32 * 4


def test_peak_memory_of_a_plain_chain_frees_what_was_read() -> None:
    """32, 128 and 8 values: the peak is the second operator, which no longer holds the input."""
    wide = conv("a", shape=(8, 4, 4))
    narrow = conv("b", "a", shape=(2, 2, 2), in_channels=8)
    graph = OpGraph(SHAPE, (wide, narrow))

    assert graph.peak_activation_bytes == (32 + 128) * 4


def test_a_tensor_read_twice_by_one_operator_is_held_once() -> None:
    assert OpGraph(SHAPE, (add("a", "input", "input"),)).peak_activation_bytes == 2 * 32 * 4


def test_names_and_weights_are_not_part_of_the_digest() -> None:
    first = OpGraph(SHAPE, (conv("a"), conv("b", "a")))
    second = OpGraph(SHAPE, (conv("x"), conv("y", "x")))

    assert first.digest == second.digest


@pytest.mark.parametrize(
    "other",
    [
        (conv("a"), conv("b", "input")),
        (conv("a", stride=2), conv("b", "a")),
        (conv("a", groups=2), conv("b", "a")),
        (conv("a", activation="relu"), conv("b", "a")),
        (conv("a", normalised=False), conv("b", "a")),
        (conv("a"), add("b", "a", "a")),
        (conv("a"),),
    ],
)
def test_what_costs_differently_has_another_digest(other: tuple) -> None:
    assert OpGraph(SHAPE, other).digest != OpGraph(SHAPE, (conv("a"), conv("b", "a"))).digest


def test_the_digest_is_the_same_in_another_process(world: World) -> None:
    keys = [arch.key for arch in world.networks(3).architectures()]
    code = (
        "import sys; from search_spaces import SPACES, Architecture\n"
        "for key in sys.argv[1:]:\n"
        "    print(SPACES.get('mobilenetv3').graph(Architecture.parse(key)).digest)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *keys], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )  # fmt: skip

    archs = world.networks(3).architectures()
    assert done.stdout.split() == [SPACES.get("mobilenetv3").graph(a).digest for a in archs]


def test_an_operator_that_reads_what_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidGraphError, match=r"'a' reads 'b', not yet produced"):
        OpGraph(SHAPE, (conv("a", "b"), conv("b")))


@pytest.mark.parametrize("name", ["a", "input"])
def test_a_name_taken_twice_is_refused(name: str) -> None:
    with pytest.raises(InvalidGraphError, match=f"'{name}' is there twice"):
        OpGraph(SHAPE, (conv("a"), conv(name, "a")))


def test_a_graph_without_operators_is_refused() -> None:
    with pytest.raises(InvalidGraphError, match="at least one operator"):
        OpGraph(SHAPE, ())


def test_parts_of_a_chain_read_what_the_part_before_handed_on() -> None:
    graph = chain(SHAPE, [(conv("a"),), (conv("b"), add("c", "b", "input")), (conv("d"),)])

    assert [op.inputs for op in graph.ops] == [("input",), ("a",), ("b", "a"), ("c",)]
    assert graph.output.name == "d"


def test_an_empty_part_of_a_chain_hands_on_what_it_got() -> None:
    graph = chain(SHAPE, [(), (conv("a"),), (), (conv("b"),)])

    assert [op.inputs for op in graph.ops] == [("input",), ("a",)]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([(conv("a"),), (conv("a"),)], "'a' is there twice"),
        ([(conv("a", "b"),), (conv("b"),)], "reads 'b', not yet produced"),
        ([], "at least one operator"),
        ([()], "at least one operator"),
    ],
    ids=["name twice", "read too early", "no parts", "an empty part"],
)
def test_a_chain_that_does_not_fit_together_is_refused(parts: list, says: str) -> None:
    with pytest.raises(InvalidGraphError, match=says):
        chain(SHAPE, parts)


def test_pooling_adding_and_scaling_count_no_macs() -> None:
    ops = (
        GlobalAveragePool(name="p", inputs=("input",), shape=(2, 1, 1)),
        Scale(name="s", inputs=("input", "p"), shape=SHAPE),
        add("t", "s", "input"),
    )

    graph = OpGraph(SHAPE, ops)

    assert (graph.macs, graph.parameters, graph.weight_bytes) == (0, 0, 0)
