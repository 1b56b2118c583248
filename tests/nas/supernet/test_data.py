from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from nas.errors import DatasetError, MissingExtraError
from nas.supernet import data as module
from nas.supernet.data import (
    CLASSES,
    Cifar10,
    Images,
    load_cifar10,
    main,
    normalise,
    read_npz,
    write_npz,
)
from nas.supernet.extras import require


def images(count: int, seed: int = 0) -> Images:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 3, 32, 32)).astype(np.uint8)
    return Images(pixels, rng.integers(0, 10, count))


@pytest.fixture
def small() -> Cifar10:
    return Cifar10(images(9), images(5, 1), images(4, 2))


def same(first: Images, second: Images) -> bool:
    return bool((first.pixels == second.pixels).all() and (first.labels == second.labels).all())


def test_a_cache_gives_back_what_was_kept(small: Cifar10, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "cifar10.npz"
    write_npz(file, small)

    found = load_cifar10(None, tmp_path / "deep")

    assert all(same(getattr(found, part), getattr(small, part)) for part in ("train", "test"))
    assert len(load_cifar10(None, file, subset=3).validation) == 3


@pytest.mark.parametrize("content", [b"", b"no zip", "cut", "foreign"])
def test_a_damaged_cache_is_refused(small: Cifar10, tmp_path: Path, content: bytes | str) -> None:
    file = tmp_path / "cifar10.npz"
    write_npz(file, small)
    if content == "cut":
        content = file.read_bytes()[:5000]
    elif content == "foreign":
        stream = io.BytesIO()
        np.savez(stream, numbers=np.zeros(3))
        content = stream.getvalue()
    assert isinstance(content, bytes)
    file.write_bytes(content)

    with pytest.raises(DatasetError, match="delete it, and it is made again"):
        read_npz(file)


def test_missing_files_are_named_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cifar10-train\.parquet.*--data FOLDER.*--prepare"):
        load_cifar10(tmp_path)
    with pytest.raises(DatasetError, match="no folder"):
        load_cifar10(None, tmp_path / "absent.npz")


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install '.[data]'")
    (tmp_path / "cifar10-train.parquet").write_bytes(b"PAR1 but not really")

    with pytest.raises(DatasetError, match="fetch the file again"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("pixels", "labels"),
    [
        (np.zeros((2, 3, 28, 28), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((2, 3, 32, 32), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 3, 32, 32), np.uint8), np.array([0, 10])),
        (np.zeros((2, 3, 32, 32), np.uint8), np.zeros(3, np.int64)),
    ],
)
def test_other_shapes_and_classes_are_refused(pixels: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(DatasetError):
        Images(pixels, labels)


def test_an_empty_subset_is_refused(small: Cifar10, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="1 or more"):
        load_cifar10(None, tmp_path, subset=0)


def test_normalised_pictures_have_the_mean_of_black_and_white_in_units_of_spread() -> None:
    black_and_white = np.zeros((1, 3, 32, 32), np.uint8)
    black_and_white[..., :16] = 255

    x = normalise(black_and_white)

    assert x.dtype == np.float32
    assert x[0, 0, 0, 0] == pytest.approx((1 - 0.4914) / 0.2470, rel=1e-5)
    assert x[0, 2, 0, -1] == pytest.approx(-0.4465 / 0.2616, rel=1e-5)


def test_a_missing_package_is_missed_with_the_command_that_brings_it() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'hardware-aware-nas\[train\]'"):
        require("no_such_package.part", "train")


@pytest.mark.slow
def test_real_pictures_come_in_three_parts_that_never_mix(nas_data: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install '.[data]'")
    pytest.importorskip("PIL", reason="pillow is not installed: pip install '.[data]'")

    found = load_cifar10(nas_data, subset=300)

    assert [len(part) for part in (found.train, found.validation, found.test)] == [300] * 3
    assert set(found.train.labels) == set(range(len(CLASSES)))
    x = normalise(found.train.pixels)
    assert np.abs(x.mean((0, 2, 3))).max() < 0.2
    assert x.std((0, 2, 3)) == pytest.approx(np.ones(3), abs=0.15)
    pictures = {picture.tobytes() for picture in found.train.pixels}
    assert not pictures & {picture.tobytes() for picture in found.validation.pixels}


@pytest.mark.slow
def test_the_cache_for_another_machine_is_made_from_the_command_line(
    nas_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install '.[data]'")
    whole = module.load_cifar10
    monkeypatch.setattr(module, "load_cifar10", lambda folder: whole(folder, subset=20))
    file = tmp_path / "out.npz"

    assert main(["--prepare", str(file), "--data", str(nas_data)]) == 0
    assert len(read_npz(file).test) == 20
    assert main(["--prepare", str(file), "--data", str(tmp_path)]) == 1
