"""What a search space is: choices, a canonical form, and one method that draws the layer graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from search_spaces.architecture import (
    Architecture,
    Choice,
    FloatArray,
    GeneArray,
    IntArray,
    Population,
)
from search_spaces.catalog import Catalog
from search_spaces.errors import InvalidArchitectureError
from search_spaces.graph import OpGraph, chain
from search_spaces.ops import Op, Shape

# Networks whose costs a space without blocks keeps, a few hundred bytes each.
_REMEMBERED = 1 << 16


class SearchSpace(ABC):
    """A set of networks. Subclasses say `name`, `choices` and `graph`."""

    name: str
    choices: tuple[Choice, ...]

    @abstractmethod
    def graph(self, arch: Architecture) -> OpGraph:
        """The layer graph of one network.

        Raises:
            InvalidArchitectureError: If the genotype is not of this space.
        """

    def canonical(self, genes: GeneArray) -> GeneArray:
        """The same networks, each by its one canonical genotype.

        Args:
            genes: (n, genes) option indices.

        Returns:
            (n, genes); genes that change nothing are set to 0.
        """
        return genes

    def describe(self, arch: Architecture) -> dict[str, Any]:
        """The network in the words of its choices, as JSON values."""
        genes = self.check(arch)
        return {c.name: c.options[g] for c, g in zip(self.choices, genes, strict=True)}

    def blocks_of(self, arch: Architecture) -> list[Block]:
        """The parts of one network in order, to be named, drawn and costed one by one.

        The whole network is one part unless a subclass knows better.
        """
        graph = self.graph(arch)
        return [Block("network", "network", graph.input_shape, graph.ops)]

    def network_costs(self, genes: tuple[int, ...]) -> Costs:
        """What one network costs; remembered, so a search pays for each network once."""
        known = self._known_costs
        if genes not in known:
            if len(known) >= _REMEMBERED:
                known.clear()
            known[genes] = self._costs_of(Architecture(self.name, genes))
        return known[genes]

    def _costs_of(self, arch: Architecture) -> Costs:
        return Costs.of(self.graph(arch))

    @cached_property
    def _known_costs(self) -> dict[tuple[int, ...], Costs]:
        return {}

    @cached_property
    def option_counts(self) -> IntArray:
        """(genes,) number of options of each choice."""
        return np.array([len(choice.options) for choice in self.choices], dtype=np.int64)

    @property
    def size(self) -> int:
        """Number of genotypes; canonical networks are fewer."""
        total = 1
        for choice in self.choices:
            total *= len(choice.options)
        return total

    def check(self, arch: Architecture) -> tuple[int, ...]:
        """Return the genes of `arch`, or name the one that is wrong.

        Raises:
            InvalidArchitectureError: If space, length or a gene does not fit.
        """
        if arch.space != self.name:
            msg = f"{arch.key} belongs to the space {arch.space!r}, not to {self.name!r}"
            raise InvalidArchitectureError(msg)
        self.check_genes(np.array([arch.genes], dtype=np.int64))
        return arch.genes

    def check_genes(self, genes: IntArray | GeneArray) -> None:
        """Refuse (n, genes) indices outside the space, naming the first wrong gene.

        Raises:
            InvalidArchitectureError: If the shape or a value does not fit.
        """
        if genes.ndim != 2 or genes.shape[1] != len(self.choices):
            given = genes.shape[-1] if genes.ndim else 0
            msg = f"{self.name} has {len(self.choices)} genes, {given} were given"
            raise InvalidArchitectureError(msg)
        wrong = (genes < 0) | (genes >= self.option_counts)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            choice = self.choices[column]
            allowed = ", ".join(f"{i}={value}" for i, value in enumerate(choice.options))
            msg = (
                f"gene {column} ({choice.name}) of {self.name} is {genes[row, column]}; "
                f"allowed: {allowed}"
            )
            raise InvalidArchitectureError(msg)

    def population(self, archs: Sequence[Architecture]) -> Population:
        """Rows of `archs` as a population, each checked."""
        rows = [self.check(arch) for arch in archs]
        shape = (len(rows), len(self.choices))
        return Population(self, np.array(rows, dtype=np.int8).reshape(shape))

    def canonical_arch(self, arch: Architecture) -> Architecture:
        """The canonical genotype of one network."""
        return Population(self, self.canonical(self.population([arch]).genes))[0]


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a chain: its operators read `input` and hand on their last tensor.

    Attributes:
        label: Position in the network, such as `stage2.block0`.
        group: Coarser position, such as `stage2`; predictors learn one correction for each.
        input_shape: Shape of what enters.
        ops: Operators in order.
    """

    label: str
    group: str
    input_shape: Shape
    ops: tuple[Op, ...]

    def graph(self) -> OpGraph:
        """The block as a network of its own."""
        return OpGraph(self.input_shape, self.ops)


