"""What every operator has: a name, inputs, a shape, costs, and weights cut from shared ones."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

Activation = Literal["none", "relu", "hard_swish", "hard_sigmoid", "gelu"]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WeightSlice:
    """Where an operator's weight lies in the weights of the largest network.

    Attributes:
        key: Name of the shared tensor.
        start: First index taken along each axis.
        shape: Extent taken along each axis.
    """

    key: str
    start: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def bias(self) -> WeightSlice:
        """The vector `<key>.bias` with one value for each slice of the first axis."""
        return WeightSlice(f"{self.key}.bias", self.start[:1], self.shape[:1])


def whole(key: str, *shape: int) -> WeightSlice:
    """The leading part of a shared tensor, all of it in the largest network."""
    return WeightSlice(key, (0,) * len(shape), shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operator: `name` is the tensor it produces, `inputs` the tensors it reads."""

    name: str
    inputs: tuple[str, ...]
    shape: Shape

    @property
    def kind(self) -> str:
        """The operator's type in lower case."""
        return type(self).__name__.lower()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return 0

    @property
    def parameters(self) -> int:
        """Trained values, normalisation included."""
        return 0

    @property
    def weight_elements(self) -> int:
        """Values read from weights at inference, normalisation folded."""
        return 0

    @property
    def scratch_elements(self) -> int:
        """Values of tensors that live only inside the operator, for one sample."""
        return 0

    @property
    def out_elements(self) -> int:
        """Values produced for one sample."""
        return prod(self.shape)

    def signature(self) -> tuple[object, ...]:
        """What makes two operators cost the same, names and weights left out."""
        return (self.kind, self.shape)
