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
    found = quiet_time([measured([1.0, 2.0, 3.0, 4.0, 5.0])])

    assert found.time_ms == 4.0
    assert found.runs == 5
    assert found.pressure_percent == 1.0


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


def test_more_occasions_are_more_certain() -> None:
    rng = np.random.default_rng(0)
    occasions = [measured(float(5.0 * np.exp(0.01 * rng.standard_normal())), f"occasion {i}")
                 for i in range(16)]  # fmt: skip

    errors = [quiet_time(occasions[:n], enough=10**6).relative_se for n in (1, 4, 16)]

    assert errors[0] > errors[1] > errors[2] > 0.0


def test_more_runs_on_one_occasion_are_not_more_certain() -> None:
    """All runs of a process share its state; only occasions are independent."""
    few, many = quiet_time([measured(5.0)]), quiet_time([measured(5.0)] * 9)

    assert many.relative_se == pytest.approx(few.relative_se)


def test_occasions_that_disagree_are_less_certain() -> None:
    agree = quiet_time([measured(5.0, str(i)) for i in range(4)])
    differ = quiet_time([measured(5.0 + 0.5 * i, str(i)) for i in range(4)])

    assert differ.relative_se > 2.0 * agree.relative_se


def test_without_a_measurement_there_is_no_quiet_time() -> None:
    with pytest.raises(ValueError, match="at least one"):
        quiet_time([])
