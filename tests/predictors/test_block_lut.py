from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from predictors.models.block_lut import BlockLut
from predictors.predictor import LatencyTable
from predictors.scores import coverage
from search_spaces.architecture import Population
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
    """Blocks were timed 3 % wrong each, whole networks 1 %."""
    adapted = world.predictor(block_error=0.03, seed=seed).adapt(
        world.table(world.networks(40, seed), noise=0.01, seed=seed)
    )
    others = world.networks(200, seed=1000 + seed)
    observed = world.table(others, noise=0.01, seed=2000 + seed)

    assert 0.80 <= coverage(observed.latency_ms, adapted.predict(others)) <= 0.98


@pytest.mark.parametrize("seed", [0, 1])
def test_what_a_search_finds_takes_as_long_as_predicted_once_some_were_measured(
    world: World, seed: int
) -> None:
    """A search finds the blocks that were timed too short; measuring its finds must mend that."""
    pool = world.networks(3000, seed=5)
    truth, by_accuracy = world.latency_ms(pool), np.argsort(-world.accuracy(pool))
    plain = world.predictor(block_error=0.08, seed=seed)
    chosen = plain.select(pool, 12, np.random.default_rng(0)).tolist()
    late: list[float] = []

    for _ in range(6):
        known = Population(world.space, pool.genes[chosen])
        guess = plain.adapt(world.table(known, noise=0.003, seed=seed)).median_ms(pool)
        found = [row for row in by_accuracy if guess[row] <= 5.0 and row not in chosen][:6]
        late.append(float(np.mean(truth[found] / guess[found]) - 1.0))
        chosen += found

    assert late[0] > 0.02
    assert abs(np.mean(late[3:])) < 0.01


def test_more_networks_make_the_prediction_more_certain(world: World) -> None:
    others = world.networks(50, seed=1)

    few, many = (
        world.predictor().adapt(world.table(world.networks(count), noise=0.005)).predict(others)
        for count in (5, 100)
    )

    assert many.dof > few.dof
    assert many.relative_sd.mean() < few.relative_sd.mean()


def test_a_device_that_fits_the_table_badly_has_wider_intervals(world: World) -> None:
    networks, others = world.networks(30), world.networks(50, seed=1)

    calm, wild = (
        world.predictor().adapt(world.table(networks, noise=noise)).predict(others)
        for noise in (0.005, 0.05)
    )

    assert (wild.relative_sd > 1.5 * calm.relative_sd).all()


def test_of_very_many_networks_the_latest_are_learned_from(world: World) -> None:
    table, others = world.table(world.networks(260), noise=0.01), world.networks(10, seed=1)
    latest = replace(
        table, genes=table.genes[4:], latency_ms=table.latency_ms[4:],
        relative_se=table.relative_se[4:],
    )  # fmt: skip

    found, expected = (world.predictor().adapt(part).predict(others) for part in (table, latest))

    assert len(latest) == 256
    assert (found.median_ms == expected.median_ms).all()
    assert (found.relative_sd == expected.relative_sd).all()


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


def test_each_network_selected_is_the_least_certain_after_those_before_it(world: World) -> None:
    """Found here by learning from those before it; latencies do not matter to certainty."""
    pool, plain = world.networks(100), world.predictor()
    rows = plain.select(pool, 6, np.random.default_rng(0))

    for count in range(1, 6):
        before = Population(pool.space, pool.genes[rows[:count]])
        adapted = plain.adapt(world.table(before))
        doubt = adapted.predict(pool).relative_sd

        assert doubt[rows[count]] == pytest.approx(doubt.max(), rel=1e-6)


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