class Costs(NamedTuple):
    """What one network, or a part of one, costs; see `OpGraph` for each."""

    macs: int
    parameters: int
    weight_bytes: int
    activation_bytes: int
    peak_activation_bytes: int

    @classmethod
    def of(cls, graph: OpGraph) -> Self:
        """Costs of a layer graph."""
        return cls(*(getattr(graph, name) for name in cls._fields))

    @classmethod
    def joined(cls, parts: Iterable[Costs]) -> Self:
        """Costs of parts joined end to end: sums, and the largest of the peaks."""
        *summed, peaks = zip(*parts, strict=True)
        return cls._make([*map(sum, summed), max(peaks)])


@dataclass(frozen=True, slots=True)
class CostTable:
    """What each block costs; (blocks,) arrays. Sums (or the maximum) over a chain are exact."""

    macs: FloatArray
    parameters: FloatArray
    weight_bytes: FloatArray
    activation_bytes: FloatArray
    peak_activation_bytes: FloatArray


class ChainSpace(SearchSpace):
    """A space whose networks are chains of blocks out of one finite list.

    Costs are then table look-ups for whole populations, and a latency table is one number a block.
    Subclasses give `block_count`, `block` and `block_ids`; the graph follows from these.
    """

    block_count: int

    @abstractmethod
    def block(self, block_id: int) -> Block:
        """The block of that number, 0 <= block_id < block_count."""

    @abstractmethod
    def block_ids(self, genes: GeneArray) -> IntArray:
        """Blocks of each network in order.

        Args:
            genes: (n, genes) option indices.

        Returns:
            (n, slots) block numbers; -1 where a network has no block in that slot.
        """

    def graph(self, arch: Architecture) -> OpGraph:
        """The blocks of `arch`, joined."""
        blocks = self.blocks_of(arch)
        return chain(blocks[0].input_shape, [block.ops for block in blocks])

    def blocks_of(self, arch: Architecture) -> list[Block]:
        """The blocks of one network in order."""
        self.check(arch)
        ids = self.block_ids(np.array([arch.genes], dtype=np.int8))[0]
        return [self.block(int(block_id)) for block_id in ids if block_id >= 0]

    @cached_property
    def block_groups(self) -> tuple[tuple[str, ...], IntArray]:
        """Names of the groups, and (blocks,) the group of each block."""
        labels = [self.block(block_id).group for block_id in range(self.block_count)]
        names = tuple(dict.fromkeys(labels))
        return names, np.array([names.index(label) for label in labels], dtype=np.int64)

    @cached_property
    def block_digests(self) -> tuple[str, ...]:
        """(blocks,) digest of each block's graph; blocks that cost the same share one."""
        return tuple(self.block(i).graph().digest for i in range(self.block_count))

    @cached_property
    def cost_table(self) -> CostTable:
        """What each block costs, from its layer graph."""
        rows = [Costs.of(self.block(number).graph()) for number in range(self.block_count)]
        return CostTable(*np.array(rows, dtype=np.float64).T.copy())


SPACES: Catalog[SearchSpace] = Catalog("search_spaces.spaces", "SPACE", "search space")
