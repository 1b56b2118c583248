"""Operators on images and vectors.

Tensors of a weight slice `w`: `w.key` and, with a bias or a folded normalisation, `w.key` followed
by `.bias`. In training a normalised convolution has, instead of that bias, `.bn.weight`,
`.bn.bias`, `.bn.mean` and `.bn.var` (epsilon 1e-5) after `w.key`, one value for each channel.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.ops.base import Activation, Op, WeightSlice


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(Op):
    """A two-dimensional convolution, normalised or not, and an activation.

    Attributes:
        in_channels: Channels read.
        normalised: A batch norm follows in training (no bias of its own); folded at inference.
        bias: The convolution itself has a bias.
        padding: Rows and columns of zeros on each side; None is "same", `kernel // 2`.
    """

    in_channels: int
    kernel: int
    weight: WeightSlice
    stride: int = 1
    groups: int = 1
    activation: Activation = "none"
    normalised: bool = True
    bias: bool = False
    padding: int | None = None

    @property
    def pad(self) -> int:
        """Rows and columns of zeros on each side."""
        return self.kernel // 2 if self.padding is None else self.padding

    @property
    def biased(self) -> bool:
        """A bias is added at inference, its own or that of the folded normalisation."""
        return self.normalised or self.bias

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
        return self._kernel_elements + self.shape[0] * self.biased

    def signature(self) -> tuple[object, ...]:
        """Everything the cost depends on."""
        # Only an uncommon padding is said, so that digests of stored measurements stay valid.
        uncommon = () if self.pad == self.kernel // 2 else (self.pad,)
        return (
            "conv", self.shape, self.in_channels, self.kernel, self.stride, self.groups,
            self.activation, self.biased, *uncommon,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear(Op):
    """A fully connected layer on a vector; weight (features out, features in)."""

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
class BatchNorm(Op):
    """A batch normalisation that no convolution takes in.

    At inference a scale `w.key` and a shift `w.key + ".bias"` for each channel, folded from the
    four tensors `w.key + ".bn.weight"`, `".bn.bias"`, `".bn.mean"`, `".bn.var"` of training.

    Attributes:
        weight: (channels,).
    """

    weight: WeightSlice

    @property
    def parameters(self) -> int:
        """Scale and shift of each channel."""
        return 2 * self.shape[0]

    @property
    def weight_elements(self) -> int:
        """Scale and shift of each channel."""
        return 2 * self.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate(Op):
    """An activation on its own, where none goes with the operator before."""

    activation: Activation

    def signature(self) -> tuple[object, ...]:
        """Everything the cost depends on."""
        return ("activate", self.shape, self.activation)


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(Op):
    """Mean over square windows; padded places count neither in the sum nor in the number.

    Attributes:
        kernel: Extent of a window.
        stride: Step between windows.
        padding: Rows and columns added on each side.
    """

    kernel: int
    stride: int = 1
    padding: int = 0

    def signature(self) -> tuple[object, ...]:
        """Everything the cost depends on."""
        return ("averagepool", self.shape, self.kernel, self.stride, self.padding)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelShuffle(Op):
    """Channels of the groups in turn: (g, c/g) becomes (c/g, g).

    Source: Zhang et al., "ShuffleNet", CVPR 2018, section 3.1.
    """

    groups: int

    def signature(self) -> tuple[object, ...]:
        """Everything the cost depends on."""
        return ("channelshuffle", self.shape, self.groups)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Zero(Op):
    """The input times 0: what a part hands on when no path leads through it."""
