"""Inverted bottlenecks in five stages, as once-for-all makes MobileNetV3 elastic.

Source: Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment",
ICLR 2020, section 4 and its public configuration (width multiplier 1.0): kernels 3/5/7, expansion
ratios 3/4/6, depths 2/3/4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from search_spaces.architecture import Architecture, Choice, GeneArray, IntArray
from search_spaces.errors import InvalidArchitectureError
from search_spaces.graph import INPUT
from search_spaces.ops import (
    Activation,
    Add,
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    Op,
    Scale,
    WeightSlice,
    whole,
)
from search_spaces.space import Block, ChainSpace

DEPTHS = (2, 3, 4)
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)

STAGES = 5
POSITIONS = 4
SLOTS = STAGES * POSITIONS
STEM_WIDTH = 16
WIDTHS = (24, 40, 80, 112, 160)
ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu", "hard_swish", "hard_swish", "hard_swish")
SQUEEZE = (False, True, False, True, True)
FINAL_WIDTH, FEATURE_WIDTH = 960, 1280

_VARIANTS = len(KERNELS) * len(EXPANSIONS)
# Blocks of one resolution: the stem, every variant of every slot, the head.
_PER_RESOLUTION = 1 + SLOTS * _VARIANTS + 1


def make_divisible(value: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, never below 90 % of `value`.

    Source: the MobileNet reference code, which once-for-all follows.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, slots=True)
class Macro:
    """What members of the family differ in.

    Attributes:
        resolutions: Height and width of the input; more than one makes it a gene.
        stem_stride: Stride of the first convolution.
        strides: Stride of the first block of each stage.
        classes: Number of classes.
    """

    resolutions: tuple[int, ...]
    stem_stride: int
    strides: tuple[int, ...]
    classes: int


class MobileNetV3(ChainSpace):
    """Genes: resolution if there is a choice, depth of each stage, kernel and expansion of slots.

    Slots beyond their stage's depth are absent; their genes are 0 in the canonical form. Weights
    have the same names in all members of the family.
    """

    def __init__(self, name: str, macro: Macro) -> None:
        self.name = name
        self.macro = macro
        elastic = macro.resolutions if len(macro.resolutions) > 1 else ()
        self.choices = (
            *([Choice("resolution", elastic)] if elastic else []),
            *(Choice(f"depth[{stage}]", DEPTHS) for stage in range(STAGES)),
            *(Choice(f"kernel[{slot}]", KERNELS) for slot in range(SLOTS)),
            *(Choice(f"expansion[{slot}]", EXPANSIONS) for slot in range(SLOTS)),
        )
        self.block_count = len(macro.resolutions) * _PER_RESOLUTION
        first = int(bool(elastic))
        self._elastic_resolution = bool(elastic)
        self._depths = slice(first, first + STAGES)
        self._kernels = slice(first + STAGES, first + STAGES + SLOTS)
        self._expansions = slice(first + STAGES + SLOTS, first + STAGES + 2 * SLOTS)

    def canonical(self, genes: GeneArray) -> GeneArray:
        """Kernel and expansion of absent slots become 0."""
        present = self._present(genes)
        result = genes.copy()
        result[:, self._kernels] *= present
        result[:, self._expansions] *= present
        return result

    def block_ids(self, genes: GeneArray) -> IntArray:
        """(n, 22): stem, twenty slots, head."""
        base = np.zeros(len(genes), dtype=np.int64)
        if self._elastic_resolution:
            base = genes[:, 0].astype(np.int64) * _PER_RESOLUTION
        variant = genes[:, self._kernels].astype(np.int64) * len(EXPANSIONS)
        variant += genes[:, self._expansions]
        slots = base[:, None] + 1 + np.arange(SLOTS) * _VARIANTS + variant
        slots = np.where(self._present(genes), slots, -1)
        return np.column_stack([base, slots, base + _PER_RESOLUTION - 1])

    def block(self, block_id: int) -> Block:
        """Stem, bottleneck or head at one resolution."""
        return _block(self.macro, block_id)

    def describe(self, arch: Architecture) -> dict[str, Any]:
        """Once-for-all's words: see `to_ofa`."""
        return self.to_ofa(arch)

    def to_ofa(self, arch: Architecture) -> dict[str, Any]:
        """The once-for-all dictionary of a network: `ks` (20), `e` (20), `d` (5) and `r`."""
        genes = np.array(self.check(arch))
        resolution = genes[0] if self._elastic_resolution else 0
        return {
            "ks": [KERNELS[gene] for gene in genes[self._kernels]],
            "e": [EXPANSIONS[gene] for gene in genes[self._expansions]],
            "d": [DEPTHS[gene] for gene in genes[self._depths]],
            "r": self.macro.resolutions[resolution],
        }

    def from_ofa(self, config: Mapping[str, Any]) -> Architecture:
        """Read a once-for-all dictionary.

        Args:
            config: `ks`, `e`, `d`, and `r`: a number, a list of one, or absent (the largest).

        Returns:
            The canonical architecture.

        Raises:
            InvalidArchitectureError: If an entry is missing, too long or short, or not an option.
        """
        options_r = self.macro.resolutions
        resolution = config.get("r", options_r[-1])
        resolutions = resolution if isinstance(resolution, Sequence) else [resolution]
        genes: list[int] = []
        for key, values, options, length in (
            ("r", resolutions, options_r, 1),
            ("d", config.get("d"), DEPTHS, STAGES),
            ("ks", config.get("ks"), KERNELS, SLOTS),
            ("e", config.get("e"), EXPANSIONS, SLOTS),
        ):
            if not isinstance(values, Sequence) or len(values) != length:
                msg = f"once-for-all dictionary: {key!r} must be a list of {length} of {options}"
                raise InvalidArchitectureError(msg)
            for index, value in enumerate(values):
                if value not in options:
                    msg = (
                        f"once-for-all dictionary: {key}[{index}] is {value!r}; allowed: {options}"
                    )
                    raise InvalidArchitectureError(msg)
                genes.append(options.index(value))
        # The resolution was checked; it is a gene only where there is a choice.
        chosen = tuple(genes if self._elastic_resolution else genes[1:])
        return self.canonical_arch(Architecture(self.name, chosen))

    def _present(self, genes: GeneArray) -> GeneArray:
        """(n, 20) 1 where the slot lies within its stage's depth."""
        depth = genes[:, self._depths] + DEPTHS[0]
        inside = np.arange(POSITIONS) < depth[:, :, None]
        return inside.reshape(len(genes), SLOTS).astype(np.int8)


