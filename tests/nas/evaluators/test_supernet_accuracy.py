"""Sub-networks of random weights, evaluated on real images in one process and in others."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.errors import CheckpointError, DatasetError, InvalidRequestError
from nas.evaluator import EXECUTORS
from nas.evaluators.supernet_accuracy import (
    SupernetAccuracy,
    SupernetEvaluator,
    binomial_sd_percent,
    evaluations_file,
)
from nas.supernet.subnet import RECALIBRATION_IMAGES
from nas.trial import Estimate, Failure
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.moves import sample
from tests.nas.search.tiny import SPACE as TINY
from tests.nas.supernet.weights import random_checkpoint

SPACE = SPACES.get("mobilenetv3-cifar")
SMALLEST = Architecture(SPACE.name, (0,) * len(SPACE.choices)).key


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights."""
    file = tmp_path_factory.mktemp("weights") / "mobilenetv3-cifar.safetensors"
    random_checkpoint(file, SPACE)
    return file


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    random_checkpoint(file, TINY)
    return file


@pytest.fixture
def source(tiny_file: Path, nas_data: Path) -> SupernetAccuracy:
    return replace(SupernetAccuracy.open(TINY, nas_data, tiny_file), images=100)


def write_evaluations(checkpoint: Path, **columns: object) -> None:
    genes = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 1]], dtype=np.int8)
    default = {"genes": genes, "accuracy_percent": np.array([60.0, 65.0, 70.0]), "images": 5000}
    stream = io.BytesIO()
    np.savez(stream, **(default | columns))  # type: ignore[arg-type]  # columns are arrays
    evaluations_file(checkpoint).write_bytes(stream.getvalue())


# --- The dear look -----------------------------------------------------------------------------


@pytest.mark.slow
def test_random_weights_guess(file: Path, nas_data: Path) -> None:
    source = SupernetAccuracy.open(SPACE, nas_data, file)
    evaluator = source.evaluator()
    assert evaluator is not None

    outcome = evaluator.evaluate_one(SMALLEST)

    assert isinstance(outcome, Estimate)
    assert outcome.metric == "accuracy"
    assert outcome.value == pytest.approx(10.0, abs=6.0)
    assert outcome.std == pytest.approx(binomial_sd_percent(outcome.value * 10, 1000))
    assert outcome.facts["images"] == 1000
    assert outcome.facts["recalibrated_on"] == RECALIBRATION_IMAGES
    assert outcome.facts["checkpoint_sha256"] == source.checkpoint.sha256


def test_the_value_of_a_network_is_the_same_each_time(source: SupernetAccuracy) -> None:
    evaluator = source.evaluator()
    assert evaluator is not None

    assert evaluator.evaluate_one("tiny:010") == evaluator.evaluate_one("tiny:010")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["processes", pytest.param("ray", marks=pytest.mark.ray)])
def test_other_processes_find_the_same_bits(
    name: str, source: SupernetAccuracy, request: pytest.FixtureRequest
) -> None:
    if name == "ray":
        request.getfixturevalue("ray_session")
    evaluator = source.evaluator()
    assert evaluator is not None
    keys = ("tiny:000", "tiny:010", "tiny:009")
    executor = EXECUTORS.get(name)(workers=2)

    found = dict(executor.run(evaluator, keys, range(len(keys))))
    executor.close()

    assert found == dict(EXECUTORS.get("serial")().run(evaluator, keys, range(len(keys))))
    assert isinstance(found[2], Failure)


@pytest.mark.parametrize("key", ["tiny:009", "tiny:0", "other:000", "nonsense"])
def test_what_is_no_network_of_the_space_fails_and_says_why(
    key: str, source: SupernetAccuracy
) -> None:
    evaluator = source.evaluator()
    assert evaluator is not None

    outcome = evaluator.evaluate_one(key)

    assert isinstance(outcome, Failure)
    assert "gene" in outcome.reason or "key" in outcome.reason or "belongs" in outcome.reason


def test_a_checkpoint_that_was_changed_is_refused(
    source: SupernetAccuracy, tiny_file: Path
) -> None:
    assert source.data is not None
    evaluator = SupernetEvaluator(TINY, tiny_file, "0" * 64, source.data, images=20)

    with pytest.raises(CheckpointError, match=r"not 000000000000…; it was changed"):
        evaluator.evaluate_one("tiny:000")


