from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from nas.errors import CheckpointError, InvalidRequestError
from nas.evaluators.supernet_accuracy import SupernetAccuracy
from nas.export import evaluate_onnx, export_trained
from nas.supernet.checkpoint import Checkpoint
from nas.supernet.data import CLASSES, MEAN, STD, Images, load_cifar10
from nas.trial import Estimate
from search_spaces.architecture import Architecture
from search_spaces.onnx_build import build_onnx
from tests.nas.search.tiny import SPACE
from tests.nas.supernet.weights import random_checkpoint

ARCH = Architecture("tiny", (0, 1, 0))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights") / "tiny.safetensors"


@pytest.fixture(scope="module")
def checkpoint(file: Path) -> Checkpoint:
    return random_checkpoint(file, SPACE)


@pytest.fixture(scope="module")
def model(file: Path, checkpoint: Checkpoint, nas_data: Path) -> bytes:
    name, data = export_trained(SPACE, ARCH, file, nas_data)
    assert name == "best.onnx"
    return data


@pytest.fixture(scope="module")
def validation(nas_data: Path) -> Images:
    return load_cifar10(nas_data, subset=200).validation


def test_an_export_says_whose_weights_it_has_and_how_to_feed_it(
    model: bytes, checkpoint: Checkpoint
) -> None:
    loaded = onnx.load_from_string(model)
    onnx.checker.check_model(loaded, full_check=True)
    about = {entry.key: entry.value for entry in loaded.metadata_props}

    assert about["weights"] == "given"
    assert about["architecture"] == ARCH.key
    assert about["checkpoint_sha256"] == checkpoint.sha256
    assert about["weights_of"] == checkpoint.weights
    assert json.loads(about["classes"]) == list(CLASSES)
    assert json.loads(about["normalise"]) == {"mean": list(MEAN), "std": list(STD)}
    assert about["recalibrated_on"] == "256 training images of cifar10"


def test_an_export_takes_one_image(model: bytes) -> None:
    shape = onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim

    assert [extent.dim_value for extent in shape] == [1, 3, 32, 32]


def test_what_is_exported_is_what_was_evaluated(
    model: bytes, checkpoint: Checkpoint, file: Path, nas_data: Path, validation: Images
) -> None:
    evaluator = SupernetAccuracy(SPACE, file, checkpoint, nas_data, None, 200).evaluator()  # type: ignore[arg-type]  # no prediction is asked for
    assert evaluator is not None
    evaluated = evaluator.evaluate_one(ARCH.key)

    found = evaluate_onnx(model, validation.pixels, validation.labels)

    assert isinstance(evaluated, Estimate)
    # Another batch size may round one answer the other way.
    assert found == pytest.approx(evaluated.value, abs=0.5)
    assert found == pytest.approx(10.0, abs=10.0)


def test_right_answers_are_what_is_counted(model: bytes, validation: Images) -> None:
    ones = validation.first(20)
    shares = [
        evaluate_onnx(model, ones.pixels, np.full(20, label, dtype=np.int64)) for label in range(10)
    ]

    assert sum(shares) == pytest.approx(100.0)


def test_without_images_a_network_is_not_exported(file: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(InvalidRequestError, match="set NAS_DATA"):
        export_trained(SPACE, ARCH, file, None)


def test_a_truncated_checkpoint_is_refused(
    tmp_path: Path, file: Path, checkpoint: Checkpoint, nas_data: Path
) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:5000])

    with pytest.raises(CheckpointError, match=r"cut.safetensors is damaged"):
        export_trained(SPACE, ARCH, cut, nas_data)


def test_a_model_without_trained_weights_is_not_evaluated(validation: Images) -> None:
    untrained = build_onnx(SPACE.graph(ARCH), "seeded")

    with pytest.raises(InvalidRequestError, match=r"how its input is scaled \(weights: seeded:0\)"):
        evaluate_onnx(untrained, validation.pixels, validation.labels)


def test_what_is_no_model_is_refused(validation: Images) -> None:
    with pytest.raises(InvalidRequestError, match="ONNX Runtime cannot load the model"):
        evaluate_onnx(b"weights", validation.pixels, validation.labels)


def test_images_of_another_form_are_refused(model: bytes, validation: Images) -> None:
    last = validation.pixels.transpose(0, 2, 3, 1)

    with pytest.raises(InvalidRequestError, match="does not fit these images"):
        evaluate_onnx(model, last, validation.labels)
    with pytest.raises(InvalidRequestError, match="none were given"):
        evaluate_onnx(model, validation.pixels[:0], validation.labels[:0])
