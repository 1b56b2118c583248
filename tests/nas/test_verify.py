from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from devices.measurement import Measurement
from devices.quiet import Quiet
from nas.verify import ALONE, Verdict, expected_margin, judge

if TYPE_CHECKING:
    from tests.conftest import World

QUIET = Quiet(4.0, 0.0, 1000, 1.0)


def occasions(world: World, *ratios: float) -> list[Measurement]:
    return [
        world.measurement("toy:0", ratio, occasion=f"process {number}")
        for number, ratio in enumerate(ratios)
    ]


def verdict(
    world: World, *ratios: float, budget_ms: float = 5.0, risk: float = 0.05, quiet: Quiet = QUIET
) -> Verdict:
    return judge("toy:0", occasions(world, *ratios), quiet, budget_ms, risk)


def test_the_bound_is_the_one_computed_by_hand(world: World) -> None:
    """Prior spread 1 % with the weight of eight; three occasions make ten degrees of freedom."""
    ratios = [1.19, 1.2, 1.22]
    logs = np.log(ratios)
    spread = np.sqrt((8 * 0.01**2 + ((logs - logs.mean()) ** 2).sum()) / 10)
    upper = logs.mean() + stats.t.ppf(0.95, 10) * spread / np.sqrt(3)

    found = verdict(world, *ratios)

    assert found.latency_ms == pytest.approx(4.0 * np.exp(logs.mean()))
    assert found.upper_ms == pytest.approx(4.0 * np.exp(upper), rel=1e-4)
    assert found.occasion_ms == pytest.approx((4.76, 4.8, 4.88))
    assert (found.occasions, found.confidence) == (3, 0.95)


def test_the_doubt_about_the_quiet_time_is_part_of_the_bound(world: World) -> None:
    spread = np.sqrt(8 * 0.01**2 / 10)
    error = np.sqrt(spread**2 / 3 + 0.01**2)

    found = verdict(world, 1.2, 1.2, 1.2, quiet=Quiet(4.0, 0.01, 1000, 1.0))

    assert found.upper_ms == pytest.approx(4.8 * np.exp(stats.t.ppf(0.95, 10) * error), rel=1e-4)


def test_it_holds_exactly_when_the_bound_is_within_the_budget(world: World) -> None:
    bound = verdict(world, 1.2, 1.2, 1.2).upper_ms

    assert verdict(world, 1.2, 1.2, 1.2, budget_ms=bound).holds
    assert not verdict(world, 1.2, 1.2, 1.2, budget_ms=bound * (1 - 1e-9)).holds


def test_a_mean_within_the_budget_is_not_enough(world: World) -> None:
    found = verdict(world, 1.249, 1.249, 1.249, budget_ms=5.0)

    assert found.latency_ms < 5.0 < found.upper_ms
    assert not found.holds


def test_more_occasions_lower_the_bound(world: World) -> None:
    bounds = [verdict(world, *[1.2] * count).upper_ms for count in (2, 3, 5, 10, 30)]

    assert bounds == sorted(bounds, reverse=True)
    assert len(set(bounds)) == len(bounds)


def test_less_risk_and_more_spread_raise_the_bound(world: World) -> None:
    plain = verdict(world, 1.19, 1.2, 1.21)

    assert verdict(world, 1.19, 1.2, 1.21, risk=0.01).upper_ms > plain.upper_ms
    assert verdict(world, 1.1, 1.2, 1.3).upper_ms > plain.upper_ms


@pytest.mark.parametrize("quiet", [QUIET, Quiet(4.0, 0.01, 1000, 1.0)], ids=["sure", "unsure"])
@pytest.mark.parametrize("count", [3, 10])
def test_a_network_below_the_budget_by_the_expected_margin_just_holds(
    world: World, quiet: Quiet, count: int
) -> None:
    # What a network loses by being verified alone is no part of the bound.
    margin = expected_margin(quiet, count, 0.05) - ALONE
    ratio = 5.0 / quiet.time_ms

    def holds(share: float) -> bool:
        ratios = [ratio * float(np.exp(-share * margin))] * count
        return verdict(world, *ratios, quiet=quiet).holds

    assert holds(1.0)
    assert not holds(0.6)


def test_the_wall_time_is_told_beside_it(world: World) -> None:
    """The made-up device takes a fifth longer by the wall clock."""
    assert verdict(world, 1.19, 1.2, 1.21).wall_ms == pytest.approx(1.2 * 1.2 * 4.0)


def test_two_measurements_of_one_occasion_are_refused(world: World) -> None:
    first, second, third = occasions(world, 1.2, 1.2, 1.2)

    with pytest.raises(ValueError, match="a process of its own"):
        judge("toy:0", [first, second, third, first], QUIET, 5.0, 0.05)


def test_the_true_latency_is_below_the_bound_as_often_as_promised(world: World) -> None:
    """Ratios differ between processes by as much as the prior says."""
    rng = np.random.default_rng(0)
    held = [
        verdict(world, *(1.2 * np.exp(0.01 * rng.standard_normal(3)))).upper_ms >= 4.8
        for _ in range(300)
    ]

    assert np.mean(held) == pytest.approx(0.95, abs=0.03)
