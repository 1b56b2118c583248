"""Features of networks of any space, for models that learn from whole networks.

Four views: codes (which option where), counts (how often which block in which stage), an analytic
vector (costs of the layer graph, in total and by stage) and pseudo-devices: what a machine would
take that knows one cost only, such as kernel launches or memory traffic. Real devices lie near
mixtures of these, which is what lets a few measurements speak for a device unlike all known ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from predictors.cell_features import CELL_SPACE, cell_features, live_options
from predictors.op_costs import CLASSES, OpTable, network_sums, slot_sums
from search_spaces import SPACES
from search_spaces.architecture import FloatArray, GeneArray, IntArray
from search_spaces.space import Block, ChainSpace, SearchSpace

_CELL_OPTIONS = 5
_LARGE_KERNEL = 5
# Elements a kernel moves in the time it takes to start, on a machine whose launches are dear; and
# MACs a machine does in the time it moves one element.
_LAUNCH_ELEMENTS, _MACS_PER_ELEMENT = 2e5, 20.0
_SLOW_DEPTHWISE = 8.0


@dataclass(frozen=True)
class Features:
    """Features of n networks, not standardised.

    Attributes:
        onehots: (n, w) one-hot codes; in each, every network has as many ones as `positions` says.
        positions: Number of coded positions in each of `onehots`.
        counts: (n, c) what the linear kernels see beside `onehots[0]`.
        analytic: (n, a) costs of the layer graph.
        pseudo: (n, p) latencies of machines that know one cost only, in no unit.
    """

    onehots: tuple[FloatArray, ...]
    positions: tuple[int, ...]
    counts: FloatArray
    analytic: FloatArray
    pseudo: FloatArray

    def __len__(self) -> int:
        """Number of networks."""
        return len(self.analytic)


def space_features(space: SearchSpace, genes: GeneArray) -> Features:
    """Features of (n, genes) networks; see `plain_genes`."""
    return _describer(space.name)(plain_genes(space, genes))


def plain_genes(space: SearchSpace, genes: GeneArray) -> GeneArray:
    """The same networks, each by one genotype, as far as devices cannot tell genotypes apart.

    Cells keep edges that lead nowhere: some published tables were measured with them.
    """
    return genes if space.name == CELL_SPACE else space.canonical(genes)


@lru_cache
def _describer(name: str) -> Callable[[GeneArray], Features]:
    space = SPACES.get(name)
    if isinstance(space, ChainSpace):
        return _chain_describer(space)
    return _cell_describer if name == CELL_SPACE else _graph_describer(space)


def one_hot(codes: IntArray | GeneArray, options: IntArray) -> FloatArray:
    """(n, sum of options) with a one for each of (n, positions) codes."""
    offsets = np.concatenate([[0], np.cumsum(options)[:-1]]).astype(np.int64)
    result = np.zeros((len(codes), int(options.sum())))
    np.put_along_axis(result, codes.astype(np.int64) + offsets, 1.0, axis=1)
    return result


def _cell_describer(genes: GeneArray) -> Features:
    options = np.full(genes.shape[1], _CELL_OPTIONS)
    live = one_hot(live_options(genes), options)
    analytic, pseudo = cell_features(genes)
    positions = (genes.shape[1], genes.shape[1])
    return Features((one_hot(genes, options), live), positions, live, analytic, pseudo)


def _graph_describer(space: SearchSpace) -> Callable[[GeneArray], Features]:
    costs = network_sums(space, _costs)

    def describe(genes: GeneArray) -> Features:
        codes, sums = one_hot(genes, space.option_counts), costs(genes)
        return Features((codes,), (genes.shape[1],), np.empty((len(genes), 0)), sums, sums)

    return describe


def _chain_describer(space: ChainSpace) -> Callable[[GeneArray], Features]:
    costs = network_sums(space, _costs)
    staged = network_sums(space, _staged_costs)
    kinds = _block_kinds(space)

    def describe(genes: GeneArray) -> Features:
        ids = space.block_ids(genes)
        sums = costs(genes)
        return Features(
            onehots=(one_hot(genes, space.option_counts),),
            positions=(genes.shape[1],),
            counts=np.column_stack([slot_sums(kinds, ids), ids >= 0]),
            analytic=np.column_stack([sums, staged(genes)]),
            pseudo=sums,
        )

    return describe


def _costs(table: OpTable) -> FloatArray:
    """(ops, f) costs whose totals are worth knowing: each is a machine that knows it alone."""
    large = (table.kernel >= _LARGE_KERNEL) & (table.macs > 0)
    slow = np.isin(table.kind, [CLASSES.index("depthwise"), CLASSES.index("grouped")])
    work = table.macs * np.where(slow, _SLOW_DEPTHWISE, 1.0)
    return np.column_stack(
        [
            table.launches,
            table.macs,
            table.activations,
            table.weights,
            table.launches * slow,
            table.macs * slow,
            table.launches * large,
            np.maximum(work / _MACS_PER_ELEMENT, table.activations + table.weights),
            np.maximum(_LAUNCH_ELEMENTS * table.launches, table.activations),
        ]
    )


def _staged_costs(table: OpTable) -> FloatArray:
    """(ops, f) MACs, traffic, weights and launches, each in the column of its stage."""
    stage = one_hot(table.group[:, None], np.array([table.groups]))
    columns = (table.macs, table.activations, table.weights, table.launches)
    return np.column_stack([stage * column[:, None] for column in columns])


def _block_kinds(space: ChainSpace) -> FloatArray:
    """(blocks, stages * kinds) one-hot: the stage and the kind of each block.

    Kinds are told apart by kernels, grouping and expansion, so that blocks of one stage share what
    is learned of them; resolutions and widths are left to the analytic features.
    """
    _, group = space.block_groups
    labels = [(int(group[i]), *_kind(space.block(i))) for i in range(space.block_count)]
    columns = {label: index for index, label in enumerate(dict.fromkeys(labels))}
    return one_hot(np.array([[columns[label]] for label in labels]), np.array([len(columns)]))


def _kind(block: Block) -> tuple[object, ...]:
    kernels = tuple(
        (op.kind, getattr(op, "kernel", 0), getattr(op, "groups", 1) > 1)
        for op in block.ops
        if op.macs
    )
    widest = max((op.shape[0] for op in block.ops), default=0)
    return (*kernels, round(widest / block.input_shape[0], 1))