@cache
def _block(macro: Macro, block_id: int) -> Block:
    resolution_index, local = divmod(block_id, _PER_RESOLUTION)
    resolution = macro.resolutions[resolution_index]
    if local == 0:
        return Block("stem", "stem", (3, resolution, resolution), _stem(macro, resolution))
    sizes = [_shrink(resolution, macro.stem_stride)]  # after the stem
    for stride in macro.strides:
        sizes.append(_shrink(sizes[-1], stride))
    if local == _PER_RESOLUTION - 1:
        entry = (WIDTHS[-1], sizes[-1], sizes[-1])
        return Block("head", "head", entry, _head(sizes[-1], macro.classes))
    slot, variant = divmod(local - 1, _VARIANTS)
    stage, position = divmod(slot, POSITIONS)
    kernel, expansion = divmod(variant, len(EXPANSIONS))
    first = position == 0
    in_channels = (STEM_WIDTH, *WIDTHS)[stage] if first else WIDTHS[stage]
    in_size = sizes[stage] if first else sizes[stage + 1]
    label = f"s{stage}.b{position}"
    ops = _bottleneck(
        label, in_channels, in_size, sizes[stage + 1], stage,
        stride=macro.strides[stage] if first else 1,
        kernel=KERNELS[kernel], expansion=EXPANSIONS[expansion],
    )  # fmt: skip
    return Block(label, f"stage{stage}", (in_channels, in_size, in_size), ops)


def _shrink(size: int, stride: int) -> int:
    """Output extent of a convolution with same padding and odd kernel."""
    return (size + stride - 1) // stride


def _stem(macro: Macro, resolution: int) -> tuple[Op, ...]:
    size, width = _shrink(resolution, macro.stem_stride), STEM_WIDTH
    shape = (width, size, size)
    return (
        Conv(
            name="stem.conv", inputs=(INPUT,), shape=shape, in_channels=3, kernel=3,
            stride=macro.stem_stride, activation="hard_swish",
            weight=whole("stem.conv", width, 3, 3, 3),
        ),
        Conv(
            name="stem.depthwise", inputs=("stem.conv",), shape=shape, in_channels=width, kernel=3,
            groups=width, activation="relu", weight=whole("stem.depthwise", width, 1, 3, 3),
        ),
        Conv(
            name="stem.project", inputs=("stem.depthwise",), shape=shape, in_channels=width,
            kernel=1, weight=whole("stem.project", width, width, 1, 1),
        ),
        Add(name="stem.add", inputs=("stem.project", "stem.conv"), shape=shape),
    )  # fmt: skip


