"""A super-network that trains in milliseconds, and pictures whose class is their colour."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from nas.supernet.data import Cifar10, Images
from search_spaces.architecture import Choice, GeneArray, IntArray
from search_spaces.graph import INPUT
from search_spaces.ops import (
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    Op,
    WeightSlice,
)
from search_spaces.space import Block, ChainSpace

WIDTH = 8


def conv(name: str, kernel: int, size: int, *, stride: int = 1, channels: int = WIDTH) -> Conv:
    """A 3 × 3 kernel is the centre of the 5 × 5 one."""
    start = (5 - kernel) // 2 if kernel > 1 else 0
    return Conv(
        name=name, inputs=(INPUT,), shape=(WIDTH, size, size), in_channels=channels, kernel=kernel,
        stride=stride, activation="relu",
        weight=WeightSlice(name, (0, 0, start, start), (WIDTH, channels, kernel, kernel)),
    )  # fmt: skip


class TinySpace(ChainSpace):
    """Three layers of three blocks: a small kernel, a large one, or a skip.

    The second layer halves the image, so its skip is a 1 × 1 convolution.
    """

    name = "tiny"
    choices = tuple(Choice(f"layer[{layer}]", ("k3", "k5", "skip")) for layer in range(3))
    block_count = 11

    def block_ids(self, genes: GeneArray) -> IntArray:
        """(n, 5): stem, three layers, head."""
        number = 1 + 3 * np.arange(3) + genes.astype(np.int64)
        layers = np.where((genes == 2) & (np.arange(3) != 1), -1, number)
        stem = np.zeros(len(genes), dtype=np.int64)
        return np.column_stack([stem, layers, stem + 10])

    def block(self, block_id: int) -> Block:
        """Stem, a layer's variant, or head."""
        if block_id == 0:
            stem = conv("stem", 3, 8, stride=4, channels=3)
            return Block("stem", "stem", (3, 32, 32), (stem,))
        if block_id == 10:
            return Block("head", "head", (WIDTH, 4, 4), _head())
        layer, variant = divmod(block_id - 1, 3)
        entry, size = (8, 8, 4)[layer], (8, 4, 4)[layer]
        kernel = (3, 5, 1)[variant]
        name = f"layer{layer}.skip" if variant == 2 else f"layer{layer}"
        op = conv(name, kernel, size, stride=entry // size)
        return Block(f"layer{layer}", f"layer{layer}", (WIDTH, entry, entry), (op,))


def _head() -> tuple[Op, ...]:
    return (
        GlobalAveragePool(name="pool", inputs=(INPUT,), shape=(WIDTH, 1, 1)),
        Flatten(name="flat", inputs=("pool",), shape=(WIDTH,)),
        Linear(
            name="classes", inputs=("flat",), shape=(10,), in_features=WIDTH,
            weight=WeightSlice("classes", (0, 0), (10, WIDTH)),
        ),
    )  # fmt: skip


def pictures(count: int, seed: int) -> Images:
    """Noise on a colour that tells the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    colour = np.stack([labels * 25, 225 - labels * 25, (labels % 3) * 100], axis=1)
    pixels = colour[:, :, None, None] + rng.integers(0, 25, (count, 3, 32, 32))
    return Images(pixels.astype(np.uint8), labels.astype(np.int64))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums in one order, and no fight for cores with tests beside this one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny() -> TinySpace:
    return TinySpace()


@pytest.fixture(scope="session")
def colours() -> Cifar10:
    return Cifar10(pictures(96, 0), pictures(40, 1), pictures(40, 2))
