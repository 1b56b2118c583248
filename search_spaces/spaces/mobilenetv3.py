"""MobileNetV3 as once-for-all searches it: five stages of up to four inverted bottlenecks.

Source: Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment",
ICLR 2020, section 4 and its public configuration (width multiplier 1.0): kernels 3/5/7, expansion
ratios 3/4/6, depths 2/3/4, and resolutions 128 to 224 in steps of 16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
)
from search_spaces.space import Block, ChainSpace

RESOLUTIONS = (128, 144, 160, 176, 192, 208, 224)
DEPTHS = (2, 3, 4)
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)

STAGES = 5
POSITIONS = 4
SLOTS = STAGES * POSITIONS
STEM_WIDTH = 16
WIDTHS = (24, 40, 80, 112, 160)
STRIDES = (2, 2, 2, 1, 2)
ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu", "hard_swish", "hard_swish", "hard_swish")
SQUEEZE = (False, True, False, True, True)
FINAL_WIDTH, FEATURE_WIDTH, CLASSES = 960, 1280, 1000

_DEPTH_GENES = slice(1, 1 + STAGES)
_KERNEL_GENES = slice(1 + STAGES, 1 + STAGES + SLOTS)
_EXPANSION_GENES = slice(1 + STAGES + SLOTS, 1 + STAGES + 2 * SLOTS)
_VARIANTS = len(KERNELS) * len(EXPANSIONS)
# Blocks of one resolution: the stem, every variant of every slot, the head.
_PER_RESOLUTION = 1 + SLOTS * _VARIANTS + 1


def make_divisible(value: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, never below 90 % of `value`.

    Source: the MobileNet reference code, which once-for-all follows.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class MobileNetV3(ChainSpace):
    """The once-for-all MobileNetV3 space, about 10^20 genotypes.

    Genes: resolution, depth of each stage, kernel of each slot, expansion of each slot. Slots
    beyond their stage's depth are absent; their genes are 0 in the canonical form.
    """

    name = "mobilenetv3"
    block_count = len(RESOLUTIONS) * _PER_RESOLUTION
    choices = (
        Choice("resolution", RESOLUTIONS),
        *(Choice(f"depth[{stage}]", DEPTHS) for stage in range(STAGES)),
        *(Choice(f"kernel[{slot}]", KERNELS) for slot in range(SLOTS)),
        *(Choice(f"expansion[{slot}]", EXPANSIONS) for slot in range(SLOTS)),
    )

    def canonical(self, genes: GeneArray) -> GeneArray:
        """Kernel and expansion of absent slots become 0."""
        present = _present(genes)
        result = genes.copy()
        result[:, _KERNEL_GENES] *= present
        result[:, _EXPANSION_GENES] *= present
        return result

    def block_ids(self, genes: GeneArray) -> IntArray:
        """(n, 22): stem, twenty slots, head."""
        base = genes[:, 0].astype(np.int64) * _PER_RESOLUTION
        variant = genes[:, _KERNEL_GENES].astype(np.int64) * len(EXPANSIONS)
        variant += genes[:, _EXPANSION_GENES]
        slots = base[:, None] + 1 + np.arange(SLOTS) * _VARIANTS + variant
        slots = np.where(_present(genes), slots, -1)
        return np.column_stack([base, slots, base + _PER_RESOLUTION - 1])

    def block(self, block_id: int) -> Block:
        """Stem, bottleneck or head at one resolution."""
        return _block(block_id)

    def describe(self, arch: Architecture) -> dict[str, Any]:
        """Once-for-all's words: see `to_ofa`."""
        return to_ofa(arch)


def _present(genes: GeneArray) -> GeneArray:
    """(n, 20) 1 where the slot lies within its stage's depth."""
    depth = genes[:, _DEPTH_GENES] + DEPTHS[0]
    return (np.arange(POSITIONS) < depth[:, :, None]).reshape(len(genes), SLOTS).astype(np.int8)


@cache
def _block(block_id: int) -> Block:
    resolution_index, local = divmod(block_id, _PER_RESOLUTION)
    resolution = RESOLUTIONS[resolution_index]
    if local == 0:
        return Block("stem", "stem", (3, resolution, resolution), _stem(resolution))
    sizes = [_halve(resolution)]  # after the stem
    for stride in STRIDES:
        sizes.append(_halve(sizes[-1]) if stride == 2 else sizes[-1])
    if local == _PER_RESOLUTION - 1:
        return Block("head", "head", (WIDTHS[-1], sizes[-1], sizes[-1]), _head(sizes[-1]))
    slot, variant = divmod(local - 1, _VARIANTS)
    stage, position = divmod(slot, POSITIONS)
    kernel, expansion = divmod(variant, len(EXPANSIONS))
    first = position == 0
    in_channels = (STEM_WIDTH, *WIDTHS)[stage] if first else WIDTHS[stage]
    in_size = sizes[stage] if first else sizes[stage + 1]
    label = f"s{stage}.b{position}"
    ops = _bottleneck(
        label, in_channels, in_size, sizes[stage + 1], stage,
        stride=STRIDES[stage] if first else 1,
        kernel=KERNELS[kernel], expansion=EXPANSIONS[expansion],
    )  # fmt: skip
    return Block(label, f"stage{stage}", (in_channels, in_size, in_size), ops)


