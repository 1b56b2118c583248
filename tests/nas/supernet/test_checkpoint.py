from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from nas.errors import CheckpointError
from nas.supernet.checkpoint import Checkpoint, packaged, read_checkpoint, write_checkpoint
from nas.supernet.data import CLASSES, MEAN, STD, normalise
from search_spaces import SPACES
from tests.nas.search.tiny import SPACE
from tests.nas.supernet.weights import random_checkpoint, random_tensors


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def checkpoint(file: Path) -> Checkpoint:
    return random_checkpoint(file, SPACE)


def rewritten(file: Path, **metadata: str | None) -> None:
    """The same tensors under other metadata."""
    size = int.from_bytes(file.read_bytes()[:8], "little")
    about = json.loads(file.read_bytes()[8 : 8 + size])["__metadata__"] | metadata
    save_file(load_file(file), file, {k: v for k, v in about.items() if v is not None})


def test_a_checkpoint_reads_back_as_it_was_written(file: Path, checkpoint: Checkpoint) -> None:
    tensors = random_tensors(SPACE)

    assert (checkpoint.space, checkpoint.dataset, checkpoint.classes) == (
        "tiny",
        "cifar10",
        CLASSES,
    )
    assert (checkpoint.mean, checkpoint.std, checkpoint.recipe) == (MEAN, STD, {"epochs": 0})
    assert checkpoint.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert set(checkpoint.tensors) == set(tensors)
    for name, tensor in checkpoint.tensors.items():
        assert tensor.dtype == np.float32
        exact = name.endswith(".bn.var")
        assert tensor == pytest.approx(tensors[name], rel=0 if exact else 1e-3, abs=1e-4)


def test_values_take_two_bytes_and_variances_keep_four(file: Path, checkpoint: Checkpoint) -> None:
    kinds = {name: tensor.dtype for name, tensor in load_file(file).items()}

    assert kinds["slot0.expand"] == kinds["slot0.expand.bn.mean"] == np.float16
    assert kinds["slot0.expand.bn.var"] == np.float32


def test_a_checkpoint_says_whose_weights_a_network_has(checkpoint: Checkpoint) -> None:
    assert checkpoint.weights == (
        f"super-network tiny on cifar10, sha256 {checkpoint.sha256[:12]}, "
        "weights shared, not fine-tuned"
    )


def test_inputs_are_scaled_as_in_training(checkpoint: Checkpoint) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)

    assert (checkpoint.normalised(pixels) == normalise(pixels)).all()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.999])
def test_a_truncated_file_is_refused(file: Path, checkpoint: Checkpoint, share: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])

    with pytest.raises(CheckpointError, match=r"tiny.safetensors is damaged .*; fetch it again"):
        read_checkpoint(file)


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_a_file_that_cannot_be_read_is_named(kind: str, file: Path) -> None:
    if kind == "folder":
        file.mkdir()

    with pytest.raises(CheckpointError, match=r"cannot read the checkpoint .*tiny.safetensors"):
        read_checkpoint(file)


def test_weights_of_other_software_are_refused(file: Path) -> None:
    save_file({"a": np.ones(3, dtype=np.float32)}, file, {"format": "pt"})

    with pytest.raises(CheckpointError, match="no checkpoint of a super-network"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    "metadata",
    [{"space": None}, {"classes": "a, b"}, {"classes": "3"}, {"normalise": "{}"},
     {"normalise": '{"mean": [0], "std": [0]}'}, {"normalise": '{"mean": [0], "std": []}'},
     {"recipe": "[1, 2]"}],
    ids=str,
)  # fmt: skip
def test_wrong_metadata_are_refused(
    file: Path, checkpoint: Checkpoint, metadata: dict[str, str | None]
) -> None:
    rewritten(file, **metadata)

    with pytest.raises(CheckpointError, match="the metadata of the checkpoint are wrong"):
        read_checkpoint(file)


def test_weights_of_another_space_are_refused_with_both_names(
    file: Path, checkpoint: Checkpoint
) -> None:
    with pytest.raises(CheckpointError, match="weights of 'tiny', not of 'mobilenetv3'"):
        read_checkpoint(file, SPACES.get("mobilenetv3"))


def test_a_missing_tensor_is_named_with_the_shape_it_should_have(
    file: Path, checkpoint: Checkpoint
) -> None:
    rest = {name: value for name, value in checkpoint.tensors.items() if name != "slot1.expand"}
    write_checkpoint(file, replace(checkpoint, tensors=rest))

    with pytest.raises(CheckpointError, match=r"no tensor 'slot1.expand' \(512, 16, 3, 3\)"):
        read_checkpoint(file, SPACE)


def test_a_tensor_of_another_shape_is_refused_with_both_shapes(
    file: Path, checkpoint: Checkpoint
) -> None:
    other = {**checkpoint.tensors, "head": np.ones((10, 8), dtype=np.float32)}
    write_checkpoint(file, replace(checkpoint, tensors=other))

    with pytest.raises(CheckpointError, match=r"'head' has shape \(10, 8\); tiny needs \(10, 16\)"):
        read_checkpoint(file, SPACE)


def test_statistics_may_be_missing(file: Path, checkpoint: Checkpoint) -> None:
    rest = {n: v for n, v in checkpoint.tensors.items() if not n.endswith((".mean", ".var"))}
    write_checkpoint(file, replace(checkpoint, tensors=rest))

    assert set(read_checkpoint(file, SPACE).tensors) == set(rest)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_weights_that_are_no_numbers_are_not_written(
    file: Path, checkpoint: Checkpoint, value: float
) -> None:
    before = file.read_bytes()
    wild = {**checkpoint.tensors, "head": np.full((10, 16), value, dtype=np.float32)}

    with pytest.raises(CheckpointError, match="'head' holds values that are no numbers"):
        write_checkpoint(file, replace(checkpoint, tensors=wild))
    assert file.read_bytes() == before


def test_a_folder_in_the_way_is_named_and_nothing_left_behind(
    file: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()

    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        write_checkpoint(tmp_path / "sub", checkpoint)
    assert {path.name for path in tmp_path.iterdir()} == {"sub", "tiny.safetensors"}


def test_a_space_without_a_packaged_checkpoint_has_none() -> None:
    assert packaged("tiny") is None


@pytest.mark.parametrize("name", SPACES.names())
def test_packaged_checkpoints_serve_their_spaces(name: str) -> None:
    file = packaged(name)
    if file is not None:
        assert file.stat().st_size <= 13_000_000
        assert read_checkpoint(file, SPACES.get(name)).recipe
