from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.architecture import Architecture, Population
from search_spaces.costs import costs
from search_spaces.errors import InvalidArchitectureError
from search_spaces.onnx_build import build_onnx
from search_spaces.ops import AveragePool, Conv, Zero
from search_spaces.spaces.nasbench201 import (
    AVGPOOL,
    CONV1X1,
    CONV3X3,
    NONE,
    SKIP,
    SPACE,
    from_cell,
    to_cell,
)

GENOTYPES = st.tuples(*[st.integers(0, 4)] * 6)


def arch(*genes: int) -> Architecture:
    return Architecture(SPACE.name, genes)


def canonical(*genes: int) -> tuple[int, ...]:
    return SPACE.canonical_arch(arch(*genes)).genes


@pytest.mark.parametrize(
    ("cell", "million_flops", "parameters"),
    [
        # Source: the benchmark's answers for CIFAR-10. Its FLOPs are MACs and one for each class.
        ("|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
         "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|", 15.64737, 129_306),
        ("|skip_connect~0|+|none~0|nor_conv_3x3~1|"
         "+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|", 113.95137, 802_426),
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
         "+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|", 220.11969, 1_531_546),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", 7.78305, 73_306),
    ],
)  # fmt: skip
def test_costs_are_those_that_the_benchmark_publishes(
    cell: str, million_flops: float, parameters: int
) -> None:
    graph = SPACE.graph(from_cell(cell))

    assert graph.macs + 10 == round(million_flops * 1e6)
    assert graph.parameters == parameters


@given(GENOTYPES)
def test_cells_round_trip_through_the_benchmarks_words(genes: tuple[int, ...]) -> None:
    assert from_cell(to_cell(arch(*genes))) == arch(*genes)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("", "is no NAS-Bench-201 cell"),
        ("|none~0|+|none~0|none~1|", "is no NAS-Bench-201 cell"),
        ("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", "'none~0' is no operator .* 1->2"),
        ("|max~0|+|none~0|none~1|+|none~0|none~1|none~2|", r"'max~0'.*avg_pool_3x3~0"),
    ],
)
def test_what_is_no_cell_is_refused(cell: str, says: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=says):
        from_cell(cell)


def test_a_network_describes_its_cell() -> None:
    words = SPACE.describe(arch(3, 0, 1, 4, 2, 3))

    assert words["edge[0->1]"] == "conv3x3"
    assert words["edge[0->3]"] == "avgpool"
    assert words["cell"] == to_cell(arch(3, 0, 1, 4, 2, 3))


# --- Canonical form ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("genes", "expected"),
    [
        # Node 1 leads nowhere; node 2 is reached by nothing.
        ((CONV3X3, NONE, NONE, CONV1X1, NONE, NONE), (NONE, NONE, NONE, CONV1X1, NONE, NONE)),
        ((NONE, NONE, CONV3X3, CONV1X1, NONE, AVGPOOL), (NONE, NONE, NONE, CONV1X1, NONE, NONE)),
        # A skip and a convolution in a row are the convolution alone.
        ((SKIP, NONE, NONE, NONE, CONV3X3, NONE), (NONE, NONE, NONE, CONV3X3, NONE, NONE)),
        ((NONE, CONV3X3, NONE, NONE, NONE, SKIP), (NONE, NONE, NONE, CONV3X3, NONE, NONE)),
        ((SKIP, NONE, SKIP, NONE, NONE, SKIP), (NONE, NONE, NONE, SKIP, NONE, NONE)),
        # No path at all.
        ((CONV3X3, CONV3X3, CONV3X3, NONE, NONE, NONE), (NONE,) * 6),
        # Everything has a part.
        ((CONV3X3,) * 6, (CONV3X3,) * 6),
    ],
)  # fmt: skip
def test_what_changes_nothing_is_left_out(
    genes: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert canonical(*genes) == expected
    assert SPACE.graph(arch(*genes)).digest == SPACE.graph(arch(*expected)).digest


@pytest.mark.slow
def test_all_genotypes_have_one_canonical_form_of_the_same_cost() -> None:
    numbers = np.arange(SPACE.size)[:, None] // 5 ** np.arange(5, -1, -1) % 5
    every = numbers.astype(np.int8)

    found = SPACE.canonical(every)

    assert (SPACE.canonical(found) == found).all()
    distinct = np.unique(found, axis=0)
    assert len(distinct) == 8394
    cost = costs(Population(SPACE, every))
    assert cost["macs"].min() == 7_783_040
    assert cost["macs"].max() == 220_119_680


# --- Graphs ------------------------------------------------------------------------------------


def test_a_cell_without_a_path_hands_on_zeros_and_still_runs() -> None:
    """The output is then the same for every input, as in the benchmark."""
    graph = SPACE.graph(arch(*[NONE] * 6))
    model = build_onnx(graph, "seeded")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(0).standard_normal((2, 1, 3, 32, 32), dtype=np.float32)

    first, second = (session.run(None, {"input": x})[0] for x in noise)

    assert sum(isinstance(op, Zero) for op in graph.ops) == 15
    assert (first == second).all()


def test_a_cell_that_is_only_a_skip_has_no_operator() -> None:
    blocks = SPACE.blocks_of(arch(NONE, NONE, NONE, SKIP, NONE, NONE))

    assert [block.label for block in blocks] == ["stem", "r1", "r2", "head"]


def test_a_full_cell_has_six_convolutions_behind_their_own_activation() -> None:
    graph = SPACE.graph(arch(*[CONV3X3] * 6))

    kinds = Counter(op.kind for op in SPACE.blocks_of(arch(*[CONV3X3] * 6))[1].ops)

    assert kinds == {"conv": 6, "activate": 6, "add": 3}
    assert graph.output.shape == (10,)


def test_pooling_of_a_cell_keeps_the_image() -> None:
    (cell, *_) = SPACE.blocks_of(arch(NONE, NONE, NONE, AVGPOOL, NONE, NONE))[1:]

    (pool,) = cell.ops
    assert isinstance(pool, AveragePool)
    assert (pool.kernel, pool.stride, pool.padding, pool.shape) == (3, 1, 1, (16, 32, 32))


def test_the_shortcut_of_a_residual_block_pools_and_is_not_normalised() -> None:
    blocks = {block.label: block for block in SPACE.blocks_of(arch(*[CONV1X1] * 6))}

    widen = next(op for op in blocks["r2"].ops if op.name == "r2.widen")

    assert isinstance(widen, Conv)
    assert (widen.in_channels, widen.shape, widen.normalised) == (32, (64, 8, 8), False)


def test_each_edge_and_operator_has_weights_of_its_own() -> None:
    graph = SPACE.graph(arch(*[CONV3X3] * 6))
    keys = [op.weight.key for op in graph.ops if isinstance(op, Conv)]

    assert len(keys) == len(set(keys)) == 1 + 15 * 6 + 2 * 3


def test_rows_of_the_published_tables_are_networks_of_the_space(nas_data: Path) -> None:
    """More MACs are slower on an embedded processor, in rank."""
    with np.load(nas_data / "latency_nasbench201.npz") as table:
        genes, devices = table["arch"].astype(np.int8), [str(name) for name in table["devices"]]
        latency = table["latency_ms"][:, devices.index("raspi4")]

    SPACE.check_genes(genes)
    macs = costs(Population(SPACE, genes), ("macs",))["macs"]

    first, second = (np.argsort(np.argsort(values)) for values in (macs, latency))
    assert np.corrcoef(first, second)[0, 1] > 0.7