def _halve(size: int) -> int:
    """Output extent of a stride-2 convolution with same padding and odd kernel."""
    return (size + 1) // 2


def _whole(key: str, *shape: int) -> WeightSlice:
    return WeightSlice(key, (0,) * len(shape), shape)


def _stem(resolution: int) -> tuple[Op, ...]:
    size, width = _halve(resolution), STEM_WIDTH
    shape = (width, size, size)
    return (
        Conv(
            name="stem.conv", inputs=(INPUT,), shape=shape, in_channels=3, kernel=3, stride=2,
            activation="hard_swish", weight=_whole("stem.conv", width, 3, 3, 3),
        ),
        Conv(
            name="stem.depthwise", inputs=("stem.conv",), shape=shape, in_channels=width, kernel=3,
            groups=width, activation="relu", weight=_whole("stem.depthwise", width, 1, 3, 3),
        ),
        Conv(
            name="stem.project", inputs=("stem.depthwise",), shape=shape, in_channels=width,
            kernel=1, weight=_whole("stem.project", width, width, 1, 1),
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
            weight=_whole(f"{label}.expand", middle, in_channels, 1, 1),
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
            weight=_whole(f"{label}.project", out_channels, middle, 1, 1),
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
            weight=_whole(f"{label}.se.reduce", squeezed, middle, 1, 1),
        ),
        Conv(
            name=f"{label}.se.expand", inputs=(f"{label}.se.reduce",), shape=(middle, 1, 1),
            in_channels=squeezed, kernel=1, activation="hard_sigmoid", normalised=False, bias=True,
            weight=_whole(f"{label}.se.expand", middle, squeezed, 1, 1),
        ),
        Scale(
            name=f"{label}.se.scale", inputs=(f"{label}.depthwise", f"{label}.se.expand"),
            shape=wide,
        ),
    ]  # fmt: skip


def _head(size: int) -> tuple[Op, ...]:
    return (
        Conv(
            name="head.expand", inputs=(INPUT,), shape=(FINAL_WIDTH, size, size),
            in_channels=WIDTHS[-1], kernel=1, activation="hard_swish",
            weight=_whole("head.expand", FINAL_WIDTH, WIDTHS[-1], 1, 1),
        ),
        GlobalAveragePool(name="head.pool", inputs=("head.expand",), shape=(FINAL_WIDTH, 1, 1)),
        Conv(
            name="head.mix", inputs=("head.pool",), shape=(FEATURE_WIDTH, 1, 1),
            in_channels=FINAL_WIDTH, kernel=1, activation="hard_swish", normalised=False,
            weight=_whole("head.mix", FEATURE_WIDTH, FINAL_WIDTH, 1, 1),
        ),
        Flatten(name="head.flatten", inputs=("head.mix",), shape=(FEATURE_WIDTH,)),
        Linear(
            name="head.classifier", inputs=("head.flatten",), shape=(CLASSES,),
            in_features=FEATURE_WIDTH, weight=_whole("head.classifier", CLASSES, FEATURE_WIDTH),
        ),
    )  # fmt: skip


def to_ofa(arch: Architecture) -> dict[str, Any]:
    """The once-for-all dictionary of a network: `ks` (20), `e` (20), `d` (5) and `r`."""
    genes = np.array(SPACE.check(arch))
    return {
        "ks": [KERNELS[gene] for gene in genes[_KERNEL_GENES]],
        "e": [EXPANSIONS[gene] for gene in genes[_EXPANSION_GENES]],
        "d": [DEPTHS[gene] for gene in genes[_DEPTH_GENES]],
        "r": RESOLUTIONS[genes[0]],
    }


def from_ofa(config: Mapping[str, Any]) -> Architecture:
    """Read a once-for-all dictionary; `r` may be a number, a list of one, or absent (224).

    Returns:
        The canonical architecture.

    Raises:
        InvalidArchitectureError: If an entry is missing, too long or short, or not an option.
    """
    resolution = config.get("r", RESOLUTIONS[-1])
    resolutions = resolution if isinstance(resolution, Sequence) else [resolution]
    genes: list[int] = []
    for key, values, options, length in (
        ("r", resolutions, RESOLUTIONS, 1),
        ("d", config.get("d"), DEPTHS, STAGES),
        ("ks", config.get("ks"), KERNELS, SLOTS),
        ("e", config.get("e"), EXPANSIONS, SLOTS),
    ):
        if not isinstance(values, Sequence) or len(values) != length:
            msg = f"once-for-all dictionary: {key!r} must be a list of {length} of {options}"
            raise InvalidArchitectureError(msg)
        for index, value in enumerate(values):
            if value not in options:
                msg = f"once-for-all dictionary: {key}[{index}] is {value!r}; allowed: {options}"
                raise InvalidArchitectureError(msg)
            genes.append(options.index(value))
    return SPACE.canonical_arch(Architecture(SPACE.name, tuple(genes)))


SPACE = MobileNetV3()
