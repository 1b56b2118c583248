from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from devices.catalog import DEVICES
from predictors.choose import (
    PACKS,
    device_predictor,
    few_shot_pack,
    how_to_narrow,
    unadapted_predictor,
)
from predictors.errors import NotCalibratedError
from predictors.models.analytic import Analytic
from predictors.models.few_shot import FewShot
from predictors.predictor import LatencyTable
from search_spaces import SPACES
from search_spaces.architecture import FloatArray
from search_spaces.errors import UsageError
from search_spaces.moves import sample

if TYPE_CHECKING:
    from tests.conftest import World

PACKED = ("fbnet", "mobilenetv3", "nasbench201")


@pytest.mark.parametrize("name", PACKED)
def test_every_pack_is_small_fits_its_space_and_says_where_it_is_from(name: str) -> None:
    file = PACKS / f"few_shot_{name}.npz"
    space = SPACES.get(name)
    networks = sample(space, 30, np.random.default_rng(0))

    pack = few_shot_pack(name)

    assert pack is not None
    assert file.stat().st_size <= 1_000_000
    assert "Licence: MIT" in file.with_suffix(".md").read_text(encoding="utf-8")
    assert len(pack.provenance["sources"]) >= 9
    assert (pack.target, len(pack.genes)) == ("", 0)
    table = LatencyTable(
        name, networks.genes, "board", np.linspace(1, 2, 30), np.zeros(30), "measured"
    )
    assert np.isfinite(pack.adapt(table).predict(networks).median_ms).all()


def test_a_device_of_the_catalogue_without_samples_gets_its_roofline() -> None:
    device = DEVICES.get("jetson-orin")
    space = SPACES.get("mobilenetv3")

    found = device_predictor(space, f"{device.name}:cudagraph-fp16-t1", device.facts, None)

    assert isinstance(found, Analytic)
    assert (found.predict(sample(space, 3, np.random.default_rng(0))).median_ms > 0).all()


def test_an_unknown_device_without_samples_is_told_what_to_do() -> None:
    with pytest.raises(NotCalibratedError) as caught:
        device_predictor(SPACES.get("fbnet"), "toaster:ort-fp32-t1", {}, None)

    assert "nas device calibrate toaster --space fbnet --samples 10" in str(caught.value)
    assert "nas agent run" in str(caught.value)


def test_samples_adapt_the_pack_of_the_space(world: World) -> None:
    found = device_predictor(world.space, world.target, {}, world.table(world.networks(5)))

    assert isinstance(found, FewShot)
    assert found.target == world.target
    assert found.provenance["networks"] == 5


def test_an_empty_table_counts_as_none(world: World) -> None:
    empty = world.table(world.networks(0))

    with pytest.raises(NotCalibratedError):
        device_predictor(world.space, world.target, {}, empty)


def test_given_sources_are_learned_from_and_the_target_itself_is_none_of_them(
    world: World,
) -> None:
    networks = world.networks(60, seed=3)

    def source(target: str, power: float) -> LatencyTable:
        latency_ms: FloatArray = world.latency_ms(networks) ** power
        return replace(world.table(networks), target=target, latency_ms=latency_ms)

    sources = [source(f"s{i}", 0.7 + 0.2 * i) for i in range(3)]
    own = source(world.target, 1.0)

    found = device_predictor(
        world.space, world.target, {}, world.table(world.networks(5)), [*sources, own]
    )

    assert isinstance(found, FewShot)
    assert sorted(found.provenance["sources"]) == ["s0", "s1", "s2"]


def test_the_same_sources_are_fitted_once(world: World) -> None:
    networks = world.networks(40, seed=3)
    sources = [replace(world.table(networks), target=f"s{i}") for i in range(3)]

    first, second = (unadapted_predictor(world.space, world.target, sources) for _ in range(2))

    assert first is not None
    assert second is not None
    assert first.prior is second.prior
    assert first.provenance["sources"] == ["s0", "s1", "s2"]


def test_sources_that_do_not_suffice_leave_the_pack(world: World) -> None:
    few = [replace(world.table(world.networks(40)), target=f"s{i}") for i in range(2)]
    pack = few_shot_pack(world.space.name)

    found = unadapted_predictor(world.space, world.target, few)

    assert found is not None
    assert pack is not None
    assert found.prior is pack.prior
    assert unadapted_predictor(SPACES.get("vit"), world.target) is None


def test_a_space_without_pack_and_sources_gets_a_corrected_roofline() -> None:
    space = SPACES.get("vit")
    networks = sample(space, 10, np.random.default_rng(0))
    table = LatencyTable(
        "vit", networks.genes, "board", np.linspace(5, 9, 10), np.zeros(10), "measured"
    )

    found = device_predictor(space, "board", {}, table)

    assert isinstance(found, Analytic)
    assert found.provenance["networks"] == 10


def test_a_table_of_another_target_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="cannot adapt"):
        device_predictor(world.space, "other", {}, world.table(world.networks(5)))


def test_how_to_narrow_names_the_command() -> None:
    assert "nas device calibrate board --space vit --samples 10" in how_to_narrow("vit", "board", 0)
    assert "--samples 24" in how_to_narrow("vit", "board:ort-fp32-t1", 12)


def test_predictors_are_chosen_without_frameworks() -> None:
    """`nas predict` starts quickly: no SciPy, no ONNX, no database."""
    code = (
        "import sys, predictors.choose as c; c.few_shot_pack('mobilenetv3'); "
        "print([m for m in ('scipy', 'onnx', 'onnxruntime', 'sqlalchemy', 'torch') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
