from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from nas.supernet.inference import correct, open_session
from nas.supernet.subnet import count_correct, recalibrated
from search_spaces.architecture import Architecture
from search_spaces.errors import InvalidGraphError, UsageError
from search_spaces.onnx_build import build_onnx
from search_spaces.onnx_calibrate import calibration_onnx
from search_spaces.tensors import cut
from tests.nas.search.tiny import SPACE
from tests.nas.supernet.weights import random_tensors

SMALL = Architecture("tiny", (0, 1, 0))


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(3).standard_normal((12, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def tensors() -> dict[str, NDArray[np.float32]]:
    return random_tensors(SPACE)


def scores(model: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["output"], {"input": images})[0])


def test_a_sub_network_answers_as_it_does_on_the_images_it_was_recalibrated_on(
    images: NDArray[np.float32], tensors: dict[str, NDArray[np.float32]]
) -> None:
    graph = SPACE.graph(SMALL)

    folded = recalibrated(graph, tensors, images)

    expected = scores(calibration_onnx(graph, cut(graph, tensors), len(images)), images)
    found = scores(build_onnx(graph, folded, batch=len(images)), images)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_its_own_statistics_differ_from_those_that_are_stored(
    images: NDArray[np.float32], tensors: dict[str, NDArray[np.float32]]
) -> None:
    graph = SPACE.graph(SMALL)
    stored = {name: value for name, value in tensors.items() if not name.endswith(".bn.mean")}

    folded = recalibrated(graph, stored, images)

    assert folded["stem.bias"].shape == (16,)
    again = recalibrated(graph, tensors, images[:6])
    assert not np.allclose(folded["stem.bias"], again["stem.bias"])


def test_the_same_network_has_the_same_bits_however_often_it_is_cut(
    images: NDArray[np.float32], tensors: dict[str, NDArray[np.float32]]
) -> None:
    graph = SPACE.graph(SMALL)

    first, second = (recalibrated(graph, tensors, images) for _ in range(2))

    assert all((first[name] == second[name]).all() for name in first)


def test_a_missing_tensor_is_refused_by_name(
    images: NDArray[np.float32], tensors: dict[str, NDArray[np.float32]]
) -> None:
    rest = {name: value for name, value in tensors.items() if name != "slot1.expand"}

    with pytest.raises(InvalidGraphError, match=r"no tensor named 'slot1.expand'"):
        recalibrated(SPACE.graph(SMALL), rest, images)


def test_right_answers_are_counted_whatever_the_number_of_images(
    images: NDArray[np.float32], tensors: dict[str, NDArray[np.float32]]
) -> None:
    graph = SPACE.graph(SMALL)
    folded = recalibrated(graph, tensors, images)
    answers = scores(build_onnx(graph, folded, batch=len(images)), images).argmax(axis=1)
    wrong = (answers + 1) % 10

    assert count_correct(graph, folded, images, answers) == 12
    assert count_correct(graph, folded, images, np.where(np.arange(12) < 5, answers, wrong)) == 5
    small = open_session(build_onnx(graph, folded, batch=5))
    assert correct(small, images, answers) == 12


def test_images_of_another_size_are_refused_with_both_shapes(
    tensors: dict[str, NDArray[np.float32]], images: NDArray[np.float32]
) -> None:
    graph = SPACE.graph(SMALL)
    folded = recalibrated(graph, tensors, images)

    with pytest.raises(UsageError, match=r"\(n, 3, 32, 32\).*\(4, 3, 16, 16\)"):
        count_correct(graph, folded, np.zeros((4, 3, 16, 16), np.float32), np.zeros(4, np.int64))


@pytest.mark.slow
def test_torch_normalising_by_the_batch_gives_the_same_answers() -> None:
    """An independent implementation, on a real network of the CIFAR space."""
    torch = pytest.importorskip("torch", reason="pip install 'hardware-aware-nas[train]'")
    from search_spaces import SPACES
    from search_spaces.moves import sample
    from search_spaces.torch_build import forward

    space = SPACES.get("mobilenetv3-cifar")
    graph = space.graph(sample(space, 1, np.random.default_rng(5))[0])
    shared = random_tensors(space)
    images = np.random.default_rng(3).standard_normal((32, 3, 32, 32)).astype(np.float32)

    folded = recalibrated(graph, shared, images)

    tensors = {name: torch.from_numpy(value) for name, value in shared.items()}
    expected = forward(graph, tensors, torch.from_numpy(images), statistics="batch").numpy()
    found = scores(build_onnx(graph, folded, batch=len(images)), images)
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
