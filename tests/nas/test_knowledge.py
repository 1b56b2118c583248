from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from devices.measurement import Measurement
from nas.knowledge import BETWEEN_SD, Knowledge
from predictors.models.block_lut import BlockLut

if TYPE_CHECKING:
    from tests.conftest import World


def keys(world: World, count: int) -> list[str]:
    return [arch.key for arch in world.networks(count).architectures()]


def repeated(world: World, ratios: list[float], **changes: float) -> list[Measurement]:
    """One network measured in several processes."""
    rng = np.random.default_rng(0)
    (key,) = keys(world, 1)
    return [
        world.measurement(key, ratio, rng, occasion=f"process {number}", **changes)  # type: ignore[arg-type]  # numbers only
        for number, ratio in enumerate(ratios)
    ]


def test_before_any_network_was_measured_nothing_is_known(world: World) -> None:
    known = world.knowledge()

    assert known.quiet_ms == 1.0
    assert known.latency_ms.shape == (0,)
    assert known.upper_ms(0.05).shape == (0,)
    assert known.genes.shape == (0, len(world.space.choices))
    assert len(known.predictor.predict(world.networks(3))) == 3


def test_one_measurement_is_the_latency(world: World) -> None:
    known = world.knowledge(repeated(world, [1.3]))

    assert known.latency_ms == pytest.approx([1.3 * world.quiet_ms])


def test_repeats_of_equal_precision_are_averaged(world: World) -> None:
    known = world.knowledge(repeated(world, [1.2, 1.3]))

    assert known.latency_ms == pytest.approx([np.sqrt(1.2 * 1.3) * world.quiet_ms])


def test_the_noisier_of_two_repeats_counts_less(world: World) -> None:
    (calm,) = repeated(world, [1.2], noise=0.001)
    (noisy,) = repeated(world, [1.25], noise=0.2)

    known = world.knowledge([calm, noisy])

    logs = np.log([calm.samples.ratio, noisy.samples.ratio])
    errors = np.array([calm.samples.ratio_se, noisy.samples.ratio_se])
    weights = 1.0 / (errors**2 + known.between_sd**2)
    expected = np.exp((weights * logs).sum() / weights.sum()) * known.quiet_ms
    assert known.latency_ms == pytest.approx([expected])
    assert weights[0] > 3 * weights[1]


def test_networks_come_in_the_order_they_were_first_measured(world: World) -> None:
    first, second = keys(world, 2)
    measured = [world.measurement(key, 1.0) for key in (second, first, second)]

    known = world.knowledge(measured)

    assert list(known.by_network) == [second, first]
    assert [len(repeats) for repeats in known.by_network.values()] == [2, 1]
    assert [world.space.name + ":" + "".join(map(str, row)) for row in known.genes.tolist()] == [
        second, first,
    ]  # fmt: skip


def test_without_repeats_the_spread_between_occasions_is_the_prior(world: World) -> None:
    known = world.knowledge([world.measurement(key, 1.0) for key in keys(world, 5)])

    assert known.between_sd == pytest.approx(BETWEEN_SD)


def test_the_spread_between_occasions_is_learned_from_repeats(world: World) -> None:
    """Prior variance with the weight of eight, and the squares of three repeats."""
    ratios = [1.16, 1.2, 1.25]
    logs = np.log(ratios)
    squares = 8 * BETWEEN_SD**2 + ((logs - logs.mean()) ** 2).sum()

    known = world.knowledge(repeated(world, ratios))

    assert known.between_sd == pytest.approx(np.sqrt(squares / 10))


def test_the_noise_of_samples_is_not_taken_for_a_spread_between_occasions(world: World) -> None:
    rng = np.random.default_rng(0)
    (key,) = keys(world, 1)
    noisy = [world.measurement(key, 1.2, rng, noise=0.05, occasion=str(n)) for n in range(20)]

    assert world.knowledge(noisy).between_sd < 1.3 * BETWEEN_SD


def test_the_upper_bound_is_the_normal_quantile_of_the_combined_error(world: World) -> None:
    known = world.knowledge(repeated(world, [1.2, 1.2]))
    error = known.between_sd / np.sqrt(2)

    expected = 1.2 * world.quiet_ms * np.exp(stats.norm.ppf(0.95) * error)

    assert known.upper_ms(0.05) == pytest.approx([expected])
    assert known.upper_ms(0.5) == pytest.approx(known.latency_ms)


def test_the_quiet_time_is_read_from_the_latest_runs(world: World) -> None:
    """The machine was upgraded: what ran before no longer counts once enough runs are newer."""
    names = keys(world, 60)
    old = [world.measurement(key, 1.0, quiet_ms=8.0, occasion="old") for key in names[:30]]
    new = [world.measurement(key, 1.0, quiet_ms=4.0, occasion="new") for key in names[30:]]
    many = [*new, *(world.measurement(key, 1.0, quiet_ms=4.0) for key in names[:30])]

    assert world.knowledge(old).quiet_ms == pytest.approx(8.0)
    assert world.knowledge([*old, *many * 5]).quiet_ms == pytest.approx(4.0)


def test_runs_under_pressure_count_only_where_there_are_no_others(world: World) -> None:
    busy = world.measurement("a", 1.0, quiet_ms=6.0, pressure_percent=40.0, count=1000)
    calm = world.measurement("a", 1.0, quiet_ms=4.0, pressure_percent=2.0, count=1000)

    assert world.knowledge([calm, busy]).quiet_ms == pytest.approx(4.0)
    assert world.knowledge([busy]).quiet_ms == pytest.approx(6.0)
    assert world.knowledge([busy]).quiet.pressure_percent == 40.0


def test_a_change_of_the_quiet_time_rescales_every_latency(world: World) -> None:
    names = keys(world, 2)
    slow = [world.measurement(key, 1.5, quiet_ms=8.0) for key in names]
    fast = [world.measurement(key, 1.5, quiet_ms=4.0) for key in names]

    assert world.knowledge(slow).latency_ms == pytest.approx(2.0 * world.knowledge(fast).latency_ms)


def test_the_predictor_has_learned_from_the_measured_networks(world: World) -> None:
    rng = np.random.default_rng(0)
    known = world.knowledge([world.measure(key, rng) for key in keys(world, 20)])
    others = world.networks(50, seed=9)

    found = known.predictor.predict(others)

    assert found.median_ms == pytest.approx(world.latency_ms(others), rel=0.03)
    assert isinstance(known.predictor, BlockLut)
    assert known.predictor.reference_ms == known.quiet_ms


def test_the_same_measurements_make_the_same_knowledge(world: World) -> None:
    rng = np.random.default_rng(0)
    measured = [world.measure(key, rng) for key in keys(world, 10)]
    others = world.networks(5, seed=9)

    def predicted(known: Knowledge) -> list[float]:
        return [float(value) for value in known.predictor.predict(others).median_ms]

    assert predicted(world.knowledge(measured)) == predicted(world.knowledge(list(measured)))
