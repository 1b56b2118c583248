"""Costs of whole populations by table look-up; exact, and checked against the layer graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import FloatArray, IntArray, Population
from search_spaces.errors import UsageError
from search_spaces.space import ChainSpace

_CHUNK = 65_536

SUMMED = ("macs", "parameters", "weight_bytes", "activation_bytes")
COSTS = (*SUMMED, "peak_activation_bytes")


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
        population: n networks of a chain space.
        names: Which of `COSTS`.

    Returns:
        Name to (n,) values.

    Raises:
        UsageError: If the space is no chain of blocks, or a name is unknown.
    """
    space = population.space
    if not isinstance(space, ChainSpace) or not set(names) <= set(COSTS):
        msg = f"costs of {space.name}: {names}; chain spaces have {', '.join(COSTS)}"
        raise UsageError(msg)
    result: dict[str, FloatArray] = {name: np.empty(len(population)) for name in names}
    for start in range(0, len(population), _CHUNK):
        rows = slice(start, start + _CHUNK)
        ids = space.block_ids(population.genes[rows])
        for name in names:
            table = getattr(space.cost_table, name)
            if name in SUMMED:
                result[name][rows] = gather_sum(table, ids)
            else:
                result[name][rows] = np.append(table, 0.0)[ids].max(axis=1)
    return result
