"""What the operators of a space cost, summed over whole populations by table look-up.

Latency models see a network as a sum over its operators. A chain space has finitely many blocks and
nasbench201 finitely many parts, so that such a sum is a look-up; other spaces draw each graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from predictors.cell_features import CELL_SPACE, PROBES, part_counts
from search_spaces import SPACES
from search_spaces.architecture import Architecture, FloatArray, GeneArray, IntArray
from search_spaces.graph import INPUT, OpGraph
from search_spaces.ops import Op
from search_spaces.space import ChainSpace, SearchSpace

CLASSES = ("dense", "pointwise", "depthwise", "grouped", "matmul", "other")
# Operators that only rename elements: no kernel runs for them.
_FREE = frozenset({"flatten", "reshape", "identity"})
# Graphs drawn one by one are kept: a search asks for the same networks again and again.
_GRAPHS_KEPT = 4096


@dataclass(frozen=True)
class OpTable:
    """Operators of many graphs by column; (ops,) each.

    Attributes:
        part: Which graph the operator belongs to.
        kind: Index into `CLASSES`.
        kernel: Extent of a convolution's kernel, 0 for others.
        group: Group of the graph, such as a stage.
        macs: Multiply-accumulates of one sample.
        activations: Elements read and written for one sample.
        weights: Elements of the weights.
        launches: 1 where a kernel runs, 0 where elements are only renamed.
        parts: Number of graphs.
        groups: Number of groups.
    """

    part: IntArray
    kind: IntArray
    kernel: IntArray
    group: IntArray
    macs: FloatArray
    activations: FloatArray
    weights: FloatArray
    launches: FloatArray
    parts: int
    groups: int

    @classmethod
    def of(cls, graphs: Sequence[OpGraph], group: IntArray | None = None) -> OpTable:
        """Take the operators of `graphs`; `group` numbers the group of each graph."""
        of_graph = np.zeros(len(graphs), dtype=np.int64) if group is None else group
        rows: list[tuple[float, ...]] = []
        for part, graph in enumerate(graphs):
            elements = {INPUT: prod(graph.input_shape)}
            for op in graph.ops:
                elements[op.name] = op.out_elements
                runs = op.kind not in _FREE
                moved = op.out_elements + sum(elements[name] for name in op.inputs)
                rows.append(
                    (part, CLASSES.index(_class(op)), getattr(op, "kernel", 0), of_graph[part],
                     op.macs, moved if runs else 0, op.weight_elements, runs)
                )  # fmt: skip
        columns = np.array(rows, dtype=np.float64).T
        whole = columns[:4].astype(np.int64)
        groups = int(of_graph.max()) + 1 if len(of_graph) else 1
        part, kind, kernel, stage = whole
        macs, activations, weights, launches = columns[4:]
        return cls(
            part, kind, kernel, stage, macs, activations, weights, launches, len(graphs), groups
        )

    def sums(self, values: FloatArray) -> FloatArray:
        """(parts, f) sums of (ops, f) values over the operators of each graph."""
        result = np.zeros((self.parts, values.shape[1]))
        np.add.at(result, self.part, values)
        return result


def _class(op: Op) -> str:
    kernel, groups = getattr(op, "kernel", 0), getattr(op, "groups", 1)
    if not op.macs:
        return "other"
    if not kernel:
        return "matmul"
    if groups == 1:
        return "pointwise" if kernel == 1 else "dense"
    return "depthwise" if groups == getattr(op, "in_channels", 0) else "grouped"


Rows = Callable[[OpTable], FloatArray]
"""(ops, f) values of the operators of a table."""


def network_sums(space: SearchSpace, rows: Rows) -> Callable[[GeneArray], FloatArray]:
    """A function from (n, genes) to (n, f): the values of `rows` summed over each network.

    Args:
        space: The space.
        rows: Values of operators; must depend on each operator alone.
    """
    if isinstance(space, ChainSpace):
        table = _block_table(space.name)
        values = table.sums(rows(table))
        return lambda genes: slot_sums(values, space.block_ids(genes))
    if space.name == CELL_SPACE:
        parts = _cell_values(space, rows)
        return lambda genes: part_counts(genes) @ parts

    def one_by_one(genes: GeneArray) -> FloatArray:
        found = [_graph_table(space.name, row.tobytes()) for row in genes.astype(np.int8)]
        width = rows(_graph_table(space.name, _first(space))).shape[1]
        totals = [rows(table).sum(axis=0) for table in found]
        return np.array(totals).reshape(len(genes), width)

    return one_by_one


def slot_sums(values: FloatArray, ids: IntArray) -> FloatArray:
    """Sum (blocks, f) values over the blocks of each network.

    Args:
        values: (blocks, f) values of each block.
        ids: (n, slots) block numbers, -1 for none.

    Returns:
        (n, f) sums.
    """
    # One extra row of zeros answers for -1, so that no mask is needed.
    table = np.vstack([values, np.zeros((1, values.shape[1]))])
    result = np.zeros((len(ids), values.shape[1]))
    for slot in range(ids.shape[1]):
        result += table[ids[:, slot]]
    return result


def _first(space: SearchSpace) -> bytes:
    return bytes(len(space.choices))


@lru_cache
def _block_table(name: str) -> OpTable:
    space = SPACES.get(name)
    assert isinstance(space, ChainSpace)  # asked for by name because spaces are not hashable
    graphs = [space.block(block).graph() for block in range(space.block_count)]
    return OpTable.of(graphs, space.block_groups[1])


@lru_cache(maxsize=_GRAPHS_KEPT)
def _graph_table(name: str, genes: bytes) -> OpTable:
    values = tuple(int(gene) for gene in np.frombuffer(genes, dtype=np.int8))
    return OpTable.of([SPACES.get(name).graph(Architecture(name, values))])


def _cell_values(space: SearchSpace, rows: Rows) -> FloatArray:
    """(parts, f) what each part of a cell adds, from the graphs of networks that differ by it."""
    probes = [
        rows(_graph_table(space.name, np.array(genes, dtype=np.int8).tobytes())).sum(axis=0)
        for genes in PROBES
    ]
    return np.array([probes[0], *[probe - probes[0] for probe in probes[1:]]])
