"""What a network is called: a genotype of small integers, alone or as a population.

A gene is the *index of an option*, never the option itself, so that every space is handled by the
same vectorised moves (ADR 0002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import InvalidArchitectureError

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace

GeneArray = NDArray[np.int8]
"""(n, genes) option indices."""
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision of a space: a gene's name and its options in order.

    Example:
        >>> Choice("kernel", (3, 5, 7)).options[1]
        5
    """

    name: str
    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Refuse what a key cannot spell: one base-36 digit a gene."""
        if not 1 <= len(self.options) <= len(_DIGITS):
            msg = f"choice {self.name!r} has {len(self.options)} options; 1 to 36 are allowed"
            raise InvalidArchitectureError(msg)


@dataclass(frozen=True, slots=True, order=True)
class Architecture:
    """One network of a space, by its genotype.

    Example:
        >>> Architecture("toy", (0, 2, 1)).key
        'toy:021'
        >>> Architecture.parse("toy:021").genes
        (0, 2, 1)
    """

    space: str
    genes: tuple[int, ...]

    @property
    def key(self) -> str:
        """The name of the network in tables, on the command line and in the store."""
        return f"{self.space}:{''.join(_DIGITS[gene] for gene in self.genes)}"

    @classmethod
    def parse(cls, key: str) -> Architecture:
        """Read a key back.

        Raises:
            InvalidArchitectureError: If the text is not `space:digits`.
        """
        space, _, digits = key.strip().partition(":")
        if not space or not digits or any(digit not in _DIGITS for digit in digits):
            msg = (
                f"{key!r} is not an architecture key; a key is the space, a colon and one digit "
                "(0-9, a-z) for each gene, such as mobilenetv3:3222…"
            )
            raise InvalidArchitectureError(msg)
        return cls(space, tuple(_DIGITS.index(digit) for digit in digits))


@dataclass(frozen=True, slots=True)
class Population:
    """Many networks of one space as an array; what samplers, costs and predictors work on.

    Attributes:
        space: The space they belong to.
        genes: (n, genes) option indices.
    """

    space: SearchSpace
    genes: GeneArray

    def __post_init__(self) -> None:
        """Check the shape once, here, so that nobody below needs to."""
        if self.genes.ndim != 2 or self.genes.shape[1] != len(self.space.choices):
            msg = (
                f"genes of shape {self.genes.shape} are not a population of {self.space.name}; "
                f"(n, {len(self.space.choices)}) is"
            )
            raise InvalidArchitectureError(msg)

    def __len__(self) -> int:
        """Number of networks."""
        return int(self.genes.shape[0])

    def __getitem__(self, index: int) -> Architecture:
        """The network in row `index`."""
        return Architecture(self.space.name, tuple(int(gene) for gene in self.genes[index]))

    def architectures(self) -> list[Architecture]:
        """All rows as `Architecture` values, for the edges of the system."""
        return [self[row] for row in range(len(self))]
