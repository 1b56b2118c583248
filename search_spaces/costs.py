"""Costs of whole populations in any space; exact, and checked against the layer graph.

Chains of blocks are looked up in tables; of other spaces each distinct network is costed once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import FloatArray, GeneArray, IntArray, Population
from search_spaces.errors import UsageError
from search_spaces.space import ChainSpace, Costs, SearchSpace

_CHUNK = 65_536

COSTS = Costs._fields
SUMMED = tuple(name for name in COSTS if not name.startswith("peak"))


def gather_sum(table: NDArray[np.floating], ids: IntArray) -> FloatArray:
    """Sum a per-block table over the blocks of each network.

    Args:
        table: (blocks,) value of each block.
        ids: (n, slots) block numbers, -1 for none.

    Returns:
        (n,) sums.
    """
    # One extra entry of zero answers for -1, so that no mask is needed.
    return np.asarray(np.append(table, 0.0)[ids].sum(axis=1))


def costs(population: Population, names: tuple[str, ...] = COSTS) -> dict[str, FloatArray]:
    """Exact costs of every network: MACs, parameters, bytes, peak activation memory.

    Args:
        population: n networks.
        names: Which of `COSTS`.

    Returns:
        Name to (n,) values.

    Raises:
        UsageError: If a name is unknown.
    """
    space = population.space
    if not set(names) <= set(COSTS):
        msg = f"costs of {space.name}: {names} were asked for; there are {', '.join(COSTS)}"
        raise UsageError(msg)
    result: dict[str, FloatArray] = {name: np.empty(len(population)) for name in names}
    for start in range(0, len(population), _CHUNK):
        rows = slice(start, start + _CHUNK)
        genes = population.genes[rows]
        if isinstance(space, ChainSpace):
            found = _of_chains(space, genes, names)
        else:
            found = _of_networks(space, genes, names)
        for name in names:
            result[name][rows] = found[name]
    return result


def _of_chains(
    space: ChainSpace, genes: GeneArray, names: tuple[str, ...]
) -> dict[str, FloatArray]:
    ids = space.block_ids(genes)
    found: dict[str, FloatArray] = {}
    for name in names:
        table = getattr(space.cost_table, name)
        if name in SUMMED:
            found[name] = gather_sum(table, ids)
        else:
            found[name] = np.append(table, 0.0)[ids].max(axis=1)
    return found


def _of_networks(
    space: SearchSpace, genes: GeneArray, names: tuple[str, ...]
) -> dict[str, FloatArray]:
    distinct, place = np.unique(space.canonical(genes), axis=0, return_inverse=True)
    table = np.array([space.network_costs(tuple(row)) for row in distinct.tolist()], dtype=float)
    whole = table.reshape(-1, len(COSTS))[place.ravel()]
    return {name: whole[:, COSTS.index(name)] for name in names}
