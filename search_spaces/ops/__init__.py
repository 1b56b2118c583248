"""The operators of a layer graph: typed, with shapes, and with their own costs.

Shapes leave the batch out: (channels, height, width) for images, (features,) for vectors, (tokens,
features) for sequences. Costs follow one convention: a multiply-accumulate (MAC) is counted for
convolutions and matrix products; parameters are what training would learn (a normalised convolution
has a scale and a shift for each channel and no bias). At inference batch normalisation is folded.
"""

from search_spaces.ops.base import Activation, Op, Shape, WeightSlice, whole
from search_spaces.ops.images import (
    Activate,
    Add,
    AveragePool,
    BatchNorm,
    ChannelShuffle,
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    Scale,
    Zero,
)
from search_spaces.ops.tokens import (
    Attention,
    ClassToken,
    LayerNorm,
    PositionEmbedding,
    TakeToken,
    TokenLinear,
    Tokens,
)

__all__ = [
    "Activate",
    "Activation",
    "Add",
    "Attention",
    "AveragePool",
    "BatchNorm",
    "ChannelShuffle",
    "ClassToken",
    "Conv",
    "Flatten",
    "GlobalAveragePool",
    "LayerNorm",
    "Linear",
    "Op",
    "PositionEmbedding",
    "Scale",
    "Shape",
    "TakeToken",
    "TokenLinear",
    "Tokens",
    "WeightSlice",
    "Zero",
    "whole",
]
