"""What every latency predictor promises; another model is one more entry of `MODELS`."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest

from predictors.errors import InvalidPredictorFileError
from predictors.models.analytic import Analytic
from predictors.models.block_lut import BlockLut
from predictors.models.few_shot import FewShot
from predictors.predictor import LatencyPredictor, LatencyTable
from search_spaces import SPACES
from search_spaces.architecture import Architecture, Choice, IntArray, Population
from search_spaces.costs import gather_sum
from search_spaces.errors import UsageError
from search_spaces.graph import OpGraph
from search_spaces.moves import sample
from search_spaces.space import ChainSpace, SearchSpace

if TYPE_CHECKING:
    from tests.conftest import World


class Model(Protocol):
    """What is asked of a model beside `LatencyPredictor`: it goes into a file."""

    def dumps(self) -> bytes: ...


@dataclass(frozen=True)
class Case:
    """One model under contract.

    Attributes:
        build: A predictor of the made-up device that knows at most three of its networks.
        loads: Reads a file back.
        worst_error: Largest relative error allowed after twenty networks without noise.
    """

    build: Callable[[World], LatencyPredictor]
    loads: Callable[[bytes], LatencyPredictor]
    worst_error: float


@lru_cache
def few_shot() -> FewShot:
    """A prior of four made-up devices that weigh compute and traffic in different ways."""
    space = SPACES.get("mobilenetv3")
    assert isinstance(space, ChainSpace)
    networks = sample(space, 150, np.random.default_rng(7))
    cost = space.cost_table
    tables = []
    for number, power in enumerate((0.6, 0.8, 1.0, 1.2)):
        blocks = (cost.macs / 1e6) ** power + (2 + number) * cost.activation_bytes / 1e6 + 0.05
        latency_ms = gather_sum(blocks, space.block_ids(networks.genes))
        none = np.zeros(len(networks))
        tables.append(
            LatencyTable(space.name, networks.genes, f"s{number}", latency_ms, none, "imported")
        )
    return FewShot.fit(space, tables)


MODELS = {
    "analytic": Case(
        lambda world: Analytic.of(world.space, world.target, {"memory_bandwidth_gb_s": 10.0}),
        Analytic.loads, 0.15,
    ),
    "block-lut": Case(lambda world: world.predictor(), BlockLut.loads, 0.01),
    "few-shot": Case(
        lambda world: few_shot().on(world.target).adapt(world.table(world.networks(3, seed=9))),
        FewShot.loads, 0.15,
    ),
}  # fmt: skip


@pytest.fixture(params=sorted(MODELS))
def case(request: pytest.FixtureRequest) -> Case:
    return MODELS[request.param]


@pytest.fixture
def adapted(case: Case, world: World) -> LatencyPredictor:
    return case.build(world).adapt(world.table(world.networks(20), noise=0.01))


def dumps(model: LatencyPredictor) -> bytes:
    data: bytes = model.dumps()  # type: ignore[attr-defined]  # see `Model`
    return data


def test_every_model_file_is_under_contract() -> None:
    spec = find_spec("predictors.models")
    assert spec is not None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [file.stem for folder in folders for file in folder.glob("[!_]*.py")]

    assert sorted(MODELS) == sorted(name.replace("_", "-") for name in files)


def test_a_file_predicts_what_was_saved(
    case: Case, adapted: LatencyPredictor, world: World
) -> None:
    networks = world.networks(50, seed=1)

    again = case.loads(dumps(adapted))

    expected, found = adapted.predict(networks), again.predict(networks)
    assert (again.space, again.target) == (adapted.space, adapted.target)
    assert (found.median_ms == expected.median_ms).all()
    assert (found.relative_sd == expected.relative_sd).all()
    assert (found.extrapolated == expected.extrapolated).all()
    assert found.dof == expected.dof


def test_a_predictor_read_back_adapts_alike(
    case: Case, adapted: LatencyPredictor, world: World
) -> None:
    table, networks = world.table(world.networks(15, seed=2)), world.networks(20, seed=3)

    again = case.loads(dumps(adapted)).adapt(table)

    expected = adapted.adapt(table).predict(networks)
    assert (again.predict(networks).median_ms == expected.median_ms).all()


def test_without_noise_a_few_networks_recover_the_device(case: Case, world: World) -> None:
    networks = world.networks(200, seed=1)

    found = case.build(world).adapt(world.table(world.networks(20))).predict(networks)

    assert found.median_ms == pytest.approx(world.latency_ms(networks), rel=case.worst_error)


def test_adapting_changes_nothing_in_the_predictor_itself(case: Case, world: World) -> None:
    model, networks = case.build(world), world.networks(10, seed=1)
    before = model.predict(networks).median_ms

    model.adapt(world.table(world.networks(10), noise=0.5))

    assert (model.predict(networks).median_ms == before).all()


def test_predictions_do_not_depend_on_their_neighbours(
    adapted: LatencyPredictor, world: World
) -> None:
    networks = world.networks(20, seed=1)

    together = adapted.predict(networks).median_ms
    alone = [
        adapted.predict(networks.space.population([arch])) for arch in networks.architectures()
    ]

    assert together == pytest.approx([one.median_ms[0] for one in alone], rel=1e-9)


def test_no_networks_have_an_empty_prediction(adapted: LatencyPredictor, world: World) -> None:
    assert len(adapted.predict(world.space.population([]))) == 0


def test_a_higher_level_makes_a_wider_interval(adapted: LatencyPredictor, world: World) -> None:
    found = adapted.predict(world.networks(20, seed=1))
    levels = [replace(found, level=level) for level in (0.5, 0.8, 0.9, 0.99)]

    assert all((low.upper_ms < high.upper_ms).all() for low, high in pairwise(levels))
    assert all((low.lower_ms > high.lower_ms).all() for low, high in pairwise(levels))


def test_selected_networks_are_distinct_and_nested(case: Case, world: World) -> None:
    model, pool = case.build(world), world.networks(60)

    def select(count: int) -> IntArray:
        return model.select(pool, count, np.random.default_rng(0))

    longest = select(60)
    assert sorted(longest.tolist()) == list(range(60))
    assert all((select(count) == longest[:count]).all() for count in (0, 1, 7, 30))


def test_more_networks_than_there_are_cannot_be_selected(case: Case, world: World) -> None:
    with pytest.raises(UsageError, match="4 networks cannot be selected of 3"):
        case.build(world).select(world.networks(3), 4, np.random.default_rng(0))


@pytest.mark.parametrize("changes", [{"space": "toy"}, {"target": "phone"}], ids=str)
def test_a_table_of_another_space_or_target_is_refused(
    case: Case, world: World, changes: dict
) -> None:
    table = replace(world.table(world.networks(5)), **changes)

    with pytest.raises(UsageError, match="cannot adapt"):
        case.build(world).adapt(table)


class OtherSpace(SearchSpace):
    name = "other"
    choices = (Choice("a", (1, 2)),)

    def graph(self, arch: Architecture) -> OpGraph:
        raise NotImplementedError


def test_networks_of_another_space_are_refused(case: Case, world: World) -> None:
    other = Population(OtherSpace(), np.zeros((2, 1), dtype=np.int8))

    with pytest.raises(UsageError, match=r"mobilenetv3.*other"):
        case.build(world).predict(other)
    with pytest.raises(UsageError, match=r"mobilenetv3.*other"):
        case.build(world).select(other, 1, np.random.default_rng(0))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_cut_short_is_refused(case: Case, adapted: LatencyPredictor, share: float) -> None:
    data = dumps(adapted)

    with pytest.raises(InvalidPredictorFileError):
        case.loads(data[: int(share * len(data))])


def test_a_file_with_damaged_bytes_is_refused_or_predicts_the_same(
    case: Case, adapted: LatencyPredictor, world: World
) -> None:
    good, networks = dumps(adapted), world.networks(3)
    expected = adapted.predict(networks).median_ms
    rng, refused = np.random.default_rng(0), 0

    for place in rng.integers(0, len(good), 60):
        damaged = bytearray(good)
        damaged[place] ^= 0xFF
        try:
            found = case.loads(bytes(damaged))
        except InvalidPredictorFileError:
            refused += 1
        else:
            assert (found.predict(networks).median_ms == expected).all()

    assert refused > 30


def rewritten(data: bytes, **arrays: np.ndarray | None) -> bytes:
    """The same file with some arrays replaced, or left out where None."""
    with np.load(io.BytesIO(data)) as archive:
        found = {name: archive[name] for name in archive.files} | arrays
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in found.items() if array is not None})
    return buffer.getvalue()


def test_a_file_that_lacks_any_array_is_refused(case: Case, adapted: LatencyPredictor) -> None:
    data = dumps(adapted)
    with np.load(io.BytesIO(data)) as archive:
        names = list(archive.files)

    for name in names:
        with pytest.raises(InvalidPredictorFileError):
            case.loads(rewritten(data, **{name: None}))


def test_a_file_with_an_array_of_another_shape_is_refused(
    case: Case, adapted: LatencyPredictor
) -> None:
    """Such as the table of an older version of the space, which had fewer blocks."""
    data = dumps(adapted)
    with np.load(io.BytesIO(data)) as archive:
        tables = {name: archive[name] for name in archive.files if archive[name].dtype != np.uint8}

    for name, array in tables.items():
        with pytest.raises(InvalidPredictorFileError):
            case.loads(rewritten(data, **{name: array[:-1]}))


def test_pickled_content_is_refused(case: Case, adapted: LatencyPredictor) -> None:
    with pytest.raises(InvalidPredictorFileError):
        case.loads(rewritten(dumps(adapted), evil=np.array([print], dtype=object)))
