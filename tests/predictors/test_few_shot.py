from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictors.choose import few_shot_pack
from predictors.errors import NotCalibratedError
from predictors.fit_few_shot import held_out_scores, rows_of, split_tables
from predictors.models.few_shot import FewShot
from predictors.predictor import LatencyTable
from search_spaces import SPACES
from search_spaces.architecture import Population
from search_spaces.costs import costs
from search_spaces.errors import InvalidArchitectureError, UsageError
from search_spaces.moves import sample

SPACE = SPACES.get("mobilenetv3")


def device(
    target: str, networks: Population, compute: float, traffic: float, launch: float = 0.1
) -> LatencyTable:
    """A made-up device: MACs, traffic and a constant, each at a price."""
    cost = costs(networks, ("macs", "activation_bytes"))
    latency_ms = launch + compute * cost["macs"] / 1e8 + traffic * cost["activation_bytes"] / 1e7
    none = np.zeros(len(networks))
    return LatencyTable(SPACE.name, networks.genes, target, latency_ms, none, "measured")


def networks(count: int, seed: int) -> Population:
    return sample(SPACE, count, np.random.default_rng(seed))


@lru_cache
def prior() -> FewShot:
    shared = networks(120, 0)
    prices = ((1.0, 0.1), (0.2, 1.0), (0.6, 0.6), (0.1, 0.3))
    return FewShot.fit(
        SPACE, [device(f"source{i}", shared, *price) for i, price in enumerate(prices)]
    )


def new_device(count: int, seed: int) -> LatencyTable:
    return device("new", networks(count, seed), 0.4, 0.3, 0.5)


def test_before_anything_was_measured_milliseconds_are_refused_with_the_command() -> None:
    with pytest.raises(NotCalibratedError, match="nas device calibrate board --space mobilenetv3"):
        prior().on("board:ort-fp32-t1").predict(networks(3, 1))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 30, 70, 300])
def test_any_number_of_samples_from_one_on_makes_a_finite_prediction(count: int) -> None:
    found = prior().adapt(new_device(count, 1)).predict(networks(50, 2))

    assert np.isfinite(found.median_ms).all()
    assert (found.lower_ms < found.upper_ms).all()


def test_ten_samples_foretell_a_device_that_no_source_is_like() -> None:
    pool, tested = networks(300, 3), new_device(300, 4)
    rows = prior().select(pool, 10, np.random.default_rng(0))
    shown = device("new", Population(SPACE, pool.genes[rows]), 0.4, 0.3, 0.5)

    found = prior().adapt(shown).median_ms(Population(SPACE, tested.genes))

    assert np.median(np.abs(found / tested.latency_ms - 1.0)) < 0.02


def test_medians_alone_are_those_of_the_prediction() -> None:
    adapted, others = prior().adapt(new_device(12, 1)), networks(40, 2)

    assert adapted.median_ms(others) == pytest.approx(adapted.predict(others).median_ms, rel=1e-9)


@settings(max_examples=20)
@given(st.permutations(range(8)))
def test_the_order_of_samples_does_not_matter(order: list[int]) -> None:
    table, others = new_device(8, 1), networks(10, 2)

    found = prior().adapt(rows_of(table, np.array(order))).predict(others)

    expected = prior().adapt(table).predict(others)
    assert found.median_ms == pytest.approx(expected.median_ms, rel=1e-7)
    assert found.relative_sd == pytest.approx(expected.relative_sd, rel=1e-4)


@settings(max_examples=20)
@given(st.floats(1e-3, 1e3))
def test_a_device_that_is_so_much_slower_is_predicted_so_much_slower(factor: float) -> None:
    table, others = new_device(8, 1), networks(10, 2)
    slower = replace(table, latency_ms=factor * table.latency_ms)

    found, plain = (prior().adapt(each).predict(others) for each in (slower, table))

    assert found.median_ms == pytest.approx(factor * plain.median_ms, rel=1e-9)
    assert found.relative_sd == pytest.approx(plain.relative_sd, rel=1e-9)


def test_a_sample_that_says_it_is_noisy_counts_less() -> None:
    table, others = new_device(12, 1), new_device(100, 2)
    off = table.latency_ms * np.where(np.arange(12) == 0, 1.6, 1.0)
    error = np.where(np.arange(12) == 0, 1.0, 0.0)

    def error_of(samples: LatencyTable) -> float:
        found = prior().adapt(samples).median_ms(Population(SPACE, others.genes))
        return float(np.median(np.abs(found / others.latency_ms - 1.0)))

    trusted = error_of(replace(table, latency_ms=off))
    assert error_of(replace(table, latency_ms=off, relative_se=error)) < trusted


