"""CIFAR-10 as arrays of bytes: read from Parquet, kept in one npz, no torch needed.

    python -m nas.supernet.data --prepare cifar10.npz --data FOLDER

writes the npz for machines that cannot decode JPEG images themselves.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import DatasetError
from nas.supernet.extras import require
from search_spaces.errors import NasError

DATASET = "cifar10"
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIZE = 32
# Mean and standard deviation of the training images, channel by channel, in units of full white.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)

_TRAIN_FILE, _TEST_FILE = "cifar10-train.parquet", "cifar10-test.parquet"
_VALIDATION = 5_000
_PARTS = ("train", "validation", "test")
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)

UInt8Array = NDArray[np.uint8]
LabelArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Images:
    """Pictures with their classes.

    Attributes:
        pixels: (n, 3, 32, 32) bytes, red, green, blue.
        labels: (n,) 0 to 9, in the order of `CLASSES`.
    """

    pixels: UInt8Array
    labels: LabelArray

    def __post_init__(self) -> None:
        """Refuse anything but CIFAR-10's shapes and classes."""
        count = len(self.labels)
        if self.pixels.shape != (count, 3, SIZE, SIZE) or self.pixels.dtype != np.uint8:
            msg = (
                f"{count} images need (n, 3, {SIZE}, {SIZE}) bytes; these are "
                f"{self.pixels.dtype} of shape {self.pixels.shape}"
            )
            raise DatasetError(msg)
        if count and (self.labels.min() < 0 or self.labels.max() >= len(CLASSES)):
            msg = f"labels must lie in 0 to {len(CLASSES) - 1}"
            raise DatasetError(msg)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.labels)

    def first(self, count: int) -> Images:
        """The first pictures, all if there are fewer."""
        return Images(self.pixels[:count], self.labels[:count])


@dataclass(frozen=True, slots=True)
class Cifar10:
    """The three parts that never mix.

    Attributes:
        train: The first 45,000 training images, to learn from.
        validation: The last 5,000 training images, to choose by.
        test: The test images at hand (8,000), to report once.
    """

    train: Images
    validation: Images
    test: Images

    def subset(self, count: int) -> Cifar10:
        """The first `count` images of each part, for trials."""
        return Cifar10(*(getattr(self, part).first(count) for part in _PARTS))


def normalise(pixels: UInt8Array) -> NDArray[np.float32]:
    """(n, 3, 32, 32) bytes to what networks are fed: mean 0, variance about 1 in each channel."""
    mean = np.array(MEAN, dtype=np.float32)[:, None, None]
    std = np.array(STD, dtype=np.float32)[:, None, None]
    return (pixels.astype(np.float32) / np.float32(255.0) - mean) / std


def load_cifar10(
    folder: Path | None, cache: Path | None = None, *, subset: int | None = None
) -> Cifar10:
    """Read CIFAR-10 from its cache, else decode it (8 s) and write the cache.

    Args:
        folder: Where `cifar10-train.parquet` and `cifar10-test.parquet` lie.
        cache: A file `*.npz`, or a folder in which `cifar10.npz` is kept (180 MB); none is kept if
            not given.
        subset: Only that many images of each part, and no cache is written.

    Raises:
        DatasetError: If neither is there, or a file is damaged.
        MissingExtraError: If pyarrow or pillow is needed and not installed.
    """
    if cache is not None and cache.suffix != ".npz":
        cache = cache / f"{DATASET}.npz"
    if subset is not None and subset < 1:
        msg = f"a subset of {subset} images is none; give 1 or more"
        raise DatasetError(msg)
    if cache is not None and cache.exists():
        data = read_npz(cache)
        return data if subset is None else data.subset(subset)
    if folder is None or not (folder / _TRAIN_FILE).exists():
        where = f"the folder {folder}" if folder else "no folder"
        also = f" and there is no cache {cache}" if cache else ""
        msg = (
            f"{where} holds {_TRAIN_FILE}{also}; give --data FOLDER (or NAS_DATA) with "
            f"{_TRAIN_FILE} and {_TEST_FILE}, or --cache FILE.npz made by "
            "python -m nas.supernet.data --prepare FILE.npz"
        )
        raise DatasetError(msg)
    train, validation = _decode(folder / _TRAIN_FILE, _VALIDATION, subset)
    test, _ = _decode(folder / _TEST_FILE, 0, subset)
    data = Cifar10(train, validation, test)
    if cache is not None and subset is None:
        write_npz(cache, data)
    return data


def _decode(file: Path, last: int, subset: int | None) -> tuple[Images, Images]:
    """The images of a file but the last ones, and the last ones; a subset of either."""
    parquet: Any = require("pyarrow.parquet", "data")
    try:
        table = parquet.read_table(file, columns=["image", "label"])
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        msg = f"cannot read {file}: {error}; fetch the file again"
        raise DatasetError(msg) from error
    first = table.num_rows - last
    head, tail = table.slice(0, first), table.slice(first)
    if subset is not None:
        head, tail = head.slice(0, subset), tail.slice(0, subset)
    return _images(head, file), _images(tail, file)


def _images(table: Any, file: Path) -> Images:
    pil: Any = require("PIL.Image", "data")
    pixels = np.empty((table.num_rows, SIZE, SIZE, 3), dtype=np.uint8)
    for row, image in enumerate(table.column("image").to_pylist()):
        try:
            pixels[row] = np.asarray(pil.open(io.BytesIO(image["bytes"])).convert("RGB"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            msg = f"{file}: image {row} is no {SIZE}×{SIZE} picture: {error}"
            raise DatasetError(msg) from error
    labels = np.array(table.column("label").to_pylist(), dtype=np.int64)
    return Images(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels)


def write_npz(file: Path, data: Cifar10) -> None:
    """Keep decoded images in one file, whole or not at all.

    Raises:
        DatasetError: If it cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for part in _PARTS:
        images: Images = getattr(data, part)
        arrays |= {f"{part}_pixels": images.pixels, f"{part}_labels": images.labels}
    temporary = file.with_name(f".{file.stem}.{os.getpid()}.npz")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # its one keyword is no name here
        temporary.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        msg = f"cannot write {file}: {error.strerror}; name another cache"
        raise DatasetError(msg) from error


def read_npz(file: Path) -> Cifar10:
    """Read what `write_npz` wrote.

    Raises:
        DatasetError: If it is damaged or something else.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            parts = [
                Images(archive[f"{part}_pixels"], archive[f"{part}_labels"]) for part in _PARTS
            ]
    except (*_DAMAGED, DatasetError) as error:
        msg = f"{file} is no cache of {DATASET}: {error}; delete it, and it is made again"
        raise DatasetError(msg) from error
    return Cifar10(*parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the npz for another machine; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nas.supernet.data", description=__doc__)
    parser.add_argument("--prepare", type=Path, required=True, help="npz file to write")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("NAS_DATA"), help="folder of the Parquet files"
    )
    options = parser.parse_args(arguments)
    try:
        data = load_cifar10(options.data)
        write_npz(options.prepare, data)
    except NasError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stderr.write(f"{options.prepare}: {len(data.train)} images to train on\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