@pytest.mark.parametrize(("right", "sd"), [(500, 1.58), (900, 0.95), (1000, 0.099)])
def test_a_thousand_images_leave_an_error_of_a_point(right: int, sd: float) -> None:
    assert binomial_sd_percent(right, 1000) == pytest.approx(sd, rel=0.02)


# --- The source --------------------------------------------------------------------------------


def test_a_source_learns_from_what_it_is_told_and_stays_as_it_was(
    source: SupernetAccuracy,
) -> None:
    population = TINY.population([Architecture.parse("tiny:111")])
    before = source(population)[0]
    estimate = Estimate("accuracy", 42.0, 1.0)

    told = source.told(["tiny:111"], [estimate])

    assert told(population)[0] == pytest.approx(42.0, abs=1.5)
    assert told.report(population).std_percent[0] < 2.0 < source.report(population).std_percent[0]
    assert source(population)[0] == before


def test_other_metrics_and_nothing_at_all_teach_nothing(source: SupernetAccuracy) -> None:
    assert source.told([], []) is source
    assert source.told(["tiny:000"], [Estimate("robustness", 1.0, 0.1)]) is source


def test_a_report_says_whose_weights_they_are(source: SupernetAccuracy) -> None:
    report = source.report(TINY.population([Architecture.parse("tiny:000")]))

    assert report.weights == source.checkpoint.weights
    assert "not fine-tuned" in report.weights
    assert report.extrapolated.all()


def test_evaluations_beside_the_checkpoint_are_known_from_the_start(
    tmp_path: Path, nas_data: Path
) -> None:
    random_checkpoint(tmp_path / "tiny.safetensors", TINY)
    write_evaluations(tmp_path / "tiny.safetensors")

    source = SupernetAccuracy.open(TINY, None, tmp_path / "tiny.safetensors")

    population = TINY.population([Architecture.parse("tiny:000"), Architecture.parse("tiny:111")])
    assert source(population) == pytest.approx([60.0, 70.0], abs=1.0)
    assert source.evaluator() is None


@pytest.mark.parametrize(
    "columns",
    [{"genes": np.array([[0, 0, 9]] * 3)}, {"accuracy_percent": np.array([1.0])},
     {"accuracy_percent": np.array([60.0, np.nan, 70.0])}],
    ids=["gene", "ragged", "nan"],
)  # fmt: skip
def test_damaged_evaluations_are_refused(tmp_path: Path, columns: dict) -> None:
    random_checkpoint(tmp_path / "tiny.safetensors", TINY)
    write_evaluations(tmp_path / "tiny.safetensors", **columns)

    with pytest.raises(CheckpointError, match=r"tiny.accuracy.npz is damaged"):
        SupernetAccuracy.open(TINY, None, tmp_path / "tiny.safetensors")


def test_without_images_and_evaluations_there_is_nothing_to_say(tiny_file: Path) -> None:
    with pytest.raises(InvalidRequestError, match="set NAS_DATA to the folder of cifar10-train"):
        SupernetAccuracy.open(TINY, None, tiny_file)


def test_a_folder_without_the_images_is_named(source: SupernetAccuracy, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no cifar10-train.parquet"):
        replace(source, data=tmp_path).evaluator()


def test_a_space_without_a_trained_super_network_says_how_to_train_one() -> None:
    with pytest.raises(InvalidRequestError, match="train one with `nas train supernet`"):
        SupernetAccuracy.open(TINY, None)


def test_a_truncated_checkpoint_stops_a_search_before_it_starts(
    tmp_path: Path, file: Path, nas_data: Path
) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:100_000])

    with pytest.raises(CheckpointError, match="is damaged"):
        SupernetAccuracy.open(SPACE, nas_data, cut)


def test_thousands_of_networks_are_predicted_at_once(file: Path, nas_data: Path) -> None:
    """What a generation of the search asks for."""
    known = sample(SPACE, 100, np.random.default_rng(0))
    source = SupernetAccuracy.open(SPACE, nas_data, file).told(
        [arch.key for arch in known.architectures()],
        [Estimate("accuracy", 80.0 + 0.01 * number, 1.0) for number in range(100)],
    )

    values = source(sample(SPACE, 5000, np.random.default_rng(1)))

    assert np.isfinite(values).all()
