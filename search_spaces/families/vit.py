"""Vision transformers with elastic patch, embedding, depth, heads and inner width.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, in the form of DeiT (Touvron
et al., ICML 2021: class token, learned positions, normalisation before each part); elastic in the
manner of Chen et al., "AutoFormer", ICCV 2021, section 3: weights of a small network are leading
slices of the largest one's, heads are 64 wide whatever the embedding. Relative positions, which
AutoFormer adds, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from search_spaces.architecture import Architecture, Choice, GeneArray, IntArray
from search_spaces.graph import INPUT
from search_spaces.ops import (
    Add,
    Attention,
    ClassToken,
    Conv,
    LayerNorm,
    Linear,
    Op,
    PositionEmbedding,
    TakeToken,
    TokenLinear,
    Tokens,
    whole,
)
from search_spaces.space import Block, ChainSpace

HEAD_WIDTH = 64
# Layers that share a group, and so a correction of latency predictors.
_GROUP = 4


@dataclass(frozen=True, slots=True)
class Macro:
    """Options of a space of vision transformers.

    Attributes:
        patches: Height and width of a patch; also the stride.
        embeddings: Features of a token.
        depths: Number of layers, ascending.
        heads: Heads of a layer.
        ratios: Inner width of a layer's perceptron over the embedding.
        resolution: Height and width of the input, a multiple of every patch.
        classes: Number of classes.
    """

    patches: tuple[int, ...]
    embeddings: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    ratios: tuple[float, ...]
    resolution: int = 224
    classes: int = 1000

    @property
    def layers(self) -> int:
        """Layers of the deepest network."""
        return self.depths[-1]

    @property
    def variants(self) -> int:
        """Different layers of one embedding."""
        return len(self.heads) * len(self.ratios)

    @property
    def blocks_per_size(self) -> int:
        """Blocks of one patch and embedding: the entry, every variant of every layer, the head."""
        return 1 + self.layers * self.variants + 1


class VisionTransformer(ChainSpace):
    """Genes: patch, embedding, depth, heads of each layer, inner ratio of each layer.

    Layers beyond the depth are absent; their genes are 0 in the canonical form.
    """

    def __init__(self, name: str, macro: Macro) -> None:
        self.name = name
        self.macro = macro
        layers = macro.layers
        self.choices = (
            Choice("patch", macro.patches),
            Choice("embedding", macro.embeddings),
            Choice("depth", macro.depths),
            *(Choice(f"heads[{layer}]", macro.heads) for layer in range(layers)),
            *(Choice(f"mlp_ratio[{layer}]", macro.ratios) for layer in range(layers)),
        )
        self.block_count = len(macro.patches) * len(macro.embeddings) * macro.blocks_per_size
        self._heads = slice(3, 3 + layers)
        self._ratios = slice(3 + layers, 3 + 2 * layers)

    def canonical(self, genes: GeneArray) -> GeneArray:
        """Heads and ratio of absent layers become 0."""
        present = self._present(genes)
        result = genes.copy()
        result[:, self._heads] *= present
        result[:, self._ratios] *= present
        return result

    def block_ids(self, genes: GeneArray) -> IntArray:
        """(n, layers + 2): entry, layers, head."""
        macro = self.macro
        size = genes[:, 0].astype(np.int64) * len(macro.embeddings) + genes[:, 1]
        base = size * macro.blocks_per_size
        variant = genes[:, self._heads].astype(np.int64) * len(macro.ratios)
        variant += genes[:, self._ratios]
        layers = base[:, None] + 1 + np.arange(macro.layers) * macro.variants + variant
        layers = np.where(self._present(genes), layers, -1)
        return np.column_stack([base, layers, base + macro.blocks_per_size - 1])

    def block(self, block_id: int) -> Block:
        """Entry, one variant of a layer, or head, for one patch and embedding."""
        return _block(self.macro, block_id)

    def describe(self, arch: Architecture) -> dict[str, Any]:
        """Patch, embedding and depth, and heads and ratio of the layers that are there."""
        words = super().describe(arch)
        layers = range(words["depth"])
        return {
            **{name: words[name] for name in ("patch", "embedding", "depth")},
            **{
                name: [words[f"{name}[{layer}]"] for layer in layers]
                for name in ("heads", "mlp_ratio")
            },
        }

    def _present(self, genes: GeneArray) -> GeneArray:
        """(n, layers) 1 where the layer is there."""
        depth = np.array(self.macro.depths)[genes[:, 2]]
        return (np.arange(self.macro.layers) < depth[:, None]).astype(np.int8)


@cache
def _block(macro: Macro, block_id: int) -> Block:
    size, local = divmod(block_id, macro.blocks_per_size)
    patch_index, embedding_index = divmod(size, len(macro.embeddings))
    patch, width = macro.patches[patch_index], macro.embeddings[embedding_index]
    tokens = (macro.resolution // patch) ** 2 + 1
    if local == 0:
        entry = (3, macro.resolution, macro.resolution)
        return Block("entry", "entry", entry, _entry(macro, patch, width))
    if local == macro.blocks_per_size - 1:
        return Block("head", "head", (tokens, width), _head(macro, tokens, width))
    layer, variant = divmod(local - 1, macro.variants)
    heads, ratio = divmod(variant, len(macro.ratios))
    inner = int(width * macro.ratios[ratio])
    ops = _layer(f"layer{layer}", tokens, width, macro.heads[heads], inner)
    first = layer // _GROUP * _GROUP
    group = f"layers{first}-{min(first + _GROUP, macro.layers) - 1}"
    return Block(f"layer{layer}", group, (tokens, width), ops)


def _entry(macro: Macro, patch: int, width: int) -> tuple[Op, ...]:
    """Patches to tokens; sizes of patch have weights of their own, as their shapes differ."""
    side = macro.resolution // patch
    count = side * side
    label = f"entry.p{patch}"
    return (
        Conv(
            name="entry.patches", inputs=(INPUT,), shape=(width, side, side), in_channels=3,
            kernel=patch, stride=patch, padding=0, normalised=False, bias=True,
            weight=whole(f"{label}.patches", width, 3, patch, patch),
        ),
        Tokens(name="entry.tokens", inputs=("entry.patches",), shape=(count, width)),
        ClassToken(
            name="entry.class", inputs=("entry.tokens",), shape=(count + 1, width),
            weight=whole("entry.class", 1, 1, width),
        ),
        PositionEmbedding(
            name="entry.position", inputs=("entry.class",), shape=(count + 1, width),
            weight=whole(f"{label}.position", 1, count + 1, width),
        ),
    )  # fmt: skip


def _layer(label: str, tokens: int, width: int, heads: int, inner: int) -> tuple[Op, ...]:
    attended = heads * HEAD_WIDTH
    shape = (tokens, width)
    queries = [
        TokenLinear(
            name=f"{label}.{part}", inputs=(f"{label}.norm1",), shape=(tokens, attended),
            in_features=width, weight=whole(f"{label}.{part}", attended, width),
        )
        for part in ("query", "key", "value")
    ]  # fmt: skip
    return (
        LayerNorm(
            name=f"{label}.norm1", inputs=(INPUT,), shape=shape,
            weight=whole(f"{label}.norm1", width),
        ),
        *queries,
        Attention(
            name=f"{label}.attention", inputs=tuple(op.name for op in queries),
            shape=(tokens, attended), heads=heads,
        ),
        TokenLinear(
            name=f"{label}.project", inputs=(f"{label}.attention",), shape=shape,
            in_features=attended, weight=whole(f"{label}.project", width, attended),
        ),
        Add(name=f"{label}.add1", inputs=(f"{label}.project", INPUT), shape=shape),
        LayerNorm(
            name=f"{label}.norm2", inputs=(f"{label}.add1",), shape=shape,
            weight=whole(f"{label}.norm2", width),
        ),
        TokenLinear(
            name=f"{label}.widen", inputs=(f"{label}.norm2",), shape=(tokens, inner),
            in_features=width, activation="gelu", weight=whole(f"{label}.widen", inner, width),
        ),
        TokenLinear(
            name=f"{label}.narrow", inputs=(f"{label}.widen",), shape=shape, in_features=inner,
            weight=whole(f"{label}.narrow", width, inner),
        ),
        Add(name=f"{label}.add2", inputs=(f"{label}.narrow", f"{label}.add1"), shape=shape),
    )  # fmt: skip


def _head(macro: Macro, tokens: int, width: int) -> tuple[Op, ...]:
    return (
        LayerNorm(
            name="head.norm", inputs=(INPUT,), shape=(tokens, width),
            weight=whole("head.norm", width),
        ),
        TakeToken(name="head.take", inputs=("head.norm",), shape=(width,)),
        Linear(
            name="head.classifier", inputs=("head.take",), shape=(macro.classes,),
            in_features=width, weight=whole("head.classifier", macro.classes, width),
        ),
    )  # fmt: skip
