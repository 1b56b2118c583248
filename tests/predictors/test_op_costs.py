from __future__ import annotations

import numpy as np
import pytest

from predictors.cell_features import cell_features, live_options
from predictors.op_costs import CLASSES, OpTable, network_sums
from search_spaces import SPACES
from search_spaces.architecture import FloatArray
from search_spaces.moves import sample


def rows(table: OpTable) -> FloatArray:
    kinds = [table.macs * (table.kind == kind) for kind in range(len(CLASSES))]
    return np.column_stack([table.launches, table.activations, table.weights, *kinds])


@pytest.mark.parametrize("name", SPACES.names())
def test_sums_by_table_are_those_of_each_layer_graph(name: str) -> None:
    space = SPACES.get(name)
    networks = sample(space, 25, np.random.default_rng(0))
    if name == "nasbench201":  # cells without a path make zeros, which nobody computes
        alive = (live_options(networks.genes) > 0).any(axis=1)
        networks = type(networks)(space, networks.genes[alive])
    graphs = [space.graph(arch) for arch in networks.architectures()]

    found = network_sums(space, rows)(networks.genes)

    table = OpTable.of(graphs)
    assert found == pytest.approx(table.sums(rows(table)))
    assert found[:, 3:].sum(axis=1) == pytest.approx([graph.macs for graph in graphs])


def test_no_networks_have_no_sums() -> None:
    for name in SPACES.names():
        space = SPACES.get(name)
        empty = np.empty((0, len(space.choices)), dtype=np.int8)
        assert network_sums(space, rows)(empty).shape == (0, 3 + len(CLASSES))


def test_edges_that_lead_nowhere_are_not_live() -> None:
    cells = np.array(
        [
            [3, 0, 0, 0, 0, 0],  # ends at node 1
            [3, 0, 0, 1, 0, 0],  # the same beside a skip
            [3, 0, 2, 0, 0, 4],  # one path through all nodes
            [0, 0, 3, 0, 3, 3],  # begins nowhere
        ],
        dtype=np.int8,
    )

    assert live_options(cells).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [3, 0, 2, 0, 0, 4],
        [0, 0, 0, 0, 0, 0],
    ]


def test_the_longest_path_through_a_cell_is_the_dearest() -> None:
    cell = np.array([[3, 3, 2, 3, 3, 3]], dtype=np.int8)

    analytic, _ = cell_features(cell)

    # Paths count kernels, MACs, tensors and a blend: 0-1-2-3 has three kernels, 9 + 1 + 9 MACs.
    assert analytic[0, 8:12].tolist() == [3.0, 19.0, 6.0, 7.0]