def _bottleneck(
    label: str, in_channels: int, in_size: int, out_size: int, stage: int, *,
    stride: int, kernel: int, expansion: int,
) -> tuple[Op, ...]:  # fmt: skip
    """Expand, depthwise, squeeze-and-excite, project, and a residual where shapes allow it.

    A weight is the leading slice of the largest block's; a kernel is its centre.
    """
    out_channels, act = WIDTHS[stage], ACTIVATIONS[stage]
    middle = make_divisible(in_channels * expansion)
    wide, out = (middle, out_size, out_size), (out_channels, out_size, out_size)
    centre = (KERNELS[-1] - kernel) // 2
    ops: list[Op] = [
        Conv(
            name=f"{label}.expand", inputs=(INPUT,), shape=(middle, in_size, in_size),
            in_channels=in_channels, kernel=1, activation=act,
            weight=whole(f"{label}.expand", middle, in_channels, 1, 1),
        ),
        Conv(
            name=f"{label}.depthwise", inputs=(f"{label}.expand",), shape=wide, in_channels=middle,
            kernel=kernel, stride=stride, groups=middle, activation=act,
            weight=WeightSlice(
                f"{label}.depthwise", (0, 0, centre, centre), (middle, 1, kernel, kernel)
            ),
        ),
    ]  # fmt: skip
    if SQUEEZE[stage]:
        ops += _squeeze_excite(label, middle, wide)
    ops.append(
        Conv(
            name=f"{label}.project",
            inputs=(ops[-1].name,),
            shape=out,
            in_channels=middle,
            kernel=1,
            weight=whole(f"{label}.project", out_channels, middle, 1, 1),
        )
    )
    if stride == 1 and in_channels == out_channels:
        ops.append(Add(name=f"{label}.add", inputs=(f"{label}.project", INPUT), shape=out))
    return tuple(ops)


def _squeeze_excite(label: str, middle: int, wide: tuple[int, int, int]) -> list[Op]:
    squeezed = make_divisible(middle // 4)
    return [
        GlobalAveragePool(
            name=f"{label}.se.pool", inputs=(f"{label}.depthwise",), shape=(middle, 1, 1)
        ),
        Conv(
            name=f"{label}.se.reduce", inputs=(f"{label}.se.pool",), shape=(squeezed, 1, 1),
            in_channels=middle, kernel=1, activation="relu", normalised=False, bias=True,
            weight=whole(f"{label}.se.reduce", squeezed, middle, 1, 1),
        ),
        Conv(
            name=f"{label}.se.expand", inputs=(f"{label}.se.reduce",), shape=(middle, 1, 1),
            in_channels=squeezed, kernel=1, activation="hard_sigmoid", normalised=False, bias=True,
            weight=whole(f"{label}.se.expand", middle, squeezed, 1, 1),
        ),
        Scale(
            name=f"{label}.se.scale", inputs=(f"{label}.depthwise", f"{label}.se.expand"),
            shape=wide,
        ),
    ]  # fmt: skip


def _head(size: int, classes: int) -> tuple[Op, ...]:
    return (
        Conv(
            name="head.expand", inputs=(INPUT,), shape=(FINAL_WIDTH, size, size),
            in_channels=WIDTHS[-1], kernel=1, activation="hard_swish",
            weight=whole("head.expand", FINAL_WIDTH, WIDTHS[-1], 1, 1),
        ),
        GlobalAveragePool(name="head.pool", inputs=("head.expand",), shape=(FINAL_WIDTH, 1, 1)),
        Conv(
            name="head.mix", inputs=("head.pool",), shape=(FEATURE_WIDTH, 1, 1),
            in_channels=FINAL_WIDTH, kernel=1, activation="hard_swish", normalised=False,
            weight=whole("head.mix", FEATURE_WIDTH, FINAL_WIDTH, 1, 1),
        ),
        Flatten(name="head.flatten", inputs=("head.mix",), shape=(FEATURE_WIDTH,)),
        Linear(
            name="head.classifier", inputs=("head.flatten",), shape=(classes,),
            in_features=FEATURE_WIDTH, weight=whole("head.classifier", classes, FEATURE_WIDTH),
        ),
    )  # fmt: skip
