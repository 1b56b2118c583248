from __future__ import annotations

import numpy as np
import pytest

from search_spaces.architecture import Architecture
from search_spaces.families.vit import Macro, VisionTransformer
from search_spaces.ops import Attention, Op, WeightSlice
from search_spaces.spaces.vit import SPACE

LAYERS = SPACE.macro.layers
LARGEST = Architecture(SPACE.name, tuple((SPACE.option_counts - 1).tolist()))


def arch(
    patch: int = 16, embedding: int = 192, depth: int = 12, heads: int = 3, ratio: float = 4.0
) -> Architecture:
    macro = SPACE.macro
    genes = (
        macro.patches.index(patch), macro.embeddings.index(embedding), macro.depths.index(depth),
        *[macro.heads.index(heads)] * LAYERS, *[macro.ratios.index(ratio)] * LAYERS,
    )  # fmt: skip
    return SPACE.canonical_arch(Architecture(SPACE.name, genes))


def test_deit_tiny_is_a_network_of_the_space() -> None:
    """Source: Touvron et al. 2021, table 1, and PyTorch Image Models: 5,717,416, 1.26 GMACs."""
    graph = SPACE.graph(arch())

    assert graph.parameters == 5_717_416
    assert graph.macs == pytest.approx(1.26e9, rel=0.01)


def test_deit_small_is_a_network_of_the_family() -> None:
    """Source: as above: 22,050,664, 4.6 GMACs."""
    macro = Macro((16,), embeddings=(384,), depths=(12,), heads=(6,), ratios=(4.0,))
    space = VisionTransformer("deit-small", macro)

    graph = space.graph(Architecture("deit-small", (0,) * len(space.choices)))

    assert graph.parameters == 22_050_664
    assert graph.macs == pytest.approx(4.6e9, rel=0.01)


def test_vit_base_is_a_network_of_the_family() -> None:
    """Source: Dosovitskiy et al. 2021, table 1; PyTorch Image Models: 86,567,656 and 88,224,232."""
    macro = Macro((16, 32), embeddings=(768,), depths=(12,), heads=(12,), ratios=(4.0,))
    space = VisionTransformer("vit-base", macro)
    genes = [0] * (len(space.choices) - 1)

    found = [space.graph(Architecture("vit-base", (patch, *genes))).parameters for patch in (0, 1)]

    assert found == [86_567_656, 88_224_232]


def test_the_embedding_and_the_heads_of_a_layer_are_free_of_each_other() -> None:
    graph = SPACE.graph(arch(embedding=216, heads=4))

    attention = [op for op in graph.ops if isinstance(op, Attention)]
    assert len(attention) == 12
    assert {(op.shape, op.head_width) for op in attention} == {((197, 256), 64)}


def test_large_patches_make_fewer_tokens() -> None:
    shapes = {op.name: op.shape for op in SPACE.graph(arch(patch=32, embedding=240)).ops}

    assert shapes["entry.patches"] == (240, 7, 7)
    assert shapes["entry.position"] == (50, 240)


def test_genes_of_absent_layers_are_zero_in_the_canonical_form() -> None:
    full = Architecture(SPACE.name, (0, 0, 0, *[1] * 2 * LAYERS))

    genes = SPACE.canonical_arch(full).genes

    assert genes == (0, 0, 0, *[1] * 12, 0, 0, *[1] * 12, 0, 0)


def test_a_network_is_described_by_the_layers_it_has() -> None:
    words = SPACE.describe(arch(depth=13, ratio=3.5))

    assert (words["patch"], words["embedding"], words["depth"]) == (16, 192, 13)
    assert words["heads"] == [3] * 13
    assert words["mlp_ratio"] == [3.5] * 13


def weighted(op: Op) -> list[WeightSlice]:
    part = getattr(op, "weight", None)
    return [part] if part else []


@pytest.mark.parametrize("patch", [16, 32])
def test_every_weight_is_the_leading_part_of_the_largest_networks(patch: int) -> None:
    index = SPACE.macro.patches.index(patch)
    largest = Architecture(SPACE.name, (index, *LARGEST.genes[1:]))
    extent = {part.key: part.shape for op in SPACE.graph(largest).ops for part in weighted(op)}
    rng = np.random.default_rng(0)
    for _ in range(5):
        genes = rng.integers(0, SPACE.option_counts)
        genes[0] = index
        for op in SPACE.graph(Architecture(SPACE.name, tuple(genes.tolist()))).ops:
            for part in weighted(op):
                assert set(part.start) == {0}
                assert all(a <= b for a, b in zip(part.shape, extent[part.key], strict=True))


def test_only_patches_and_positions_differ_between_sizes_of_patch() -> None:
    keys = [
        {part.key for op in SPACE.graph(arch(patch=patch)).ops for part in weighted(op)}
        for patch in SPACE.macro.patches
    ]

    assert keys[0] ^ keys[1] == {
        "entry.p16.patches", "entry.p16.position", "entry.p32.patches", "entry.p32.position",
    }  # fmt: skip
