"""Features of networks, derived from their layer graphs by way of the blocks they are made of."""

from __future__ import annotations

import numpy as np

from search_spaces.architecture import FloatArray, IntArray
from search_spaces.costs import gather_sum
from search_spaces.space import ChainSpace

# A block of a typical network takes a twentieth of the reference's time: the feature that counts
# blocks is then near 1, as the others are.
_TYPICAL_BLOCK = 0.05


def composition(
    space: ChainSpace, ids: IntArray, block_cost: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """What a network's cost is made of, for models of relative corrections to it.

    Args:
        space: The space of the networks.
        ids: (n, slots) their blocks, -1 for none.
        block_cost: (blocks,) positive cost of each block, in units of the reference network.

    Returns:
        (n,) sum over the blocks, and (n, groups + 3) features: a constant, the share of each group
        of blocks in the sum, blocks for each unit of cost, and the logarithm of the sum.
    """
    names, group = space.block_groups
    total = gather_sum(block_cost, ids)
    features = np.empty((len(ids), len(names) + 3))
    features[:, 0] = 1.0
    for index in range(len(names)):
        part = np.where(group == index, block_cost, 0.0)
        features[:, 1 + index] = gather_sum(part, ids) / total
    features[:, -2] = _TYPICAL_BLOCK * (ids >= 0).sum(axis=1) / total
    features[:, -1] = np.log(total)
    return total, features
