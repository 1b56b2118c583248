from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from predictors.models.block_lut import BlockLut
from predictors.predictor import LatencyTable
from predictors.scores import coverage
from search_spaces.costs import gather_sum
from search_spaces.errors import UsageError

if TYPE_CHECKING:
    from tests.conftest import World


def test_without_networks_the_prediction_is_the_sum_of_the_blocks(world: World) -> None:
    networks = world.networks(50)
    sums = gather_sum(world.block_ratio, world.space.block_ids(networks.genes))

    found = world.predictor().predict(networks)

    assert found.median_ms == pytest.approx(world.quiet_ms * sums)
    # Only blocks are known: a third of doubt about the scale, and nothing is called certain.
    assert (found.relative_sd > 0.25).all()


def test_twelve_networks_correct_the_sum_of_blocks(world: World) -> None:
    networks = world.networks(500, seed=1)
    truth = world.latency_ms(networks)
    plain = world.predictor()

    adapted = plain.adapt(world.table(world.networks(12), noise=0.01))

    def worst(model: BlockLut) -> float:
        return float(np.abs(model.predict(networks).median_ms / truth - 1.0).max())

    assert worst(adapted) < 0.02 < 0.05 < worst(plain)


@pytest.mark.parametrize("seed", range(5))
def test_a_90_per_cent_interval_covers_about_90_per_cent(world: World, seed: int) -> None:
    """With noise of 2 %, which is also the prior's."""
    adapted = world.predictor().adapt(world.table(world.networks(30, seed), noise=0.02, seed=seed))
    others = world.networks(200, seed=1000 + seed)
    observed = world.table(others, noise=0.02, seed=2000 + seed)

    assert 0.80 <= coverage(observed.latency_ms, adapted.predict(others)) <= 0.98


def test_more_networks_make_the_prediction_more_certain(world: World) -> None:
    others = world.networks(50, seed=1)

    few, many = (
        world.predictor().adapt(world.table(world.networks(count), noise=0.005)).predict(others)
        for count in (5, 100)
    )

    assert many.dof > few.dof
    assert many.relative_sd.mean() < few.relative_sd.mean()


def test_adapting_again_replaces_what_was_learned_before(world: World) -> None:
    first = world.table(world.networks(20, seed=1), noise=0.05, seed=1)
    second = world.table(world.networks(20, seed=2), noise=0.05, seed=2)
    others = world.networks(10, seed=3)

    once = world.predictor().adapt(second).predict(others)
    twice = world.predictor().adapt(first).adapt(second).predict(others)

    assert (twice.median_ms == once.median_ms).all()
    assert (twice.relative_sd == once.relative_sd).all()


def test_a_measurement_that_says_it_is_noisy_counts_less(world: World) -> None:
    networks = world.networks(12)
    table = world.table(networks)
    off = table.latency_ms * np.where(np.arange(12) == 0, 1.5, 1.0)
    error = np.where(np.arange(12) == 0, 1.0, 0.0)
    truth = world.latency_ms(networks)

    trusted = world.predictor().adapt(replace(table, latency_ms=off))
    distrusted = world.predictor().adapt(replace(table, latency_ms=off, relative_se=error))

    def worst(model: BlockLut) -> float:
        return float(np.abs(model.predict(networks).median_ms / truth - 1.0)[1:].max())

    assert worst(distrusted) < 0.01 < worst(trusted)


def test_another_quiet_time_scales_every_prediction(world: World) -> None:
    networks = world.networks(10)
    model = world.predictor().adapt(world.table(world.networks(12)))

    scaled = model.rescaled(2.0 * model.reference_ms).predict(networks)

    assert scaled.median_ms == pytest.approx(2.0 * model.predict(networks).median_ms)


def test_blocks_that_were_not_measured_are_scaled_from_macs_and_said_to_be(world: World) -> None:
    networks = world.networks(40)
    ids = world.space.block_ids(networks.genes)
    lost = world.space.block_digests[int(ids[0, 1])]
    known = {key: value for key, value in world.ratio_by_digest.items() if key != lost}

    model = BlockLut.from_blocks(world.space, world.target, known, world.quiet_ms)
    model = model.adapt(world.table(world.networks(20, seed=1)))
    found = model.predict(networks)

    contains = np.array(
        [any(world.space.block_digests[b] == lost for b in row if b >= 0) for row in ids]
    )
    assert contains.any()
    assert not contains.all()
    assert (found.extrapolated == contains).all()
    assert found.median_ms == pytest.approx(world.latency_ms(networks), rel=0.1)


def test_a_device_without_a_measured_block_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="no block of mobilenetv3 was measured on world"):
        BlockLut.from_blocks(world.space, world.target, {"another": 1.0}, world.quiet_ms)


def test_the_most_telling_networks_teach_more_than_random_ones(world: World) -> None:
    pool = world.networks(1000)
    plain = world.predictor()
    rows = plain.select(pool, 10, np.random.default_rng(0))

    def doubt(chosen: np.ndarray) -> float:
        table = world.table(type(pool)(pool.space, pool.genes[chosen]))
        return float(plain.adapt(table).predict(pool).relative_sd.max())

    random = [np.random.default_rng(seed).choice(1000, 10, replace=False) for seed in range(5)]
    assert doubt(rows) < min(doubt(chosen) for chosen in random)


def test_the_message_about_another_target_is_one_short_sentence(world: World) -> None:
    """A predictor holds thousands of numbers; none of them belongs into a message."""
    table = world.table(world.networks(2))
    other = LatencyTable(
        table.space, table.genes, "phone", table.latency_ms, table.relative_se, "measured"
    )

    with pytest.raises(UsageError) as caught:
        world.predictor().adapt(other)

    assert "phone" in str(caught.value)
    assert len(str(caught.value)) < 150
