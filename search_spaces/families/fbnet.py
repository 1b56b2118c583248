"""FBNet: twenty-two layers, each one of nine blocks.

Source: Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural
Architecture Search", CVPR 2019, tables 1 and 2. The order of blocks, the form for 32 × 32 images
and a `skip` that changes shape are those of HW-NAS-Bench (Li et al., ICLR 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from search_spaces.architecture import Choice, GeneArray, IntArray
from search_spaces.graph import INPUT
from search_spaces.ops import (
    Add,
    ChannelShuffle,
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    Op,
    whole,
)
from search_spaces.space import Block, ChainSpace

BLOCKS = (
    "k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip",
)  # fmt: skip
SKIP = BLOCKS.index("skip")
# Kernel, expansion and groups of every block but the last.
_SHAPES = (
    (3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1)
)  # fmt: skip

STEM_WIDTH = 16
WIDTHS = (16, 24, 32, 64, 112, 184, 352)
DEPTHS = (1, 4, 4, 4, 4, 4, 1)
LAYERS = sum(DEPTHS)


@dataclass(frozen=True, slots=True)
class Macro:
    """What members of the family differ in.

    Attributes:
        resolution: Height and width of the input.
        stem_stride: Stride of the first convolution.
        strides: Stride of the first layer of each stage.
        head_width: Channels of the last convolution.
        classes: Number of classes.
    """

    resolution: int
    stem_stride: int
    strides: tuple[int, ...]
    head_width: int
    classes: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's place in the network; sizes are height and width."""

    stage: int
    in_channels: int
    channels: int
    stride: int
    in_size: int

    @property
    def size(self) -> int:
        """Height and width of what the layer produces."""
        return (self.in_size + self.stride - 1) // self.stride

    @property
    def keeps_shape(self) -> bool:
        """What enters has the shape of what leaves."""
        return self.stride == 1 and self.in_channels == self.channels


class FBNet(ChainSpace):
    """Genes: the block of each layer.

    A `skip` where the shape stays is no block at all; elsewhere it is a 1 × 1 convolution. Each of
    the nine blocks of a layer has weights of its own, as in FBNet's super-network.
    """

    def __init__(self, name: str, macro: Macro) -> None:
        self.name = name
        self.macro = macro
        self.choices = tuple(Choice(f"layer[{layer}]", BLOCKS) for layer in range(LAYERS))
        self.block_count = len(self._variants) + 2

    def block_ids(self, genes: GeneArray) -> IntArray:
        """(n, 24): stem, twenty-two layers, head."""
        layers = self._numbers[np.arange(LAYERS), genes]
        stem = np.zeros(len(genes), dtype=np.int64)
        return np.column_stack([stem, layers, stem + self.block_count - 1])

    def block(self, block_id: int) -> Block:
        """Stem, one variant of a layer, or head."""
        if block_id == 0:
            size = self.macro.resolution
            return Block("stem", "stem", (3, size, size), _stem(self.macro))
        if block_id == self.block_count - 1:
            size = self._layers[-1].size
            return Block("head", "head", (WIDTHS[-1], size, size), _head(self.macro, size))
        number, variant = self._variants[block_id - 1]
        layer, label = self._layers[number], f"layer{number}"
        ops = _block(f"{label}.{BLOCKS[variant]}", layer, variant)
        entry = (layer.in_channels, layer.in_size, layer.in_size)
        return Block(label, f"stage{layer.stage}", entry, ops)

    @cached_property
    def _layers(self) -> tuple[Layer, ...]:
        size = (self.macro.resolution + self.macro.stem_stride - 1) // self.macro.stem_stride
        layers: list[Layer] = []
        for stage, (before, after) in enumerate(pairwise((STEM_WIDTH, *WIDTHS))):
            for position in range(DEPTHS[stage]):
                first = position == 0
                stride = self.macro.strides[stage] if first else 1
                layers.append(Layer(stage, before if first else after, after, stride, size))
                size = layers[-1].size
        return tuple(layers)

    @cached_property
    def _variants(self) -> tuple[tuple[int, int], ...]:
        """Layer and gene of each block between stem and head."""
        return tuple(
            (number, variant)
            for number, layer in enumerate(self._layers)
            for variant in range(len(BLOCKS))
            if variant != SKIP or not layer.keeps_shape
        )

    @cached_property
    def _numbers(self) -> IntArray:
        """(22, 9) block of each layer and gene, -1 for none."""
        numbers = np.full((LAYERS, len(BLOCKS)), -1, dtype=np.int64)
        for number, (layer, variant) in enumerate(self._variants, start=1):
            numbers[layer, variant] = number
        return numbers


