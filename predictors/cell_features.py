"""What predictors see of a NAS-Bench-201 cell: edges that carry data, and paths through them.

Compilers drop operators whose output nobody reads, or whose input never comes; frameworks that
run eagerly do not. Devices of both kinds are in the public tables, so both views are features.

Source: Dong and Yang, "NAS-Bench-201", ICLR 2020, section 2 (four nodes, six edges, five
operators).
"""

from __future__ import annotations

import numpy as np

from search_spaces.architecture import FloatArray, GeneArray, IntArray

CELL_SPACE = "nasbench201"

# Edges in the order of the genes: from node, to node. Options: none, skip, conv 1x1, conv 3x3,
# average pool.
_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_LAST, _OPTIONS = 3, 5
# Costs of the five options: kernels that run, MACs in units of a 1x1 convolution, tensors moved,
# and a blend as latency tables of phones show it.
_COSTS = np.array(
    [[0.0, 0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 9.0, 0.0], [0.0, 0.2, 2.0, 2.0, 2.0],
     [0.0, 0.1, 1.0, 3.0, 1.0]]
)  # fmt: skip
_LAUNCHES, _MACS, _TRAFFIC, _BLEND = range(4)

# Networks whose graphs differ from the first by one part each: a skip alone, then one operator
# alone, then one more addition.
PROBES = ((0, 0, 0, 1, 0, 0), (0, 0, 0, 2, 0, 0), (0, 0, 0, 3, 0, 0), (0, 0, 0, 4, 0, 0),
          (1, 0, 0, 1, 1, 0))  # fmt: skip


def live_options(genes: GeneArray) -> IntArray:
    """(n, 6) options of the edges on some path from input to output; 0 (none) for the others."""
    options = genes.astype(np.int64)
    count = len(options)
    reached = np.zeros((count, _LAST + 1), dtype=bool)
    reached[:, 0] = True
    for edge, (start, end) in sorted(enumerate(_EDGES), key=lambda item: item[1]):
        reached[:, end] |= reached[:, start] & (options[:, edge] > 0)
    leads = np.zeros((count, _LAST + 1), dtype=bool)
    leads[:, _LAST] = True
    for edge, (start, end) in sorted(enumerate(_EDGES), key=lambda item: -item[1][1]):
        leads[:, start] |= leads[:, end] & (options[:, edge] > 0)
    alive = [reached[:, start] & leads[:, end] for start, end in _EDGES]
    return np.where(np.column_stack(alive), options, 0)


def part_counts(genes: GeneArray) -> FloatArray:
    """(n, 5) how often each part of `PROBES` is in a network: 1, operators, additions."""
    live = live_options(genes)
    counts = [(live == option).sum(axis=1) for option in (2, 3, 4)]
    return np.column_stack([np.ones(len(live)), *counts, _additions(live).sum(axis=1)])


def cell_features(genes: GeneArray) -> tuple[FloatArray, FloatArray]:
    """Analytic features and pseudo-devices of cells.

    Args:
        genes: (n, 6) options.

    Returns:
        (n, a) features: costs summed over live and over all edges, longest paths, additions at each
        node, operators of each kind; and (n, p) latencies of devices that know one cost only.
    """
    options, live = genes.astype(np.int64), live_options(genes)
    live_sums, sums = ([table[view] for table in _COSTS] for view in (live, options))
    live_cost = np.column_stack([each.sum(axis=1) for each in live_sums])
    cost = np.column_stack([each.sum(axis=1) for each in sums])
    paths = np.column_stack([_longest_path(live, table) for table in _COSTS])
    additions = _additions(live)
    live_count, count = (
        np.column_stack([(view == option).sum(axis=1) for option in range(1, _OPTIONS)])
        for view in (live, options)
    )
    analytic = np.column_stack([live_cost, cost, paths, additions, live_count, count])
    kernels = additions.sum(axis=1, keepdims=True) + live_cost[:, [_LAUNCHES]]
    pseudo = np.column_stack(
        [kernels, live_cost[:, [_MACS, _TRAFFIC]], cost[:, [_LAUNCHES, _MACS, _TRAFFIC]],
         paths[:, [_LAUNCHES, _BLEND]], live_count]
    )  # fmt: skip
    return analytic.astype(np.float64), pseudo.astype(np.float64)


def _additions(live: IntArray) -> IntArray:
    """(n, 3) additions at the nodes 1 to 3: one fewer than edges that arrive."""
    arrive = [
        sum((live[:, edge] > 0).astype(np.int64) for edge, (_, end) in enumerate(_EDGES)
            if end == node)
        for node in range(1, _LAST + 1)
    ]  # fmt: skip
    return np.asarray(np.maximum(np.column_stack(arrive) - 1, 0))


def _longest_path(live: IntArray, cost: FloatArray) -> FloatArray:
    """(n,) cost of the dearest path from input to output; 0 if there is none."""
    length = np.full((len(live), _LAST + 1), -np.inf)
    length[:, 0] = 0.0
    for edge, (start, end) in sorted(enumerate(_EDGES), key=lambda item: item[1][::-1]):
        along = np.where(live[:, edge] > 0, length[:, start] + cost[live[:, edge]], -np.inf)
        length[:, end] = np.maximum(length[:, end], along)
    return np.asarray(np.maximum(length[:, _LAST], 0.0))
