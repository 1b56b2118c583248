from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from search_spaces import SPACES
from search_spaces.architecture import Architecture, Population
from search_spaces.costs import costs
from search_spaces.families.fbnet import BLOCKS, LAYERS, SKIP, FBNet
from search_spaces.ops import ChannelShuffle, Conv
from search_spaces.spaces import fbnet, fbnet_imagenet

# Source: the public model definitions that go with the paper (`ir_k5_s2` there is `k5_e1_g2`).
PUBLISHED = {
    "FBNet-A": (
        "skip k3_e3 k3_e1 skip skip k5_e6 k3_e3 k5_e1 k3_e3 k5_e6 k5_e3 k5_e1_g2 k5_e6 "
        "k3_e6 k5_e1_g2 k5_e3 k3_e1_g2 k5_e6 k5_e6 k5_e3 k5_e6 k5_e6"
    ),
    "FBNet-B": (
        "k3_e1 k3_e6 k5_e1 k3_e1 k3_e1 k5_e6 k5_e3 k3_e6 k5_e6 k5_e6 k5_e1 skip k5_e3 "
        "k5_e6 k3_e1 k5_e1 k5_e3 k5_e6 k5_e1 k5_e6 k5_e6 k3_e6"
    ),
    "FBNet-C": (
        "k3_e1 k3_e6 skip k3_e1 k3_e1 k5_e6 k5_e3 k5_e6 k3_e6 k5_e6 k5_e3 k5_e6 k5_e6 "
        "k5_e6 k5_e6 k5_e6 k5_e3 k5_e6 k5_e6 k5_e6 k5_e6 k3_e6"
    ),
}


def imagenet(head_width: int) -> FBNet:
    macro = dataclasses.replace(fbnet_imagenet.SPACE.macro, head_width=head_width)
    return FBNet("fbnet-imagenet", macro)


def named(words: str, space: str = "fbnet-imagenet") -> Architecture:
    return Architecture(space, tuple(BLOCKS.index(word) for word in words.split()))


@pytest.mark.parametrize(
    ("name", "head_width", "million_macs", "tolerance"),
    # Source: Wu et al. 2019, table 3. FBNet-A's head has 1504 channels.
    [("FBNet-A", 1504, 249, 0.01), ("FBNet-B", 1984, 295, 0.01), ("FBNet-C", 1984, 375, 0.03)],
)
def test_macs_are_the_published_ones(
    name: str, head_width: int, million_macs: float, tolerance: float
) -> None:
    graph = imagenet(head_width).graph(named(PUBLISHED[name]))

    assert graph.macs / 1e6 == pytest.approx(million_macs, rel=tolerance)


@pytest.mark.parametrize(
    ("name", "head_width", "million", "tolerance"),
    [("FBNet-A", 1504, 4.3, 0.01), ("FBNet-B", 1984, 4.5, 0.08), ("FBNet-C", 1984, 5.5, 0.02)],
)
def test_parameters_are_the_published_ones(
    name: str, head_width: int, million: float, tolerance: float
) -> None:
    graph = imagenet(head_width).graph(named(PUBLISHED[name]))

    assert graph.parameters / 1e6 == pytest.approx(million, rel=tolerance)


def test_parameters_of_fbnet_c_are_those_of_an_independent_implementation() -> None:
    """Source: `fbnetc_100` of PyTorch Image Models, 5.57 million."""
    assert fbnet_imagenet.SPACE.graph(named(PUBLISHED["FBNet-C"])).parameters == 5_572_200


def test_a_skip_is_no_block_where_the_shape_stays_and_a_convolution_elsewhere() -> None:
    arch = Architecture("fbnet", (SKIP,) * LAYERS)

    blocks = fbnet.SPACE.blocks_of(arch)

    # Six stages after the first change the number of channels.
    assert [block.label for block in blocks] == [
        "stem", "layer1", "layer5", "layer9", "layer13", "layer17", "layer21", "head",
    ]  # fmt: skip
    for block in blocks[1:-1]:
        (conv,) = block.ops
        assert isinstance(conv, Conv)
        assert (conv.kernel, conv.activation, conv.normalised) == (1, "relu", True)


def test_only_grouped_blocks_shuffle_their_channels() -> None:
    for gene, name in enumerate(BLOCKS):
        graph = fbnet.SPACE.graph(Architecture("fbnet", (gene,) * LAYERS))

        shuffles = [op for op in graph.ops if isinstance(op, ChannelShuffle)]
        assert len(shuffles) == (LAYERS if name.endswith("g2") else 0)


def test_the_form_for_small_images_ends_with_four_by_four_places() -> None:
    graph = fbnet.SPACE.graph(Architecture("fbnet", (0,) * LAYERS))
    shapes = {op.name: op.shape for op in graph.ops}

    assert shapes["stem.conv"] == (16, 32, 32)
    assert shapes["head.conv"] == (1504, 4, 4)
    assert graph.output.shape == (10,)


def test_the_form_for_imagenet_ends_with_seven_by_seven_places() -> None:
    graph = fbnet_imagenet.SPACE.graph(Architecture("fbnet-imagenet", (0,) * LAYERS))

    assert {op.name: op.shape for op in graph.ops}["head.conv"] == (1984, 7, 7)
    assert graph.output.shape == (1000,)


def test_every_block_of_a_layer_has_weights_of_its_own() -> None:
    keys: list[str] = []
    for number in range(fbnet.SPACE.block_count):
        found = {op.weight.key for op in fbnet.SPACE.block(number).ops if hasattr(op, "weight")}
        keys += found

    assert len(keys) == len(set(keys))


def test_measured_networks_are_networks_of_the_space(nas_data: Path) -> None:
    """The more MACs, the slower on a single-threaded embedded processor, in rank."""
    with np.load(nas_data / "latency_fbnet.npz") as table:
        genes, devices = table["arch"].astype(np.int8), [str(name) for name in table["devices"]]
        latency = table["latency_ms"][:, devices.index("raspi4")]
    space = SPACES.get("fbnet")

    space.check_genes(genes)
    macs = costs(Population(space, genes), ("macs",))["macs"]

    first, second = (np.argsort(np.argsort(values)) for values in (macs, latency))
    assert np.corrcoef(first, second)[0, 1] > 0.7
