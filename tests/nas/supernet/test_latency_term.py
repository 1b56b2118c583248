from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.supernet.latency_term import (
    block_latencies,
    block_sums,
    expected_cost,
    network_cost,
    table_shape,
)
from predictors.choose import device_predictor
from predictors.models.block_lut import BlockLut
from predictors.predictor import LatencyTable
from predictors.scores import spearman
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.costs import costs
from search_spaces.errors import UsageError
from search_spaces.moves import sample
from search_spaces.space import ChainSpace


@pytest.fixture(scope="module")
def fbnet() -> ChainSpace:
    space = SPACES.get("fbnet")
    assert isinstance(space, ChainSpace)
    return space


@pytest.fixture(scope="module")
def lut(fbnet: ChainSpace) -> BlockLut:
    """Blocks take as long as they have MACs, and a little for the call."""
    ratio = fbnet.cost_table.macs / 3e7 + 0.01
    return BlockLut.from_blocks(
        fbnet, "world:ort-fp32-t1", dict(zip(fbnet.block_digests, ratio.tolist(), strict=True)), 4.0
    )


def test_sums_over_blocks_are_exact(fbnet: ChainSpace) -> None:
    networks = sample(fbnet, 50, np.random.default_rng(0))

    table = block_sums(fbnet, fbnet.cost_table.macs)

    assert table.shape == (22, 9)
    assert network_cost(table, networks.genes) == pytest.approx(costs(networks, ("macs",))["macs"])


@pytest.mark.parametrize("base", [None, Architecture("fbnet", (8, 3) * 11)])
def test_a_predictor_that_adds_up_blocks_gives_an_exact_table(
    fbnet: ChainSpace, lut: BlockLut, base: Architecture | None
) -> None:
    networks = sample(fbnet, 50, np.random.default_rng(1))

    table = block_latencies(fbnet, lut, base)

    assert network_cost(table, networks.genes) == pytest.approx(lut.median_ms(networks), rel=1e-6)
    direct = block_sums(fbnet, lut.block_ratio * lut.reference_ms)
    assert network_cost(table, networks.genes) == pytest.approx(
        network_cost(direct, networks.genes), rel=1e-6
    )


def test_a_predictor_that_corrects_whole_networks_gives_a_close_table(
    fbnet: ChainSpace, lut: BlockLut
) -> None:
    measured = sample(fbnet, 20, np.random.default_rng(2))
    latency_ms = 1.1 * lut.median_ms(measured) ** 1.05
    table_of = LatencyTable(
        "fbnet", measured.genes, lut.target, latency_ms, np.zeros(20), "measured"
    )
    adapted = lut.adapt(table_of)
    networks = sample(fbnet, 200, np.random.default_rng(3))

    table = block_latencies(fbnet, adapted, measured[0])

    error = network_cost(table, networks.genes) / adapted.median_ms(networks) - 1.0
    assert np.abs(error).mean() < 0.05


def test_the_expectation_is_the_mean_over_drawn_networks(fbnet: ChainSpace, lut: BlockLut) -> None:
    rng = np.random.default_rng(4)
    probabilities = rng.dirichlet(np.ones(9), 22)
    table = block_latencies(fbnet, lut)
    drawn = np.stack([rng.choice(9, 20_000, p=row) for row in probabilities], axis=1)

    mean = network_cost(table, drawn.astype(np.int8)).mean()

    assert expected_cost(table, probabilities) == pytest.approx(mean, rel=0.01)


def test_choices_of_different_sizes_have_no_table() -> None:
    with pytest.raises(UsageError, match="3 to 7 options"):
        table_shape(SPACES.get("mobilenetv3"))


def test_the_table_of_a_real_device_ranks_networks_as_they_were_measured(
    fbnet: ChainSpace, nas_data: Path
) -> None:
    """A Raspberry Pi 4 that the packaged predictor learns from 50 of its own measurements."""
    with np.load(nas_data / "latency_fbnet.npz") as archive:
        column = list(archive["devices"]).index("raspi4")
        latency_ms = archive["latency_ms"][:, column].astype(np.float64)
        genes = fbnet.canonical(archive["arch"].astype(np.int8))
    few = LatencyTable(
        "fbnet", genes[:50], "imported:raspi4", latency_ms[:50], np.zeros(50), "imported"
    )

    table = block_latencies(fbnet, device_predictor(fbnet, "imported:raspi4", {}, few))

    guess_ms = network_cost(table, genes[50:])
    assert spearman(latency_ms[50:], guess_ms) > 0.98
    assert np.median(np.abs(guess_ms / latency_ms[50:] - 1.0)) < 0.06
