from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from devices.benchmark import Plan, paired_rounds
from devices.runtime import Timing


class FakeMachine:
    """A machine whose speed is a function of how many runs it has done."""

    def __init__(self, slowness: Callable[[int], float] = lambda step: 1.0) -> None:
        self.slowness = slowness
        self.step = 0
        self.log: list[str] = []

    def run(self, name: str, work_ms: float) -> Callable[[], Timing]:
        """A network that takes `work_ms` at slowness 1 and twice that elapsed."""

        def run_once() -> Timing:
            clock_ms = work_ms * self.slowness(self.step)
            self.step += 1
            self.log.append(name)
            return Timing(clock_ms, 2.0 * clock_ms)

        return run_once


def noisy(spread: float) -> Callable[[int], float]:
    """Slowness that differs between any two runs."""
    rng = np.random.default_rng(0)
    return lambda step: float(np.exp(spread * rng.standard_normal()))


@pytest.mark.parametrize("ratio", [0.2, 1.0, 3.0])
def test_the_ratio_is_exact_while_the_machine_becomes_twice_as_slow(ratio: float) -> None:
    plan = Plan(warmup=0, min_rounds=30, max_rounds=30)
    machine = FakeMachine(lambda step: 1.0 + step / 60.0)

    (samples,) = paired_rounds([machine.run("x", 5.0 * ratio)], machine.run("ref", 5.0), plan)

    assert samples.before_ms[0] < 0.55 * samples.after_ms[-1]
    assert samples.ratio == pytest.approx(ratio, rel=0.01)


def test_naive_medians_would_have_erred_where_pairs_do_not() -> None:
    """The machine slows down by half at the end of a third of the rounds."""
    plan = Plan(warmup=0, min_rounds=30, max_rounds=30)
    machine = FakeMachine(lambda step: 1.0 + 0.5 * math.sin(step / 7.0))

    (samples,) = paired_rounds([machine.run("x", 10.0)], machine.run("ref", 5.0), plan)

    assert samples.ratio == pytest.approx(2.0, rel=0.01)


def test_without_noise_it_stops_at_the_least_number_of_rounds() -> None:
    machine = FakeMachine()

    (samples,) = paired_rounds(
        [machine.run("x", 2.0)], machine.run("ref", 1.0), Plan(min_rounds=7, max_rounds=50)
    )

    assert len(samples.clock_ms) == 7


def test_with_much_noise_it_stops_at_the_largest_number_of_rounds() -> None:
    machine = FakeMachine(noisy(0.5))

    (samples,) = paired_rounds(
        [machine.run("x", 2.0)], machine.run("ref", 1.0), Plan(min_rounds=7, max_rounds=50)
    )

    assert len(samples.clock_ms) == 50


def test_with_some_noise_it_stops_as_soon_as_the_error_is_small_enough() -> None:
    machine = FakeMachine(noisy(0.05))
    plan = Plan(min_rounds=5, max_rounds=1000, relative_se=0.01)

    (samples,) = paired_rounds([machine.run("x", 2.0)], machine.run("ref", 1.0), plan)

    assert 5 < len(samples.clock_ms) < 1000
    assert samples.ratio_se <= 0.01


def test_the_noisiest_subject_decides_when_to_stop() -> None:
    rng = np.random.default_rng(0)
    machine = FakeMachine()

    def restless() -> Timing:
        clock_ms = float(np.exp(0.5 * rng.standard_normal()))
        return Timing(clock_ms, clock_ms)

    calm, loud = paired_rounds(
        [machine.run("x", 2.0), restless],
        machine.run("ref", 1.0),
        Plan(min_rounds=5, max_rounds=20),
    )

    assert len(calm.clock_ms) == len(loud.clock_ms) == 20


def test_every_model_is_warmed_up_before_the_first_sample() -> None:
    machine = FakeMachine()

    paired_rounds(
        [machine.run("x", 2.0), machine.run("y", 3.0)],
        machine.run("ref", 1.0),
        Plan(warmup=2, min_rounds=3, max_rounds=3),
    )

    assert machine.log[:6] == ["x", "x", "y", "y", "ref", "ref"]
    assert machine.log[6:] == ["ref", *["x", "y", "ref"] * 3]


@pytest.mark.parametrize("rounds", [1, 10])
def test_rounds_share_their_reference_runs(rounds: int) -> None:
    machine = FakeMachine(lambda step: 1.0 + step)

    (samples,) = paired_rounds(
        [machine.run("x", 2.0)],
        machine.run("ref", 1.0),
        Plan(warmup=0, min_rounds=rounds, max_rounds=rounds, relative_se=math.inf),
    )

    assert machine.log.count("ref") == rounds + 1
    assert samples.before_ms[1:] == samples.after_ms[:-1]


def test_subjects_of_a_group_share_references_and_keep_their_own_samples() -> None:
    machine = FakeMachine()
    subjects = [machine.run(name, work) for name, work in (("x", 2.0), ("y", 3.0), ("z", 0.5))]

    found = paired_rounds(subjects, machine.run("ref", 1.0), Plan(min_rounds=4, max_rounds=4))

    assert [samples.ratio for samples in found] == [2.0, 3.0, 0.5]
    assert {samples.before_ms for samples in found} == {(1.0,) * 4}


def test_elapsed_time_is_kept_beside_the_clock() -> None:
    machine = FakeMachine()

    (samples,) = paired_rounds([machine.run("x", 2.0)], machine.run("ref", 1.0), Plan())

    assert set(samples.wall_ms) == {4.0}
    assert set(samples.clock_ms) == {2.0}
