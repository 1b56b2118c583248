"""Layer graphs travel as they are, and what is no layer graph is refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import SPACES
from search_spaces.errors import InvalidGraphError
from search_spaces.graph import OpGraph
from search_spaces.graph_json import graph_from_json, graph_to_json
from search_spaces.moves import sample
from search_spaces.ops import Conv, GlobalAveragePool, Op, WeightSlice

CONV = Conv(
    name="conv", inputs=("input",), shape=(8, 4, 4), in_channels=3, kernel=3, stride=2,
    weight=WeightSlice("first.conv", (0, 0, 0, 0), (8, 3, 3, 3)), activation="relu",
)  # fmt: skip
GRAPH = OpGraph(
    (3, 8, 8), (CONV, GlobalAveragePool(name="pool", inputs=("conv",), shape=(8, 1, 1)))
)


@pytest.mark.parametrize("name", SPACES.names())
@given(seed=st.integers(0, 10_000))
def test_every_network_of_every_space_is_the_same_after_the_journey(name: str, seed: int) -> None:
    arch = sample(SPACES.get(name), 1, np.random.default_rng(seed))[0]
    graph = SPACES.get(name).graph(arch)

    found = graph_from_json(graph_to_json(graph))

    assert found == graph
    assert found.digest == graph.digest
    assert found.parameters == graph.parameters


def test_the_text_is_small_and_leaves_defaults_out() -> None:
    conv, pool = json.loads(graph_to_json(GRAPH))["ops"]

    assert pool == {"kind": "globalaveragepool", "name": "pool", "inputs": ["conv"],
                    "shape": [8, 1, 1]}  # fmt: skip
    assert conv["activation"] == "relu"
    assert "normalised" not in conv


def test_an_operator_of_another_module_does_not_travel() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Shell(Op):
        command: str

    op = Shell(name="x", inputs=("input",), shape=(3, 8, 8), command="ls")

    with pytest.raises(InvalidGraphError, match=r"'x' of kind 'shell' is none of .*conv"):
        graph_to_json(OpGraph((3, 8, 8), (op,)))


def test_values_that_are_no_plain_numbers_do_not_travel() -> None:
    op = GlobalAveragePool(name="x", inputs=("input",), shape=(np.int64(3), 1, 1))  # type: ignore[arg-type]  # the point

    with pytest.raises(InvalidGraphError, match="plain numbers"):
        graph_to_json(OpGraph((3, 8, 8), (op,)))


def changed(path: tuple[str | int, ...], value: Any) -> str:
    """The text of GRAPH with one value replaced, or removed if it is `...`."""
    document = json.loads(graph_to_json(GRAPH))
    place = document
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("ops", 0, "kernel"), "3", ["operator 0", "'conv'", "'3'", "'kernel'", "whole number"]),
        (("ops", 0, "kernel"), True, ["True", "'kernel'"]),
        (("ops", 0, "kernel"), 10**400, ["'kernel'", "at most"]),
        (("ops", 0, "kernel"), ..., ["lacks", "'kernel'"]),
        (("ops", 0, "kernal"), 3, ["'kernal'", "kernel"]),
        (("ops", 0, "kind"), "system", ["operator 0", "unknown kind", "conv"]),
        (("ops", 0, "kind"), ["conv"], ["unknown kind"]),
        (("ops", 0, "activation"), "gelu!", ["'activation'", "'relu'"]),
        (("ops", 0, "normalised"), 1, ["'normalised'", "true or false"]),
        (("ops", 0, "weight"), "first.conv", ["'weight'", "an object"]),
        (("ops", 0, "weight", "start", 2), 0.5, ["'weight.start[2]'", "whole number"]),
        (("ops", 0, "weight", "shape", 0), 2**31, ["'weight.shape'", "elements"]),
        (("ops", 0, "weight", "path"), "/etc/passwd", ["'weight.path'"]),
        (("ops", 0, "shape"), [8, 0, 4], ["'shape'", "1 or more"]),
        (("ops", 0, "shape"), [2] * 9, ["'shape'", "at most 8"]),
        (("ops", 0, "inputs"), "input", ["'inputs'", "a list"]),
        (("ops", 0, "inputs"), ["other"], ["'conv'", "'other'"]),
        (("ops", 0, "name"), "x" * 301, ["'name'", "300"]),
        (("ops", 1, "name"), "conv", ["'conv'", "twice"]),
        (("ops", 1), None, ["operator 1", "no object"]),
        (("ops",), [], ["'ops'", "1 to"]),
        (("input_shape",), [3, -8, 8], ["'input_shape'", "1 or more"]),
        (("input_shape",), None, ["'input_shape'", "a list"]),
        (("version",), 2, ["version 2", "reads 1", "update"]),
        (("format",), "onnx", ["'nas-graph'"]),
        (("extra",), 1, ["exactly"]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_naming_operator_and_field(
    path: tuple[str | int, ...], value: Any, words: list[str]
) -> None:
    with pytest.raises(InvalidGraphError) as caught:
        graph_from_json(changed(path, value))

    for word in words:
        assert word in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", '{"format": "nas-graph"', "[" * 100_000, '{"a": NaN}', '{"a": 1, "a": 2}'],
    ids=["empty", "null", "list", "cut off", "deep", "NaN", "twins"],
)
def test_what_is_no_layer_graph_is_refused(text: str) -> None:
    with pytest.raises(InvalidGraphError):
        graph_from_json(text)


def test_a_text_beyond_any_network_is_not_even_parsed() -> None:
    with pytest.raises(InvalidGraphError, match="most allowed"):
        graph_from_json(" " * (4 * 2**20 + 1))


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(InvalidGraphError):
        graph_from_json(text)


_DOCUMENT = json.loads(graph_to_json(GRAPH))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(field=st.sampled_from(sorted({"kind", *_DOCUMENT["ops"][0]})), value=_JSON)
def test_any_value_in_any_field_is_read_or_refused(field: str, value: Any) -> None:
    try:
        found = graph_from_json(changed(("ops", 0, field), value))
    except InvalidGraphError:
        return
    assert graph_from_json(graph_to_json(found)) == found