def _stem(macro: Macro) -> tuple[Op, ...]:
    size = (macro.resolution + macro.stem_stride - 1) // macro.stem_stride
    return (
        Conv(
            name="stem.conv", inputs=(INPUT,), shape=(STEM_WIDTH, size, size), in_channels=3,
            kernel=3, stride=macro.stem_stride, activation="relu",
            weight=whole("stem.conv", STEM_WIDTH, 3, 3, 3),
        ),
    )  # fmt: skip


def _block(name: str, layer: Layer, variant: int) -> tuple[Op, ...]:
    before, after, size = layer.in_channels, layer.channels, layer.size
    out = (after, size, size)
    if variant == SKIP:
        return (
            Conv(
                name=f"{name}.conv", inputs=(INPUT,), shape=out, in_channels=before, kernel=1,
                stride=layer.stride, activation="relu",
                weight=whole(f"{name}.conv", after, before, 1, 1),
            ),
        )  # fmt: skip
    kernel, expansion, groups = _SHAPES[variant]
    middle = before * expansion
    wide = (middle, layer.in_size, layer.in_size)
    ops: list[Op] = [
        Conv(
            name=f"{name}.expand", inputs=(INPUT,), shape=wide, in_channels=before, kernel=1,
            groups=groups, activation="relu",
            weight=whole(f"{name}.expand", middle, before // groups, 1, 1),
        )
    ]  # fmt: skip
    if groups > 1:
        ops.append(
            ChannelShuffle(
                name=f"{name}.shuffle", inputs=(ops[-1].name,), shape=wide, groups=groups
            )
        )
    ops += [
        Conv(
            name=f"{name}.depthwise", inputs=(ops[-1].name,), shape=(middle, size, size),
            in_channels=middle, kernel=kernel, stride=layer.stride, groups=middle,
            activation="relu", weight=whole(f"{name}.depthwise", middle, 1, kernel, kernel),
        ),
        Conv(
            name=f"{name}.project", inputs=(f"{name}.depthwise",), shape=out, in_channels=middle,
            kernel=1, groups=groups,
            weight=whole(f"{name}.project", after, middle // groups, 1, 1),
        ),
    ]  # fmt: skip
    if layer.keeps_shape:
        ops.append(Add(name=f"{name}.add", inputs=(f"{name}.project", INPUT), shape=out))
    return tuple(ops)


def _head(macro: Macro, size: int) -> tuple[Op, ...]:
    width = macro.head_width
    return (
        Conv(
            name="head.conv", inputs=(INPUT,), shape=(width, size, size), in_channels=WIDTHS[-1],
            kernel=1, activation="relu", weight=whole("head.conv", width, WIDTHS[-1], 1, 1),
        ),
        GlobalAveragePool(name="head.pool", inputs=("head.conv",), shape=(width, 1, 1)),
        Flatten(name="head.flatten", inputs=("head.pool",), shape=(width,)),
        Linear(
            name="head.classifier", inputs=("head.flatten",), shape=(macro.classes,),
            in_features=width, weight=whole("head.classifier", macro.classes, width),
        ),
    )  # fmt: skip
