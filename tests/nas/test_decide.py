from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nas.decide import ATTEMPTS, SHORT_LIST, Conclusion, Decider, Step
from nas.knowledge import Knowledge
from nas.request import SearchRequest
from nas.strategies import evolution, random_
from nas.trial import Batch, Failure, Outcome, Stage, StoredMeasurement
from search_spaces.architecture import Architecture, Population

if TYPE_CHECKING:
    from tests.conftest import World

# Far more than any run may take.
ENDLESS = 40


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strategies that look at fewer networks than by default; what is decided stays the same."""
    monkeypatch.setattr(random_, "_SAMPLES", 2000)
    monkeypatch.setattr(evolution, "STRATEGY", evolution.Evolution(128, 15))


def decider(world: World, **fields: Any) -> Decider:
    """The decider of a run on a device of which only the blocks are known."""
    request = SearchRequest.build(**({"budget_ms": 5.0, "strategy": "random"} | fields))
    return Decider(request, world.accuracy, world.knowledge())


def never(key: str, stage: Stage) -> bool:
    return False


def play(
    world: World, decide: Decider, *, slower: Callable[[Stage, int], float] = lambda stage, n: 1.0,
    broken: Callable[[str, Stage], bool] = never,
) -> tuple[Conclusion, list[Batch]]:  # fmt: skip
    """Decide, measure on the made-up device with noise, and go on until there is a conclusion.

    Args:
        world: The device.
        decide: Decides; its seed is that of the noise, too.
        slower: Factor on the true latency in a batch of that stage and number.
        broken: Whether a network cannot be measured in a stage.
    """
    rng = np.random.default_rng(decide.request.seed)
    batches: list[Batch] = []
    while len(batches) < ENDLESS:
        number = len(batches)
        step = decide.next(batches)
        if isinstance(step, Conclusion):
            return step, batches
        outcomes: list[Outcome] = []
        for slot, key in enumerate(step.subjects):
            measured = world.measure(
                key, rng, occasion=f"process {number}", slower=slower(step.stage, number)
            )
            stored = StoredMeasurement(100 * number + slot, measured)
            outcomes.append(Failure("it broke") if broken(key, step.stage) else stored)
        batches.append(Batch(number, step.stage, step.subjects, tuple(outcomes)))
    pytest.fail(f"no conclusion after {ENDLESS} batches: {stages(batches)}")


def stages(batches: list[Batch]) -> str:
    """The course of a run, such as `csvvv`."""
    return "".join(batch.stage[0] for batch in batches)


def attempts(batches: list[Batch]) -> int:
    """How many short lists were verified."""
    return len({batch.subjects for batch in batches if batch.stage == "verify"})


# --- The course of a run -----------------------------------------------------------------------


def test_a_run_calibrates_then_searches_then_verifies(world: World) -> None:
    conclusion, batches = play(world, decider(world))

    course = stages(batches)
    assert course == "c" + "s" * (len(course) - 4) + "vvv"
    assert len(batches[0].subjects) == 12
    assert all(1 <= len(batch.subjects) <= 6 for batch in batches[1:-3])
    assert len({batch.subjects for batch in batches[-3:]}) == 1
    assert len(batches[-1].subjects) <= SHORT_LIST
    assert conclusion.winner is not None
    assert conclusion.winner.holds


def test_the_winner_is_the_most_accurate_verdict_that_holds(world: World) -> None:
    conclusion, _ = play(world, decider(world))

    archs = [verdict.key for verdict in conclusion.verdicts]
    accuracy = {key: accuracy_of(world, key) for key in archs}
    assert archs == sorted(archs, key=lambda key: -accuracy[key])
    assert conclusion.winner == next(v for v in conclusion.verdicts if v.holds)


def accuracy_of(world: World, key: str) -> float:
    return float(world.accuracy(world.space.population([Architecture.parse(key)]))[0])


def test_a_device_known_well_enough_is_not_calibrated_again(world: World) -> None:
    rng = np.random.default_rng(9)
    known = world.knowledge(
        [world.measure(arch.key, rng) for arch in world.networks(12, seed=9).architectures()]
    )
    request = SearchRequest.build(budget_ms=5.0, strategy="random")

    step = Decider(request, world.accuracy, known).next([])

    assert isinstance(step, Step)
    assert step.stage == "search"


def test_a_device_known_a_little_is_calibrated_with_what_is_missing(world: World) -> None:
    rng = np.random.default_rng(9)
    names = [arch.key for arch in world.networks(5, seed=9).architectures()]
    known = world.knowledge([world.measure(key, rng) for key in names])
    request = SearchRequest.build(budget_ms=5.0, strategy="random")

    step = Decider(request, world.accuracy, known).next([])

    assert isinstance(step, Step)
    assert (step.stage, len(step.subjects)) == ("calibrate", 7)


def test_as_many_occasions_are_verified_as_were_asked_for(world: World) -> None:
    conclusion, batches = play(world, decider(world, occasions=5))

    assert stages(batches).endswith("svvvvv")
    assert {verdict.occasions for verdict in conclusion.verdicts} == {5}


def test_no_network_is_measured_twice_before_verification(world: World) -> None:
    _, batches = play(world, decider(world))

    subjects = [key for batch in batches if batch.stage != "verify" for key in batch.subjects]
    assert len(set(subjects)) == len(subjects)


def test_only_measured_networks_are_verified(world: World) -> None:
    _, batches = play(world, decider(world))

    measured = {key for batch in batches if batch.stage != "verify" for key in batch.subjects}
    assert set(batches[-1].subjects) <= measured


@pytest.mark.parametrize("most", [1, 5, 8])
def test_the_search_measures_no_more_networks_than_allowed(world: World, most: int) -> None:
    _, batches = play(world, decider(world, max_measurements=most))

    assert sum(len(batch.subjects) for batch in batches if batch.stage == "search") <= most


def test_the_chance_of_a_measured_network_is_even_a_margin_below_the_budget(world: World) -> None:
    """The margin is what verification will need."""
    names = [arch.key for arch in world.networks(40).architectures()]
    ratios = np.linspace(1.15, 1.30, 40)
    known = world.knowledge(
        [world.measurement(key, ratio) for key, ratio in zip(names, ratios, strict=True)]
    )
    request = SearchRequest.build(budget_ms=5.0, strategy="random")

    problem = Decider(request, world.accuracy, known).problem([], known)

    promised = problem.told.latency_ms < 5.0 * (1.0 - problem.margin)
    assert problem.margin > 0.005
    assert ((problem.told.chance > 0.5) == promised).all()
    assert (np.diff(problem.told.chance) <= 0).all()


# --- The same outcomes, the same decisions -----------------------------------------------------


@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_the_same_outcomes_lead_to_the_same_steps(world: World, strategy: str) -> None:
    """A run is replayed, and goes on after a kill, by deciding again what was decided."""
    conclusion, batches = play(world, decider(world, strategy=strategy))
    again = decider(world, strategy=strategy)

    for batch in reversed(batches):
        assert again.next(batches[: batch.number]) == Step(batch.stage, batch.subjects)
    assert again.next(batches) == conclusion


def test_another_seed_makes_another_run(world: World) -> None:
    first, second = (decider(world, seed=seed).next([]) for seed in (0, 1))

    assert first != second


# --- What goes wrong ---------------------------------------------------------------------------


def every(share: int) -> Callable[[str, Stage], bool]:
    """A network in so many breaks, always the same ones."""
    return lambda key, stage: sum(map(ord, key)) % share == 0


@pytest.mark.parametrize(
    "broken",
    [every(3), lambda key, stage: stage == "calibrate", lambda key, stage: stage == "search"],
    ids=["a third", "calibration", "search"],
)
def test_failures_never_stop_a_run_and_are_not_proposed_again(
    world: World, broken: Callable[[str, Stage], bool]
) -> None:
    conclusion, batches = play(world, decider(world), broken=broken)

    count = Counter(key for b in batches if b.stage != "verify" for key in b.subjects)
    failed = {
        key
        for batch in batches
        for key, outcome in zip(batch.subjects, batch.outcomes, strict=True)
        if isinstance(outcome, Failure)
    }
    assert failed
    assert all(count[key] == 1 for key in failed)
    assert not failed & set(batches[-1].subjects)
    assert conclusion.winner is not None


def test_a_device_on_which_nothing_runs_ends_without_a_verdict(world: World) -> None:
    conclusion, batches = play(world, decider(world), broken=lambda key, stage: True)

    assert conclusion == Conclusion((), None)
    assert "v" not in stages(batches)


def test_one_failed_occasion_claims_nothing_but_costs_no_winner(world: World) -> None:
    """The best network breaks once while it is verified; it or another one wins."""
    best: list[str] = []

    def breaks_once(key: str, stage: Stage) -> bool:
        if stage == "verify" and not best:
            best.append(key)
            return True
        return False

    conclusion, batches = play(world, decider(world), broken=breaks_once)

    assert conclusion.winner is not None
    assert conclusion.winner.occasions >= 3
    assert attempts(batches) <= ATTEMPTS


def test_an_impossible_budget_ends_without_a_verdict(world: World) -> None:
    conclusion, batches = play(world, decider(world, budget_ms=0.5))

    assert conclusion == Conclusion((), None)
    assert stages(batches) == "c"


def test_a_failed_verification_leads_to_another_attempt(world: World) -> None:
    """The device is a tenth slower while the first short list is verified."""
    first: list[int] = []

    def slow_at_first(stage: Stage, number: int) -> float:
        if stage == "verify" and (not first or number - first[0] < 3):
            first.append(number)
            return 1.1
        return 1.0

    conclusion, batches = play(world, decider(world), slower=slow_at_first)

    assert attempts(batches) == 2
    assert conclusion.winner is not None
    assert any(not verdict.holds for verdict in conclusion.verdicts)


def test_verification_that_never_succeeds_ends_after_the_allowed_attempts(world: World) -> None:
    conclusion, batches = play(
        world, decider(world), slower=lambda stage, n: 3.0 if stage == "verify" else 1.0
    )

    assert 2 <= attempts(batches) <= ATTEMPTS
    assert conclusion.winner is None
    assert conclusion.verdicts
    assert len({verdict.key for verdict in conclusion.verdicts}) == len(conclusion.verdicts)


def flattered(world: World, count: int) -> tuple[Knowledge, list[str]]:
    """Networks that earlier occasions, many of them, measured well within 5 ms."""
    names = [arch.key for arch in world.networks(count, seed=5).architectures()]
    measured = [
        world.measurement(key, 1.2, occasion=f"earlier {occasion}")
        for key in names
        for occasion in range(20)
    ]
    return world.knowledge(measured), names


def verified_in_vain(
    world: World, known: Knowledge, *, broken: bool = False
) -> tuple[Conclusion, list[Batch]]:
    """Whatever is measured from now on takes 5.2 ms, or breaks; nothing new is worth measuring."""
    request = SearchRequest.build(budget_ms=5.0, strategy="random")
    decide, batches = Decider(request, world.accuracy, known), list[Batch]()
    while isinstance(step := decide.next(batches), Step) and len(batches) < ENDLESS:
        outcomes: list[Outcome] = [
            StoredMeasurement(slot, world.measurement(key, 1.3, occasion=f"now {len(batches)}"))
            for slot, key in enumerate(step.subjects)
        ]
        if broken:
            outcomes = [Failure("it broke") for _ in step.subjects]
        batches.append(Batch(len(batches), step.stage, step.subjects, tuple(outcomes)))
    assert isinstance(step, Conclusion), stages(batches)
    return step, batches


def test_what_failed_verification_is_not_verified_again(world: World) -> None:
    """Even where earlier occasions, taken together with it, still promise that it holds."""
    known, names = flattered(world, 12)

    conclusion, batches = verified_in_vain(world, known)

    count = Counter(key for batch in batches if batch.stage == "verify" for key in batch.subjects)
    assert set(count) <= set(names)
    assert set(count.values()) == {3}
    assert conclusion.winner is None


def test_networks_that_break_while_they_are_verified_are_not_tried_for_ever(world: World) -> None:
    """Each occasion takes a minute; what cannot be measured will not be."""
    known, _ = flattered(world, 12)

    conclusion, batches = verified_in_vain(world, known, broken=True)

    count = Counter(key for batch in batches if batch.stage == "verify" for key in batch.subjects)
    assert conclusion == Conclusion((), None)
    assert set(count.values()) == {3}
    assert attempts(batches) <= ATTEMPTS


def test_no_more_short_lists_are_verified_than_allowed(world: World) -> None:
    """Twelve networks promise to hold; four short lists at least would be there to try."""
    known, _ = flattered(world, 12)

    conclusion, batches = verified_in_vain(world, known)

    assert attempts(batches) == ATTEMPTS
    assert ATTEMPTS <= len(conclusion.verdicts) <= ATTEMPTS * SHORT_LIST
    assert conclusion.winner is None


def test_what_could_not_be_measured_is_avoided(world: World) -> None:
    decide = decider(world)
    _, batches = play(world, decide, broken=lambda key, stage: stage == "search")
    failed = {key for batch in batches if batch.stage == "search" for key in batch.subjects}

    problem = decide.problem(batches, decide.knowledge(batches))

    avoided = {arch.key for arch in Population(world.space, problem.avoid).architectures()}
    assert failed
    assert failed <= avoided


def test_each_failed_verification_earns_one_more_batch(world: World) -> None:
    """Two networks may be measured, and two are; then verification fails, and two more may be."""
    decide = decider(world, max_measurements=2, batch=2)

    _, batches = play(world, decide, slower=lambda stage, n: 1.5 if stage == "verify" else 1.0)

    searched = [len(batch.subjects) for batch in batches if batch.stage == "search"]
    failed = attempts(batches) - 1
    assert searched[0] == 2
    assert failed >= 1
    assert 2 < sum(searched) <= 2 + 2 * failed


# --- The promise -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "least"), [("random", 0.94), ("evolution", 0.95)])
def test_verified_winners_hold_and_use_the_budget(
    world: World, strategy: str, least: float
) -> None:
    """Twenty seeds by three budgets; verification's margin on a moving machine is 3 % of them."""
    used: list[float] = []

    for seed in range(20):
        for budget_ms in (3.0, 5.0, 8.0):
            decide = decider(world, budget_ms=budget_ms, seed=seed, strategy=strategy)
            conclusion, _ = play(world, decide)
            assert conclusion.winner is not None, (seed, budget_ms)
            used.append(world.true_ms(conclusion.winner.key) / budget_ms)

    assert np.mean(np.array(used) <= 1.0) >= 0.95
    assert np.mean(used) >= least
