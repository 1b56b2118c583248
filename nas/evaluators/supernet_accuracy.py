"""Accuracy of sub-networks of a trained super-network: evaluated on images, else predicted.

The dear look cuts a network out of the shared weights, takes its batch-norm statistics anew and
counts right answers on validation images. The cheap value is a Gaussian process through all dear
looks, those that came with the checkpoint and those of the run.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from nas.accuracy import AccuracyReport
from nas.errors import CheckpointError, DatasetError, InvalidRequestError
from nas.evaluator import SlotEvaluator
from nas.supernet.checkpoint import Checkpoint, packaged, read_checkpoint
from nas.supernet.data import load_cifar10
from nas.supernet.inference import Float32Array, LabelArray
from nas.supernet.subnet import RECALIBRATION_IMAGES, count_correct, recalibrated
from nas.supernet.surrogate import Surrogate
from nas.trial import Estimate, Failure
from search_spaces.architecture import Architecture, FloatArray, Population
from search_spaces.errors import UsageError
from search_spaces.space import SearchSpace

METRIC = "accuracy"
VALIDATION_IMAGES = 1000
_FILES = ("cifar10-train.parquet", "cifar10-test.parquet")
_DAMAGED = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, UsageError)


@dataclass(frozen=True)
class SupernetAccuracy:
    """An accuracy source on shared weights; see `AccuracySource`.

    Attributes:
        space: The space.
        file: The checkpoint.
        checkpoint: What it holds.
        data: Folder of the images; None if networks can only be predicted.
        surrogate: Fitted to all networks evaluated so far.
        images: Validation images of one dear look.
        name: Of the metric.
        unit: Of the metric.
    """

    space: SearchSpace
    file: Path
    checkpoint: Checkpoint
    data: Path | None
    surrogate: Surrogate
    images: int = VALIDATION_IMAGES
    name: str = METRIC
    unit: str = "CIFAR-10 top-1 %, shared weights"

    @classmethod
    def open(
        cls, space: SearchSpace, data: Path | None, file: Path | None = None
    ) -> SupernetAccuracy:
        """Read a checkpoint and the evaluations that came with it.

        Args:
            space: The space.
            data: Folder with the CIFAR-10 files, or None.
            file: The checkpoint; the packaged one if not given.

        Raises:
            InvalidRequestError: If no checkpoint is packaged, or neither images nor evaluations
                are there, so that nothing could be said.
            CheckpointError: If the checkpoint does not serve the space.
        """
        file = file or packaged(space.name)
        if file is None:
            msg = (
                f"space {space.name!r} comes without a trained super-network here; train one with "
                "`nas train supernet`"
            )
            raise InvalidRequestError(msg)
        checkpoint = read_checkpoint(file, space)
        surrogate = read_evaluations(evaluations_file(file), space)
        if data is None and not len(surrogate):
            msg = (
                f"networks of {space.name} must be evaluated on images; set NAS_DATA to the folder "
                f"of {' and '.join(_FILES)}"
            )
            raise InvalidRequestError(msg)
        return cls(space, file, checkpoint, data, surrogate)

    def __call__(self, population: Population) -> FloatArray:
        """(n,) expected top-1 [%]."""
        return self.surrogate.mean(population)

    def report(self, population: Population) -> AccuracyReport:
        """See `AccuracySource`; evaluated networks too are shown as the process sees them.

        A single look is off by a point or two, and the best of many looks is the luckiest one.
        """
        mean, std, extrapolated = self.surrogate.predict(population)
        nothing = np.zeros(len(mean))
        return AccuracyReport(
            mean, std, nothing, nothing.astype(bool), extrapolated, self.checkpoint.weights
        )

    def evaluator(self) -> SlotEvaluator | None:
        """The dear look; None without images.

        Raises:
            DatasetError: If the folder does not hold them.
        """
        if self.data is None:
            return None
        missing = [name for name in _FILES if not (self.data / name).is_file()]
        if missing:
            msg = f"NAS_DATA ({self.data}) holds no {missing[0]}; networks are evaluated on it"
            raise DatasetError(msg)
        return SupernetEvaluator(
            self.space, self.file, self.checkpoint.sha256, self.data, self.images
        )

    def told(self, keys: Sequence[str], estimates: Sequence[Estimate]) -> SupernetAccuracy:
        """With what was evaluated; this very source if it is nothing of this metric."""
        pairs = [
            (Architecture.parse(key), estimate)
            for key, estimate in zip(keys, estimates, strict=True)
            if estimate.metric == METRIC
        ]
        if not pairs:
            return self
        genes = self.space.canonical(self.space.population([arch for arch, _ in pairs]).genes)
        surrogate = self.surrogate.told(
            genes,
            np.array([estimate.value for _, estimate in pairs]),
            np.array([estimate.std for _, estimate in pairs]),
            np.array([int(estimate.facts.get("images", 0)) for _, estimate in pairs]),
        )
        return replace(self, surrogate=surrogate)


@dataclass(frozen=True)
class SupernetEvaluator:
    """Top-1 of one sub-network on validation images; see `SlotEvaluator`.

    It travels to other processes as names of files; each process reads them once.

    Attributes:
        space: The space.
        file: The checkpoint.
        sha256: What it must be, there as here.
        data: Folder of the images.
        images: Validation images.
        recalibration: Training images.
        metric: `accuracy`.
    """

    space: SearchSpace
    file: Path
    sha256: str
    data: Path
    images: int = VALIDATION_IMAGES
    recalibration: int = RECALIBRATION_IMAGES
    metric: str = METRIC

    def evaluate_one(self, key: str) -> Estimate | Failure:
        """See `SlotEvaluator`."""
        material = _material(self.file, self.sha256, self.data, self.images, self.recalibration)
        try:
            graph = self.space.graph(self.space.canonical_arch(Architecture.parse(key)))
            folded = recalibrated(graph, material.checkpoint.tensors, material.recalibration)
            right = count_correct(graph, folded, material.inputs, material.labels)
        except UsageError as error:
            return Failure(str(error))
        count = len(material.labels)
        return Estimate(
            METRIC, 100.0 * right / count, binomial_sd_percent(right, count),
            {
                "kind": "evaluated",
                "dataset": material.checkpoint.dataset,
                "images": count,
                "recalibrated_on": len(material.recalibration),
                "weights": material.checkpoint.weights,
                "checkpoint_sha256": material.checkpoint.sha256,
            },
        )  # fmt: skip


def binomial_sd_percent(right: float, count: int) -> float:
    """Standard deviation of a share of `count` images [points].

    One right and one wrong answer are added, so that no finite number of images makes certain.

    Example:
        >>> round(binomial_sd_percent(900, 1000), 2)
        0.95
        >>> binomial_sd_percent(10, 10) > 0
        True
    """
    share = (right + 1) / (count + 2)
    return float(100.0 * np.sqrt(share * (1.0 - share) / count))


@dataclass(frozen=True)
class _Material:
    """What every look of a process needs.

    Attributes:
        checkpoint: Shared weights.
        recalibration: (r, 3, 32, 32) training images, normalised.
        inputs: (n, 3, 32, 32) validation images, normalised.
        labels: (n,) their classes.
    """

    checkpoint: Checkpoint
    recalibration: Float32Array
    inputs: Float32Array
    labels: LabelArray


@lru_cache(maxsize=2)
def _material(file: Path, sha256: str, data: Path, images: int, recalibration: int) -> _Material:
    """Read once a process.

    Raises:
        CheckpointError: If the checkpoint is not the one that was asked for.
        DatasetError: If images are missing.
        MissingExtraError: If what decodes images is not installed.
    """
    checkpoint = read_checkpoint(file)
    if checkpoint.sha256 != sha256:
        msg = f"{file} has SHA-256 {checkpoint.sha256[:12]}…, not {sha256[:12]}…; it was changed"
        raise CheckpointError(msg)
    pictures = load_cifar10(data, subset=max(images, recalibration))
    train, validation = pictures.train.first(recalibration), pictures.validation.first(images)
    if len(train) < recalibration or len(validation) < images:
        msg = (
            f"{data} holds {len(train)} images to recalibrate with and {len(validation)} to judge "
            f"by; {recalibration} and {images} are needed"
        )
        raise DatasetError(msg)
    return _Material(
        checkpoint, checkpoint.normalised(train.pixels), checkpoint.normalised(validation.pixels),
        validation.labels,
    )  # fmt: skip


def evaluations_file(checkpoint: Path) -> Path:
    """Where evaluations of a checkpoint's networks lie: beside it."""
    return checkpoint.with_suffix(".accuracy.npz")


def read_evaluations(file: Path, space: SearchSpace) -> Surrogate:
    """A surrogate fitted to kept evaluations; an empty one if there is no such file.

    Args:
        file: npz with `genes` (m, genes), `accuracy_percent` (m,) and the number of `images`.
        space: The space.

    Raises:
        CheckpointError: If the file is damaged.
    """
    empty = Surrogate.empty(space)
    if not file.is_file():
        return empty
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as archive:
            genes = archive["genes"].astype(np.int8)
            share = archive["accuracy_percent"].astype(np.float64) / 100.0
            images = int(archive["images"])
        space.check_genes(genes)
        if share.shape != (len(genes),) or not ((share >= 0.0) & (share <= 1.0)).all():
            msg = f"{len(genes)} networks need as many accuracies in percent"
            raise ValueError(msg)
    except _DAMAGED as error:
        msg = f"{file} is damaged: {error}; delete it or make it again"
        raise CheckpointError(msg) from error
    std = np.array([binomial_sd_percent(right, images) for right in share * images])
    return empty.told(space.canonical(genes), 100.0 * share, std, np.full(len(genes), images))
