from __future__ import annotations

import numpy as np
import pytest

from devices.measurement import Measurement, Samples
from devices.quiet import quiet_time


def measured(
    reference_ms: list[float] | float,
    occasion: str = "one",
    pressure: float | None = 1.0,
    runs: int = 101,
) -> Measurement:
    """A measurement with these reference runs; one number means all are equal."""
    times = reference_ms if isinstance(reference_ms, list) else [reference_ms] * runs
    ones = (1.0,) * (len(times) - 1)
    return Measurement(
        "tiny:0", "network", "digest", "box",
        Samples(ones, ones, tuple(times[:-1]), tuple(times[1:])), "reference", occasion,
        {} if pressure is None else {"cpu_pressure_percent": pressure}, "now",
    )  # fmt: skip


def test_the_quiet_time_is_the_upper_quartile_of_all_reference_runs() -> None:
    found = quiet_time([measured([4.0, 4.1, 4.2, 4.3, 4.4])])

    assert found.time_ms == 4.3
    assert found.runs == 5
    assert found.pressure_percent == 1.0


def test_spells_of_unusual_speed_are_left_out() -> None:
    """A neighbour left for a while: half of the runs were a third faster."""
    history = [measured(7.0, "usual"), measured([7.0] * 50 + [5.0] * 51, "spell")]

    found = quiet_time(history)

    assert found.time_ms == 7.0
    assert found.relative_sd < 0.02


def test_the_latest_runs_count_once_there_are_enough() -> None:
    """A machine that became slower is as slow as it is now."""
    history = [measured(5.0, "first"), measured(8.0, "second"), measured(8.0, "third")]

    found = quiet_time(history, enough=200)

    assert found.time_ms == 8.0
    assert found.runs == 202


def test_earlier_quiet_runs_fill_up_what_the_latest_lack() -> None:
    history = [measured(5.0, "first"), measured(8.0, "second", runs=11)]

    assert quiet_time(history, enough=50).time_ms == 5.0


def test_pressed_measurements_are_left_out_if_there_are_enough_quiet_ones() -> None:
    history = [measured(5.0, "quiet", 1.0), measured(9.0, "pressed", 40.0)]

    found = quiet_time(history, enough=100)

    assert found.time_ms == 5.0
    assert found.pressure_percent == 1.0


def test_pressed_measurements_are_left_out_if_any_was_quiet() -> None:
    """As documented: the latest quiet ones, or the least pressed if none was quiet."""
    history = [measured(5.0, "quiet", 1.0), *(measured(9.0, f"p{i}", 40.0) for i in range(5))]

    found = quiet_time(history)

    assert found.time_ms == 5.0
    assert found.pressure_percent == 1.0


def test_the_least_pressed_are_used_and_named_if_nothing_was_quiet() -> None:
    history = [measured(6.0, "least", 10.0), measured(9.0, "most", 60.0)]

    found = quiet_time(history, enough=100)

    assert found.time_ms == 6.0
    assert found.pressure_percent == 10.0


def test_a_kernel_that_does_not_tell_the_pressure_counts_as_quiet() -> None:
    found = quiet_time([measured(5.0, "one", None), measured(5.0, "two", None)])

    assert found.time_ms == 5.0
    assert found.pressure_percent is None


def spells(rng: np.random.Generator, spread: float, count: int) -> list[Measurement]:
    """Spells of three hundred runs, each at a speed of its own."""
    levels = 5.0 * np.exp(spread * rng.standard_normal(count))
    return [measured(float(level), f"spell {i}", runs=300) for i, level in enumerate(levels)]


def test_the_spread_between_spells_is_learned() -> None:
    rng = np.random.default_rng(0)

    found = [quiet_time(spells(rng, sd, 200), enough=10**6).relative_sd for sd in (0.01, 0.03)]

    assert found == pytest.approx([0.01, 0.03], rel=0.2)


def test_few_spells_hardly_change_what_was_expected() -> None:
    one, agreeing = quiet_time([measured(5.0)]), quiet_time([measured(5.0, runs=300)] * 4)

    assert one.relative_sd >= 0.0099
    assert agreeing.relative_sd == pytest.approx(one.relative_sd, rel=0.2)


def test_three_spells_of_four_are_no_slower() -> None:
    history = spells(np.random.default_rng(1), 0.03, 8)

    found = quiet_time(history, enough=10**6)

    assert sum(m.reference_ms[0] <= found.time_ms for m in history) == 6


def test_without_a_measurement_there_is_no_quiet_time() -> None:
    with pytest.raises(ValueError, match="at least one"):
        quiet_time([])