def test_fitting_twice_gives_the_same_file() -> None:
    shared = networks(40, 0)
    tables = [device(f"s{i}", shared, 1.0 + i, 2.0 - i / 2) for i in range(3)]

    first, second = (FewShot.fit(SPACE, tables, seed=1) for _ in range(2))

    assert (first.prior.alpha == second.prior.alpha).all()
    assert first.prior.noise == second.prior.noise


def test_sources_that_share_too_few_networks_are_left_out_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shared = networks(40, 0)
    tables = [device(f"s{i}", shared, 1.0 + i, 2.0 - i / 2) for i in range(3)]
    stranger = device("stranger", networks(35, 9), 1.0, 1.0)

    fitted = FewShot.fit(SPACE, [*tables, stranger])

    assert fitted.provenance["left_out"] == ["stranger"]
    assert "stranger" in caplog.text


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_sources_are_refused(count: int) -> None:
    tables = [device(f"s{i}", networks(40, 0), 1.0, 1.0) for i in range(count)]

    with pytest.raises(UsageError, match="learns from 3 devices or more"):
        FewShot.fit(SPACE, tables)


def test_a_source_of_another_space_is_refused() -> None:
    table = replace(new_device(40, 0), space="toy")

    with pytest.raises(UsageError, match="a table of toy on new cannot teach"):
        FewShot.fit(SPACE, [table])


def test_nan_is_refused_before_it_can_be_learned() -> None:
    table = new_device(5, 1)
    latency_ms = table.latency_ms.copy()
    latency_ms[2] = np.nan

    with pytest.raises(UsageError, match="positive and finite"):
        replace(table, latency_ms=latency_ms)


def test_genes_outside_the_space_and_empty_tables_are_refused() -> None:
    table = new_device(5, 1)
    wrong = table.genes.copy()
    wrong[3, 0] = 99

    with pytest.raises(InvalidArchitectureError, match="gene 0"):
        prior().adapt(replace(table, genes=wrong))
    with pytest.raises(UsageError, match="without networks"):
        prior().adapt(rows_of(table, np.arange(0)))


# --- Held-out devices of the public tables ------------------------------------------------------

# Spearman at ten samples as the model's first study reported it, less 0.03, and the same for five.
STUDY = {"ND": (0.93, 0.91), "FD": (0.95, 0.93), "F2": (0.91, 0.88), "FA": (0.68, 0.64)}


@lru_cache
def scores(folder: Path, task: str) -> Sequence[dict[str, float | str]]:
    return held_out_scores(*split_tables(folder, task), samples=(5, 10))


def mean(rows: Sequence[dict[str, float | str]], key: str, samples: int) -> float:
    return float(np.mean([float(row[key]) for row in rows if row["samples"] == samples]))


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(STUDY))
def test_held_out_devices_are_ranked_as_well_as_the_study_promises(
    nas_data: Path, task: str
) -> None:
    at_ten, at_five = STUDY[task]

    assert mean(scores(nas_data, task), "spearman", 10) >= at_ten
    assert mean(scores(nas_data, task), "spearman", 5) >= at_five


@pytest.mark.slow
def test_intervals_cover_held_out_devices_and_are_not_needlessly_wide(nas_data: Path) -> None:
    covered = [mean(scores(nas_data, task), "coverage_90", 10) for task in sorted(STUDY)]

    assert min(covered) >= 0.8
    assert 0.85 <= np.mean(covered) <= 0.98


@pytest.mark.slow
def test_adapting_takes_less_than_50_ms_and_10000_networks_less_than_a_second() -> None:
    space, pack = SPACES.get("fbnet"), few_shot_pack("fbnet")
    assert pack is not None
    shown, many, one = (sample(space, n, np.random.default_rng(n)) for n in (10, 10_000, 1))
    latency_ms = np.random.default_rng(0).uniform(9.0, 12.0, 10)
    table = LatencyTable("fbnet", shown.genes, "new", latency_ms, np.zeros(10), "measured")
    pack.adapt(table).predict(one)

    def cpu_s(population: Population) -> float:
        start = process_time()
        pack.adapt(table).predict(population)
        return process_time() - start

    # The best of some, of processor time: machines that run tests are shared.
    assert min(cpu_s(one) for _ in range(9)) < 0.05
    assert min(cpu_s(many) for _ in range(5)) < 1.0
