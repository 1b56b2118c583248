"""A network whose every layer is a weighted sum of all its candidate blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from search_spaces.architecture import GeneArray
from search_spaces.errors import UsageError
from search_spaces.graph import OpGraph
from search_spaces.moves import sample
from search_spaces.space import ChainSpace
from search_spaces.tensors import TensorSlot, graph_slots
from search_spaces.torch_build import forward, head_name, init_slots

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class _Stage:
    """One place of the chain.

    Attributes:
        gene: The choice that decides it; None where every network has the same block.
        graphs: The block of each option; None is no block at all: what enters leaves.
    """

    gene: int | None
    graphs: tuple[OpGraph | None, ...]


class Mixture:
    """The super-network of a chain space in which each choice decides one block.

    Each candidate has weights of its own, named `<place>.<option>/<name in its layer graph>`.

    Args:
        space: Such as `fbnet`.

    Raises:
        UsageError: If a block of the space depends on more than one choice.
    """

    def __init__(self, space: ChainSpace) -> None:
        self._stages = _stages(space)

    def slots(self) -> dict[str, TensorSlot]:
        """All trained tensors by name."""
        return {
            name: replace(slot, name=name)
            for place, option, graph in self._candidates()
            for slot in graph_slots(graph)
            if slot.trained
            for name in (_name(place, option, slot.name),)
        }

    def init(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Fresh tensors by name; the classifier starts near zero."""
        place, option, last = list(self._candidates())[-1]
        head = head_name(last)
        return init_slots(
            self.slots(), generator, head=None if head is None else _name(place, option, head)
        )

    def bind(self, tensors: Tensors) -> Callable[[Tensor, Tensor], Tensor]:
        """The network over tensors by name: a function of pictures and of weights of candidates.

        The function takes (n, ...) inputs and (layers, options) weights, one row a choice, and
        returns (n, classes). Batch norms use the batch. Candidates of weight 0 are left out where
        the weights need no gradient, so that one-hot weights run one network.
        """
        own = {
            (place, option): {
                slot.name: tensors[_name(place, option, slot.name)]
                for slot in graph_slots(graph)
                if slot.trained
            }
            for place, option, graph in self._candidates()
        }

        def run(x: Tensor, weights: Tensor) -> Tensor:
            chosen = None if weights.requires_grad else weights.tolist()
            for place, stage in enumerate(self._stages):
                parts = []
                for option, graph in enumerate(stage.graphs):
                    if stage.gene is not None and chosen and not chosen[stage.gene][option]:
                        continue
                    y = x
                    if graph is not None:
                        y = forward(graph, own[place, option], x, training=True, statistics="batch")
                    parts.append(y if stage.gene is None else weights[stage.gene, option] * y)
                x = parts[0]
                for part in parts[1:]:
                    x = x + part
            return x

        return run

    def _candidates(self) -> list[tuple[int, int, OpGraph]]:
        return [
            (place, option, graph)
            for place, stage in enumerate(self._stages)
            for option, graph in enumerate(stage.graphs)
            if graph is not None
        ]


def _name(place: int, option: int, name: str) -> str:
    return f"{place}.{option}/{name}"


def _stages(space: ChainSpace) -> tuple[_Stage, ...]:
    first = np.zeros((1, len(space.choices)), dtype=np.int8)
    base = space.block_ids(first)[0]
    options: list[list[int]] = [[int(number)] for number in base]
    genes: list[int | None] = [None] * len(base)
    for gene, count in enumerate(space.option_counts):
        rows = np.repeat(first, int(count), axis=0)
        rows[:, gene] = np.arange(int(count))
        ids = space.block_ids(rows)
        for place in np.flatnonzero((ids != ids[0]).any(axis=0)):
            if genes[place] is not None:
                raise _tangled(space)
            genes[place] = gene
            options[place] = [int(number) for number in ids[:, place]]
    _check_untangled(space, genes, options)
    return tuple(
        _Stage(gene, tuple(None if n < 0 else space.block(n).graph() for n in numbers))
        for gene, numbers in zip(genes, options, strict=True)
        if gene is not None or numbers != [-1]
    )


def _check_untangled(space: ChainSpace, genes: list[int | None], options: list[list[int]]) -> None:
    """Random networks have the blocks that each gene alone would give them."""
    drawn: GeneArray = sample(space, 64, np.random.default_rng(0)).genes
    ids = space.block_ids(drawn)
    for place, (gene, numbers) in enumerate(zip(genes, options, strict=True)):
        picked = np.zeros(len(drawn), dtype=np.int64) if gene is None else drawn[:, gene]
        if (np.array(numbers)[picked] != ids[:, place]).any():
            raise _tangled(space)


def _tangled(space: ChainSpace) -> UsageError:
    msg = (
        f"blocks of {space.name} depend on several choices at once; a differentiable search needs "
        "one choice a block, as in fbnet"
    )
    return UsageError(msg)
