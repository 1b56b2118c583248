from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from devices.catalog import DEVICES
from predictors.errors import NotCalibratedError
from predictors.models.analytic import Analytic
from predictors.predictor import LatencyTable
from predictors.public_tables import public_tables
from predictors.roofline import Machine
from predictors.scores import coverage, spearman
from search_spaces import SPACES
from search_spaces.architecture import Population
from search_spaces.moves import sample

if TYPE_CHECKING:
    from tests.conftest import World

MOBILENET = SPACES.get("mobilenetv3")


def zero_shot(device: str, target: str) -> np.ndarray:
    networks = sample(MOBILENET, 20, np.random.default_rng(0))
    found = DEVICES.get(device)
    return Analytic.of(MOBILENET, f"{found.name}:{target}", found.facts).predict(networks).median_ms


def test_a_faster_machine_is_predicted_to_be_faster() -> None:
    pi4, pi5 = (zero_shot(f"raspberry-pi-{n}", "ort-fp32-t1") for n in (4, 5))
    nano, agx, h100 = (
        zero_shot(name, "cudagraph-fp16-t1")
        for name in ("jetson-orin-nano", "jetson-agx-orin", "h100")
    )

    assert (pi5 < pi4).all()
    assert (agx < nano).all()
    assert (h100 < agx).all()


def test_more_threads_and_smaller_batches_take_less_time() -> None:
    one, four, batch = (
        zero_shot("raspberry-pi-5", f"ort-fp32-{how}") for how in ("t1", "t4", "t1-b8")
    )

    assert (four < one).all()
    assert (one < batch).all()


def test_without_samples_the_interval_is_wide_everything_is_extrapolated_and_the_reason_given() -> (
    None
):
    facts = DEVICES.get("jetson-orin").facts
    model = Analytic.of(MOBILENET, "jetson-agx-orin:cudagraph-fp32-t1", facts)

    found = model.predict(sample(MOBILENET, 50, np.random.default_rng(0)))

    assert (found.upper_ms / found.median_ms > 2.0).all()
    assert found.extrapolated.all()
    assert "data sheet" in model.provenance["interval"]
    assert model.provenance["networks"] == 0
    assert model.provenance["sources"]


def test_a_figure_that_is_missing_is_named_and_widens_the_interval() -> None:
    networks = sample(MOBILENET, 10, np.random.default_rng(0))
    facts = {"peak_gflops_fp32": 1000.0, "memory_bandwidth_gb_s": 50.0}

    full, part = (
        Analytic.of(MOBILENET, "board:cudagraph-fp32-t1", known)
        for known in (facts, {"peak_gflops_fp32": 1000.0})
    )

    assert full.provenance["assumed"] == []
    assert "memory bandwidth" in part.provenance["assumed"][0]
    assert (part.predict(networks).relative_sd > full.predict(networks).relative_sd).all()


@pytest.mark.parametrize(
    "facts", [{}, {"cpu_cores": 4}, {"memory_bandwidth_gb_s": "fast"}, {"peak_gflops_fp32": -1}]
)
def test_facts_that_say_nothing_of_speed_predict_nothing_until_there_are_samples(
    world: World, facts: dict
) -> None:
    model, networks = Analytic.of(world.space, world.target, facts), world.networks(20)

    assert Machine.of(world.target, facts) is None
    with pytest.raises(NotCalibratedError, match="nas device calibrate world"):
        model.predict(networks)
    adapted = model.adapt(world.table(networks)).predict(networks)
    assert adapted.median_ms == pytest.approx(world.latency_ms(networks), rel=0.15)


@pytest.mark.parametrize("name", SPACES.names())
def test_ten_samples_make_a_usable_predictor_in_any_space(name: str) -> None:
    """A device three times as slow as its data sheet says, its depthwise kernels slower still."""
    space = SPACES.get(name)
    facts = {"peak_gflops_fp32": 100.0, "memory_bandwidth_gb_s": 10.0}
    truth = Analytic.of(space, "board:cudagraph-fp32-t1", {**facts, "peak_gflops_fp32": 40.0})
    pool, others = (sample(space, 60, np.random.default_rng(seed)) for seed in (1, 2))
    model = Analytic.of(space, "board:cudagraph-fp32-t1", facts)
    rows = model.select(pool, 10, np.random.default_rng(0))
    shown = space.population([pool[int(row)] for row in rows])
    latency_ms = 3.0 * truth.predict(shown).median_ms
    table = LatencyTable(
        name, shown.genes, model.target, latency_ms, np.zeros(len(shown)), "measured"
    )

    found = model.adapt(table).predict(others)

    expected = 3.0 * truth.predict(others).median_ms
    assert np.median(np.abs(found.median_ms / expected - 1.0)) < 0.1
    assert coverage(expected, found) >= 0.7
    assert spearman(expected, found.median_ms) > 0.9


def test_samples_narrow_the_interval(world: World) -> None:
    others = world.networks(50, seed=1)
    model = Analytic.of(world.space, world.target, {"memory_bandwidth_gb_s": 10.0})

    none, few, many = (
        float(np.median(each.predict(others).relative_sd))
        for each in (
            model,
            model.adapt(world.table(world.networks(5))),
            model.adapt(world.table(world.networks(40))),
        )
    )

    assert many < few < none / 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "device", "gflops", "bandwidth"),
    [
        ("fbnet", "1080ti-1", 11340, 484), ("fbnet", "titan-rtx-32", 16310, 672),
        ("mobilenetv3", "2080ti-64", 13450, 616), ("mobilenetv3", "v100-1", 15700, 900),
        ("nasbench201", "titanxp-256", 12150, 547.7),
    ],
)  # fmt: skip
def test_published_figures_bracket_public_tables(
    nas_data: Path, space: str, device: str, gflops: float, bandwidth: float
) -> None:
    facts = {"peak_gflops_fp32": gflops, "memory_bandwidth_gb_s": bandwidth}
    (table,) = (t for t in public_tables(nas_data, space) if t.target.endswith(f":{device}"))
    name, _, batch = device.rpartition("-")
    model = Analytic.of(SPACES.get(space), f"{name}:eager-fp32-t1-b{batch}", facts)
    found = model.predict(Population(SPACES.get(space), table.genes))

    assert coverage(table.latency_ms, found) > 0.9
    assert 0.5 < float(np.median(table.latency_ms / found.median_ms)) < 2.0
