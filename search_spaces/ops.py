"""The operators of a layer graph: typed, with shapes, and with their own costs.

Shapes leave the batch out: (channels, height, width) for images, (features,) for vectors. Costs
follow one convention: a multiply-accumulate (MAC) is counted for convolutions and matrix products;
parameters are what training would learn (a normalised convolution has a scale and a shift for each
channel and no bias). At inference the normalisation is folded into the convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

Activation = Literal["none", "relu", "hard_swish", "hard_sigmoid"]
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
    def out_elements(self) -> int:
        """Values produced for one sample."""
        return prod(self.shape)

    def signature(self) -> tuple[object, ...]:
        """What makes two operators cost the same, names and weights left out."""
        return (self.kind, self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(Op):
    """A two-dimensional convolution with "same" padding `kernel // 2` and an activation.

    Attributes:
        in_channels: Channels read.
        normalised: A batch norm follows in training (no bias of its own); folded at inference.
        bias: The convolution itself has a bias.
    """

    in_channels: int
    kernel: int
    weight: WeightSlice
    stride: int = 1
    groups: int = 1
    activation: Activation = "none"
    normalised: bool = True
    bias: bool = False

    @property
    def _kernel_elements(self) -> int:
        return self.shape[0] * (self.in_channels // self.groups) * self.kernel * self.kernel

    @property
    def macs(self) -> int:
        """MACs of one sample."""
        return self._kernel_elements * self.shape[1] * self.shape[2]

    @property
    def parameters(self) -> int:
        """Kernel, bias, and scale and shift of the normalisation."""
        channels = self.shape[0]
        return self._kernel_elements + channels * (2 * self.normalised + self.bias)

    @property
    def weight_elements(self) -> int:
        """Kernel and (folded) bias."""
        return self._kernel_elements + self.shape[0] * (self.normalised or self.bias)

    def signature(self) -> tuple[object, ...]:
        """Everything the cost depends on."""
        biased = self.normalised or self.bias
        return (
            "conv", self.shape, self.in_channels, self.kernel, self.stride, self.groups,
            self.activation, biased,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear(Op):
    """A fully connected layer on a vector."""

    in_features: int
    weight: WeightSlice
    bias: bool = True

    @property
    def macs(self) -> int:
        """MACs of one sample."""
        return self.in_features * self.shape[0]

    @property
    def parameters(self) -> int:
        """Matrix and bias."""
        return self.in_features * self.shape[0] + self.shape[0] * self.bias

    @property
    def weight_elements(self) -> int:
        """Matrix and bias."""
        return self.parameters

    def signature(self) -> tuple[object, ...]:
        """Everything the cost depends on."""
        return ("linear", self.shape, self.in_features, self.bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalAveragePool(Op):
    """Mean over height and width; the shape stays (channels, 1, 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatten(Op):
    """(channels, 1, 1) to (channels,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Op):
    """Element-wise sum of two tensors of one shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(Op):
    """A feature map (first input) times one factor for each channel (second input)."""
