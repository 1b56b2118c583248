"""What every executor promises; another file in `nas/executors` is under contract by existing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.evaluator import EXECUTORS, MOST_DEATHS, Executor, dead_worker
from nas.trial import Estimate, Failure
from search_spaces.errors import NasError, UnknownNameError
from tests.nas.executors.looks import Deadly, Look, Surroundings

KEYS = tuple(f"toy:{number}" for number in range(6))
SLOW = {"ray": [pytest.mark.slow, pytest.mark.ray], "processes": [pytest.mark.slow]}
NAMES = [pytest.param(name, marks=SLOW.get(name, [])) for name in EXECUTORS.names()]
APART = [name for name in NAMES if name.values[0] != "serial"]


def make(name: str, request: pytest.FixtureRequest) -> Executor:
    if name == "ray":
        request.getfixturevalue("ray_session")
    return EXECUTORS.get(name)(workers=2)


@pytest.fixture(scope="module", params=NAMES)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made = make(request.param, request)
    yield made
    made.close()


@pytest.fixture(scope="module", params=APART)
def apart(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Those that evaluate in other processes."""
    made = make(request.param, request)
    yield made
    made.close()


def test_files_with_an_underscore_are_named_without() -> None:
    assert EXECUTORS.names() == ["processes", "ray", "serial"]


def test_an_unknown_executor_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown executor 'rays'; did you mean ray"):
        EXECUTORS.get("rays")


def test_outcomes_are_those_of_a_plain_loop(executor: Executor) -> None:
    subjects = [*KEYS, "bad:0"]
    expected = {slot: Look().evaluate_one(key) for slot, key in enumerate(subjects)}

    found = dict(executor.run(Look(), subjects, range(len(subjects))))

    assert found == expected
    assert found[len(KEYS)] == Failure("bad:0 is no network")


def test_only_the_slots_asked_for_are_evaluated_each_once(executor: Executor) -> None:
    found = list(executor.run(Look(), KEYS, [4, 1]))

    assert sorted(slot for slot, _ in found) == [1, 4]


def test_no_slots_have_no_outcomes(executor: Executor) -> None:
    assert list(executor.run(Look(), KEYS, [])) == []


def test_another_evaluator_is_not_mistaken_for_the_one_before(executor: Executor) -> None:
    first, second = (dict(executor.run(Look(offset), KEYS, [0])) for offset in (0.0, 1000.0))

    assert isinstance(first[0], Estimate)
    assert isinstance(second[0], Estimate)
    assert second[0].value == pytest.approx(first[0].value + 1000.0)


def test_what_no_network_is_to_blame_for_ends_the_batch_in_its_own_words(
    executor: Executor,
) -> None:
    with pytest.raises(NasError, match=r"^the images are gone; fetch them again$"):
        list(executor.run(Look(), ["toy:0", "error:0"], [0, 1]))

    assert len(list(executor.run(Look(), KEYS, [0, 1]))) == 2


def test_a_bug_is_no_outcome_and_says_where_it_is(executor: Executor) -> None:
    with pytest.raises(Exception, match=r"bug:7") as caught:
        list(executor.run(Look(), ["bug:7"], [0]))

    assert not isinstance(caught.value, NasError)


def test_leaving_early_spoils_nothing_for_later(executor: Executor) -> None:
    outcomes = executor.run(Look(), KEYS, range(len(KEYS)))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]  # every executor's is a generator

    found = dict(executor.run(Look(), KEYS, [5, 3]))

    assert found == {slot: Look().evaluate_one(KEYS[slot]) for slot in (5, 3)}


def test_the_parent_evaluates_nothing_and_workers_use_one_thread(apart: Executor) -> None:
    outcomes = dict(apart.run(Surroundings(), KEYS, range(len(KEYS)))).values()

    facts = [outcome.facts for outcome in outcomes if isinstance(outcome, Estimate)]
    assert len(facts) == len(KEYS)
    assert os.getpid() not in {fact["process"] for fact in facts}
    assert {fact["threads"] for fact in facts} == {"1"}


def test_a_worker_that_is_killed_is_replaced_and_its_slot_tried_again(
    apart: Executor, tmp_path: Path
) -> None:
    subjects = ("toy:0", "deadly:1", "toy:2", "toy:3")

    found = dict(apart.run(Deadly(tmp_path, 1), subjects, range(4)))

    assert sorted(found) == [0, 1, 2, 3]
    assert found[1] == Estimate("accuracy", 1.0, 0.0, {"tries": 2})
    assert all(isinstance(outcome, Estimate) for outcome in found.values())


def test_a_slot_that_kills_every_worker_fails_and_its_neighbours_do_not(
    apart: Executor, tmp_path: Path
) -> None:
    subjects = ("toy:0", "deadly:1", "toy:2")

    found = dict(apart.run(Deadly(tmp_path, 99), subjects, range(3)))

    assert found[1] == dead_worker(MOST_DEATHS)
    assert isinstance(found[0], Estimate)
    assert isinstance(found[2], Estimate)
    assert len(list(tmp_path.glob("deadly:1.*"))) == MOST_DEATHS


def test_closing_twice_is_no_error() -> None:
    for name in ("serial", "processes"):
        made = EXECUTORS.get(name)(workers=2)
        made.close()
        made.close()


@pytest.mark.parametrize("workers", [0, -1])
def test_an_executor_without_workers_is_refused(workers: int) -> None:
    with pytest.raises(NasError, match=f"{workers} workers cannot evaluate anything"):
        EXECUTORS.get("processes")(workers=workers)
