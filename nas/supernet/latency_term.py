"""Expected latency of a distribution over networks: one number for each layer and option.

A differentiable search needs the latency of *probabilities*, not of one network. With a table t of
shape (layers, options) whose entries, one a layer, add up to a network's latency, the expectation
is the sum of p t over all entries: linear in the probabilities, so its gradient is the table.

Source: Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural
Architecture Search", CVPR 2019, section 3.3, equations 3 and 9.
"""

from __future__ import annotations

import numpy as np

from predictors.predictor import LatencyPredictor
from search_spaces.architecture import Architecture, FloatArray, GeneArray, Population
from search_spaces.costs import gather_sum
from search_spaces.errors import UsageError
from search_spaces.space import ChainSpace, SearchSpace


def block_latencies(
    space: SearchSpace, predictor: LatencyPredictor, base: Architecture | None = None
) -> FloatArray:
    """A table from any latency predictor: networks that differ from `base` in one gene.

    The change that each option makes to the base network is added to an equal share of the base's
    latency. For predictors that add up blocks the table is exact for every network; for others it
    is exact for the base and those one gene away, and first-order elsewhere.

    Args:
        space: A space whose choices all have equally many options, such as `fbnet`.
        predictor: Of that space.
        base: The network looked at; the middle option everywhere if not given.

    Returns:
        (layers, options) [ms]; entries may be negative, their sums over a network are not.

    Raises:
        UsageError: If the choices differ in their number of options.
    """
    layers, options = table_shape(space)
    middle = tuple(options // 2 for _ in range(layers))
    genes = np.array(middle if base is None else space.check(base), dtype=np.int8)
    latency_ms = predictor.median_ms(Population(space, _one_gene_away(genes, options)))
    table = latency_ms.reshape(layers, options)
    # The base network itself is in every row.
    base_ms = table[np.arange(layers), genes][:, None]
    return np.asarray(table - base_ms * (1.0 - 1.0 / layers))


def block_sums(space: ChainSpace, block_cost: FloatArray) -> FloatArray:
    """The exact table of anything that adds up over blocks: latencies of blocks, or their MACs.

    Args:
        space: A chain whose choices all have equally many options and each decide its own blocks.
        block_cost: (blocks,) cost of each block.

    Returns:
        (layers, options) in the same unit; blocks that every network has are spread evenly.
    """
    layers, options = table_shape(space)
    genes = np.zeros(layers, dtype=np.int8)
    total = gather_sum(block_cost, space.block_ids(_one_gene_away(genes, options)))
    table = total.reshape(layers, options)
    return np.asarray(table - table[:, :1] * (1.0 - 1.0 / layers))


def table_shape(space: SearchSpace) -> tuple[int, int]:
    """Layers and options of a space in which each choice is one layer's block.

    Raises:
        UsageError: If the choices differ in their number of options.
    """
    counts = {len(choice.options) for choice in space.choices}
    if len(counts) != 1:
        msg = (
            f"choices of {space.name} have {min(counts)} to {max(counts)} options; a table needs "
            "one number for all, as in fbnet"
        )
        raise UsageError(msg)
    return len(space.choices), counts.pop()


def network_cost(table: FloatArray, genes: GeneArray) -> FloatArray:
    """(n,) sum of a table's entries over each of (n, layers) networks."""
    return np.asarray(table[np.arange(len(table)), genes].sum(axis=1))


def expected_cost(table: FloatArray, probabilities: FloatArray) -> float:
    """Mean cost of networks drawn layer by layer with (layers, options) probabilities.

    Example:
        >>> expected_cost(np.array([[1.0, 3.0]]), np.array([[0.5, 0.5]]))
        2.0
    """
    return float((table * probabilities).sum())


def _one_gene_away(genes: GeneArray, options: int) -> GeneArray:
    """(layers * options, layers): each layer in turn takes each option."""
    layers = len(genes)
    rows = np.repeat(genes[None], layers * options, axis=0)
    places = np.repeat(np.arange(layers), options)
    rows[np.arange(len(rows)), places] = np.tile(np.arange(options), layers)
    return rows.astype(np.int8)
