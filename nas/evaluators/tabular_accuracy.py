"""Accuracies that others found by training every network of a space: looked up, not predicted."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nas.accuracy import AccuracyReport
from nas.errors import DatasetError
from nas.evaluator import SlotEvaluator
from nas.trial import Estimate
from search_spaces.architecture import FloatArray, GeneArray, IntArray, Population
from search_spaces.errors import UsageError
from search_spaces.space import SearchSpace

Dataset = Literal["cifar10", "cifar100"]
_TITLES: dict[Dataset, str] = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
NASBENCH201_FILE = "nasbench201_accuracy.npz"


@dataclass(frozen=True)
class TabularAccuracy:
    """A table of a whole space as an accuracy source; see `AccuracySource`.

    Attributes:
        space: The space.
        values: (size,) accuracy of every genotype [%], listed with the last gene fastest.
        weights: Whose weights the accuracies belong to.
        unit: Of the metric.
        name: Of the metric.
    """

    space: SearchSpace
    values: FloatArray
    weights: str
    unit: str
    name: str = "accuracy"

    @classmethod
    def nasbench201(
        cls, space: SearchSpace, data: Path | None, dataset: Dataset = "cifar10"
    ) -> TabularAccuracy:
        """Test accuracy of all cells of NAS-Bench-201, the mean over seeds.

        Source: Dong et al., "NATS-Bench", IEEE TPAMI 2021.

        Args:
            space: The space; its genes are the operators of the six edges as in the file.
            data: Folder of `nasbench201_accuracy.npz`, if there is one.
            dataset: What the networks were trained and tested on.

        Raises:
            DatasetError: If the file is missing, damaged or of another space.
        """
        if data is None or not (data / NASBENCH201_FILE).is_file():
            where = "NAS_DATA is not set" if data is None else f"{data} holds no such file"
            msg = (
                f"the accuracy of {space.name} is looked up in {NASBENCH201_FILE}, but {where}; "
                "set NAS_DATA to the folder of that file"
            )
            raise DatasetError(msg)
        title = _TITLES[dataset]
        return cls(
            space, _read(data / NASBENCH201_FILE, dataset, space),
            f"NATS-Bench, trained 200 epochs on {title}, imported",
            f"{title} test top-1 %, imported",
        )  # fmt: skip

    def __call__(self, population: Population) -> FloatArray:
        """(n,) top-1 [%]."""
        return self.values[_rows(population.genes, self.space)]

    def report(self, population: Population) -> AccuracyReport:
        """See `AccuracySource`; looked up, so the spread is 0: that of training anew is unknown."""
        nothing = np.zeros(len(population))
        no = np.zeros(len(population), dtype=bool)
        return AccuracyReport(self(population), nothing, nothing, no, no, self.weights)

    def evaluator(self) -> SlotEvaluator | None:
        """None: there is nothing more to find out."""
        return None

    def told(self, keys: Sequence[str], estimates: Sequence[Estimate]) -> TabularAccuracy:
        """This very source: it knows everything."""
        return self


def _rows(genes: GeneArray, space: SearchSpace) -> IntArray:
    """(n,) row of each genotype when all are listed with the last gene fastest."""
    return np.asarray(
        np.ravel_multi_index(tuple(genes.T.astype(np.int64)), tuple(space.option_counts)),
        dtype=np.int64,
    )


def _read(file: Path, dataset: Dataset, space: SearchSpace) -> FloatArray:
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as archive:
            genes = archive["arch"].astype(np.int8)
            column = archive["datasets"].tolist().index(dataset)
            accuracy = archive["test_accuracy_percent"][:, column].astype(np.float64)
        space.check_genes(genes)
        values = np.full(space.size, np.nan)
        values[_rows(genes, space)] = accuracy
    except (
        OSError, EOFError, KeyError, IndexError, ValueError, UsageError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        msg = f"{file} is damaged or no table of {space.name}: {error}; fetch it again"
        raise DatasetError(msg) from error
    missing = int(np.isnan(values).sum())
    if missing or not ((values >= 0.0) & (values <= 100.0)).all():
        msg = f"{file}: {missing} of {space.size} networks have no accuracy; fetch it again"
        raise DatasetError(msg)
    return values
