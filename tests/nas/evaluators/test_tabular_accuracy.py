from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from nas.errors import DatasetError
from nas.evaluators.accuracy import accuracy_source
from nas.evaluators.tabular_accuracy import NASBENCH201_FILE, TabularAccuracy
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.moves import sample

SPACE = SPACES.get("nasbench201")


@pytest.fixture(scope="module")
def file(nas_data: Path) -> Path:
    return nas_data / NASBENCH201_FILE


def test_every_network_has_the_accuracy_of_its_row(file: Path) -> None:
    with np.load(file) as archive:
        genes, accuracy = archive["arch"], archive["test_accuracy_percent"]
    networks = SPACE.population([Architecture("nasbench201", tuple(row)) for row in genes.tolist()])

    ten = TabularAccuracy.nasbench201(SPACE, file.parent)
    hundred = TabularAccuracy.nasbench201(SPACE, file.parent, "cifar100")

    assert ten(networks) == pytest.approx(accuracy[:, 0])
    assert hundred(networks) == pytest.approx(accuracy[:, 1])


def test_the_best_cell_of_the_paper_is_at_the_top(nas_data: Path) -> None:
    """Source: Dong and Yang, "NAS-Bench-201", 2020, table 5: the optimum reaches 94.37 %."""
    source = accuracy_source("nasbench201", nas_data)

    assert isinstance(source, TabularAccuracy)
    assert source.values.max() == pytest.approx(94.37, abs=0.01)
    assert source.values.min() == pytest.approx(10.0, abs=0.1)


def test_a_report_says_that_the_values_are_imported_and_whose_they_are(nas_data: Path) -> None:
    networks = sample(SPACE, 5, np.random.default_rng(0))

    report = accuracy_source("nasbench201", nas_data).report(networks)

    assert report.weights == "NATS-Bench, trained 200 epochs on CIFAR-10, imported"
    assert (report.std_percent == 0).all()
    assert not report.extrapolated.any()


def test_a_table_has_no_dear_look_and_learns_nothing(nas_data: Path) -> None:
    source = accuracy_source("nasbench201", nas_data)

    assert source.evaluator() is None
    assert source.told([], []) is source


@pytest.mark.parametrize(
    ("folder", "says"),
    [(None, "NAS_DATA is not set"), (Path("/nowhere"), "/nowhere holds no such")],
)
def test_a_missing_table_is_named_with_where_it_is_looked_for(
    folder: Path | None, says: str
) -> None:
    with pytest.raises(DatasetError, match=f"{NASBENCH201_FILE}, but {says}"):
        TabularAccuracy.nasbench201(SPACE, folder)


@pytest.mark.parametrize("kind", ["cut", "text", "rows", "operator", "nan", "column"])
def test_a_damaged_table_is_refused(kind: str, file: Path, tmp_path: Path) -> None:
    with np.load(file) as archive:
        columns = {name: archive[name] for name in archive.files}
    match kind:
        case "rows":
            columns = {**columns, "arch": columns["arch"][:-1],
                       "test_accuracy_percent": columns["test_accuracy_percent"][:-1]}  # fmt: skip
        case "operator":
            columns["arch"] = np.where(columns["arch"] == 4, 5, columns["arch"])
        case "nan":
            columns["test_accuracy_percent"][7] = np.nan
        case "column":
            del columns["datasets"]
    stream = io.BytesIO()
    np.savez(stream, **columns)
    data = {"cut": file.read_bytes()[:1000], "text": b"accuracy"}.get(kind, stream.getvalue())
    (tmp_path / NASBENCH201_FILE).write_bytes(data)

    with pytest.raises(DatasetError, match="fetch it again"):
        TabularAccuracy.nasbench201(SPACE, tmp_path)
