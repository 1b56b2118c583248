"""Operators of vision transformers, on sequences of shape (tokens, features).

Tensors of a weight slice `w` are the same in training and at inference: `w.key`, and `w.key +
".bias"` for a layer norm's shift and a linear layer's bias.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.ops.base import Activation, Op, WeightSlice


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens(Op):
    """An image as a sequence: (channels, height, width) to (height * width, channels)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassToken(Op):
    """One more token in front, the same for every input: (n, d) to (n + 1, d).

    Attributes:
        weight: (1, 1, features).
    """

    weight: WeightSlice

    @property
    def parameters(self) -> int:
        """The token."""
        return self.shape[1]

    @property
    def weight_elements(self) -> int:
        """The token."""
        return self.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionEmbedding(Op):
    """Adds what each position has learned.

    Attributes:
        weight: (1, tokens, features).
    """

    weight: WeightSlice

    @property
    def parameters(self) -> int:
        """One vector a position."""
        return self.out_elements

    @property
    def weight_elements(self) -> int:
        """One vector a position."""
        return self.out_elements


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorm(Op):
    """Each token to mean 0 and variance 1, then a scale `w.key` and a shift `w.key + ".bias"`.

    Attributes:
        weight: (features,), the scale.
        epsilon: Added to the variance.
    """

    weight: WeightSlice
    epsilon: float = 1e-6

    @property
    def parameters(self) -> int:
        """Scale and shift of each feature."""
        return 2 * self.shape[-1]

    @property
    def weight_elements(self) -> int:
        """Scale and shift of each feature."""
        return 2 * self.shape[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLinear(Op):
    """A fully connected layer on every token, and an activation.

    Attributes:
        in_features: Features read.
        weight: (features out, features in).
    """

    in_features: int
    weight: WeightSlice
    bias: bool = True
    activation: Activation = "none"

    @property
    def macs(self) -> int:
        """MACs of one sample."""
        return self.in_features * self.out_elements

    @property
    def parameters(self) -> int:
        """Matrix and bias."""
        return (self.in_features + self.bias) * self.shape[1]

    @property
    def weight_elements(self) -> int:
        """Matrix and bias."""
        return self.parameters

    def signature(self) -> tuple[object, ...]:
        """Everything the cost depends on."""
        return ("tokenlinear", self.shape, self.in_features, self.bias, self.activation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention(Op):
    """Scaled dot-product attention of several heads on queries, keys and values.

    Reads three tensors (tokens, features), in this order; head `h` has the features from
    `h * width` on, with `width = features / heads`. Each head gives softmax(q k' / sqrt(width)) v.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.2.
    """

    heads: int

    @property
    def head_width(self) -> int:
        """Features of one head."""
        return self.shape[1] // self.heads

    @property
    def macs(self) -> int:
        """Both matrix products: scores, and values weighted with them."""
        return 2 * self.shape[0] * self.out_elements

    @property
    def scratch_elements(self) -> int:
        """The scores: (heads, tokens, tokens)."""
        return self.heads * self.shape[0] * self.shape[0]

    def signature(self) -> tuple[object, ...]:
        """Everything the cost depends on."""
        return ("attention", self.shape, self.heads)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeToken(Op):
    """One token of a sequence as a vector: (tokens, features) to (features,)."""

    index: int = 0

    def signature(self) -> tuple[object, ...]:
        """Everything the cost depends on."""
        return ("taketoken", self.shape, self.index)
