from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.store import SqlStore
from nas.tables import import_all_latency_tables, import_latency_table, imported_target
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.errors import UnknownNameError, UsageError
from search_spaces.spaces.mobilenetv3 import from_ofa, to_ofa

NB201, OFA = "nasbench201", "mobilenetv3"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD = """architecture,latency_ms,pixel3
nasbench201:012340,1.5,10
nasbench201:333333,2.25,20.5
"""


@pytest.fixture
def store() -> Iterator[SqlStore]:
    with SqlStore.in_memory() as opened:
        yield opened


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def write_npz(folder: Path, **changes: Any) -> Path:
    arrays: dict[str, Any] = {
        "arch": np.array([[0, 1, 2, 3, 4, 0], [3] * 6], dtype=np.int8),
        "devices": np.array(["titan_rtx_256", "pixel3"]),
        "latency_ms": np.array([[1.5, 10.0], [2.25, 20.5]], dtype=np.float32),
    }
    file = folder / "table.npz"
    np.savez(file, **{k: v for k, v in (arrays | changes).items() if v is not None})
    return file


def take(store: SqlStore, file: Path, **options: Any) -> Any:
    defaults: dict[str, Any] = {"space": NB201, "device": "pixel3", "now": NOW}
    return import_latency_table(store, file, **(defaults | options))


def ofa_row(arch: Architecture) -> list[int]:
    """A network as the public tables write it."""
    config = to_ofa(arch)
    return [*config["ks"], *config["e"], *config["d"], config["r"]]


# --- Good files --------------------------------------------------------------------------------


def test_a_csv_becomes_an_imported_table_with_its_provenance(
    store: SqlStore, tmp_path: Path
) -> None:
    file = write(tmp_path, GOOD)

    table = take(store, file, provenance={"source": "a paper, MIT"})

    assert (table.space, table.target, table.kind) == (NB201, "imported:pixel3", "imported")
    assert table.genes.tolist() == [[0, 1, 2, 3, 4, 0], [3] * 6]
    assert table.latency_ms.tolist() == [10.0, 20.5]
    assert table.relative_se.tolist() == [0.0, 0.0]
    assert table.provenance == {
        "source": "a paper, MIT",
        "device": "pixel3",
        "file": "table.csv",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "column": "pixel3",
        "rows": 2,
        "skipped_rows": 0,
        "imported_at": "2026-01-02T03:04:05.000000+00:00",
    }
    [stored] = store.latency_tables()
    assert stored.latency_ms.tolist() == table.latency_ms.tolist()
    assert stored.provenance == table.provenance
    assert store.measurements("imported:pixel3") == []


def test_columns_are_found_by_name_device_or_unit(store: SqlStore, tmp_path: Path) -> None:
    csv, npz = write(tmp_path, GOOD), write_npz(tmp_path)

    def first(file: Path, **options: Any) -> tuple[str, float]:
        table = take(store, file, **options)
        return table.target, float(table.latency_ms[0])

    assert first(csv, device="My Phone") == ("imported:my-phone", 1.5)
    assert first(csv, device="my phone", column="pixel3") == ("imported:my-phone", 10.0)
    assert first(npz, device="titan_rtx_256") == ("imported:titan-rtx-256", 1.5)
    assert first(npz, device="titan-rtx-256") == ("imported:titan-rtx-256", 1.5)
    assert first(npz, device="gpu", column="titan_rtx_256") == ("imported:gpu", 1.5)


def test_options_may_stand_in_columns_of_their_own(store: SqlStore, tmp_path: Path) -> None:
    names = [choice.name for choice in SPACES.get(NB201).choices]
    text = (
        f"latency_ms,{','.join(reversed(names))}\n"
        "1.5,none,avgpool,conv3x3,conv1x1,skip,none\n"
        "2.5,3,3,3, 3,3,3\n\n"
    )

    table = take(store, write(tmp_path, f"\ufeff{text}"))

    assert table.genes.tolist() == [[0, 1, 2, 3, 4, 0], [3] * 6]


def test_options_that_are_numbers_mean_themselves(store: SqlStore, tmp_path: Path) -> None:
    space = SPACES.get(OFA)
    arch = from_ofa({"ks": [5] * 20, "e": [4] * 20, "d": [4] * 5, "r": 160})
    names = [choice.name for choice in space.choices]
    options = [str(c.options[gene]) for c, gene in zip(space.choices, arch.genes, strict=True)]
    text = f"{','.join(names)},latency_ms\n{','.join(options)},7\n"

    table = take(store, write(tmp_path, text), space=OFA)

    assert table.genes.tolist() == [list(arch.genes)]
    with pytest.raises(UsageError, match=r"row 1: resolution is '2'; allowed: 128, 144"):
        take(store, write(tmp_path, text.replace("160", "2", 1)), space=OFA)


def test_once_for_all_rows_become_genes(store: SqlStore, tmp_path: Path) -> None:
    first = from_ofa({"ks": [3, 5, 7, 3] * 5, "e": [6, 4, 3, 6] * 5, "d": [2, 3, 4, 2, 3]})
    rows = np.array([ofa_row(first), ofa_row(first)], dtype=np.int16)
    # The third and fourth block of the first stage are absent: zeros are as good there.
    rows[1, [2, 3, 22, 23]] = 0
    second = from_ofa({"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "r": 128})
    rows = np.vstack([rows, ofa_row(second)])

    file = write_npz(tmp_path, arch=rows, latency_ms=np.full((3, 2), 1.0))
    table = take(store, file, space=OFA)

    assert [tuple(row) for row in table.genes.tolist()] == [first.genes, second.genes]


def test_once_for_all_rows_outside_the_space_are_wrong(store: SqlStore, tmp_path: Path) -> None:
    inside = from_ofa({"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "r": 128})
    rows = np.array([ofa_row(inside)] * 3)
    rows[1, -1], rows[2, 40] = 132, 5
    file = write_npz(tmp_path, arch=rows, latency_ms=np.full((3, 2), 1.0))

    with pytest.raises(UsageError, match=r"row 2: .*132; allowed.*; row 3: .*d\[0\] is 5"):
        take(store, file, space=OFA)

    table = take(store, file, space=OFA, skip_bad_rows=True)
    assert (len(table), table.provenance["skipped_rows"]) == (1, 2)


def test_all_devices_of_a_file_are_imported(store: SqlStore, tmp_path: Path) -> None:
    for file in (write_npz(tmp_path), write(tmp_path, GOOD.replace("latency_ms", "fpga"))):
        import_all_latency_tables(store, file, space=NB201, now=NOW)

    assert [(t.target, t.latency_ms.tolist()) for t in store.latency_tables()] == [
        ("imported:titan-rtx-256", [1.5, 2.25]),
        ("imported:pixel3", [10.0, 20.5]),
        ("imported:fpga", [1.5, 2.25]),
    ]
    with pytest.raises(UsageError, match="a column latency_ms, which names no device"):
        import_all_latency_tables(store, write(tmp_path, GOOD), space=NB201)


def test_what_is_imported_again_changes_nothing(store: SqlStore, tmp_path: Path) -> None:
    file = write_npz(tmp_path)
    take(store, file)
    take(store, file, now=datetime(2027, 1, 1, tzinfo=UTC))

    [table] = store.latency_tables()
    assert table.provenance["imported_at"].startswith("2026")


def test_a_table_of_one_column_needs_no_names(store: SqlStore, tmp_path: Path) -> None:
    file = write_npz(tmp_path, devices=None, latency_ms=np.array([1, 2]))

    assert take(store, file, device="fpga").latency_ms.tolist() == [1.0, 2.0]


def test_equal_rows_are_one_network(store: SqlStore, tmp_path: Path) -> None:
    table = take(store, write(tmp_path, GOOD + "nasbench201:012340,1.5,10\n"))

    assert len(table) == 2
    assert table.provenance["skipped_rows"] == 0


@given(values=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_every_row_of_a_good_file_is_imported(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], seed: int
) -> None:
    numbers = np.random.default_rng(seed).permutation(5**6)[: len(values)]
    keys = [f"nasbench201:{np.base_repr(number, 5).zfill(6)}" for number in numbers]
    rows = [f"{key},{value!r}" for key, value in zip(keys, values, strict=True)]
    file = write(tmp_path_factory.mktemp("t"), "\n".join(["architecture,latency_ms", *rows]))

    with SqlStore.in_memory() as store:
        take(store, file, device="box")
        [table] = store.latency_tables()

    found = [Architecture(NB201, tuple(row)).key for row in table.genes.tolist()]
    assert (found, table.latency_ms.tolist()) == (keys, values)


# --- Wrong rows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("nasbench201:012341,1,nan", "row 3: the latency is nan ms; it must be positive"),
        ("nasbench201:012341,1,inf", "row 3: the latency is inf ms"),
        ("nasbench201:012341,1,-1", "row 3: the latency is -1 ms; it must be positive"),
        ("nasbench201:012341,1,0", "row 3: the latency is 0 ms"),
        ("nasbench201:012341,1,", "row 3: the latency is '', which is no number"),
        ("nasbench201:012341,1,fast", "row 3: the latency is 'fast', which is no number"),
        ("nasbench201:012349,1,1", r"row 3: gene 5 \(edge\[2->3\]\) of nasbench201 is 9; allowed"),
        ("nasbench201:01234,1,1", "row 3: nasbench201 has 6 genes, 5 were given"),
        ("mobilenetv3:012340,1,1", "row 3: mobilenetv3:012340 belongs to the space"),
        ("|skip_connect~0|,1,1", "row 3: .* is not an architecture key"),
        ("nasbench201:012341,1", "row 3: 2 cells instead of 3"),
        ("nasbench201:012341,1,1,1", "row 3: 4 cells instead of 3"),
        ("nasbench201:012340,1,11", "row 3: the network of row 1 again, with 11 ms instead of 10"),
    ],
)
def test_a_wrong_row_is_refused_with_its_number_or_left_out(
    store: SqlStore, tmp_path: Path, row: str, words: str
) -> None:
    file = write(tmp_path, f"{GOOD}{row}\n")

    with pytest.raises(UsageError, match=words) as caught:
        take(store, file)
    assert "nothing was stored" in str(caught.value)
    assert "--skip-bad-rows" in str(caught.value)
    assert store.latency_tables() == []

    table = take(store, file, skip_bad_rows=True)
    assert table.latency_ms.tolist() == [10.0, 20.5]
    assert table.provenance["skipped_rows"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arch": np.array([[0] * 6, [0, 0, 5, 0, 0, 0]])}, "row 2: gene 2 .* is 5; allowed: 0=no"),
        ({"arch": np.array([[0] * 6, [300] * 6])}, "row 2: gene 0 .* is 300"),
        ({"latency_ms": np.array([[1, np.nan], [1, 2]])}, "row 1: the latency is nan ms"),
        ({"latency_ms": np.array([[1, 2], [1, -1]])}, "row 2: the latency is -1 ms"),
        ({"arch": np.zeros((2, 6), dtype=int)}, "row 2: the network of row 1 again"),
    ],
)
def test_a_wrong_row_of_an_npz_is_refused_or_left_out(
    store: SqlStore, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    file = write_npz(tmp_path, **changes)

    with pytest.raises(UsageError, match=words):
        take(store, file)
    with pytest.raises(UsageError, match=words):
        import_all_latency_tables(store, file, space=NB201)
    assert store.latency_tables() == []

    assert len(take(store, file, skip_bad_rows=True)) == 1


def test_many_wrong_rows_are_counted_and_a_few_shown(store: SqlStore, tmp_path: Path) -> None:
    rows = "".join(f"nasbench201:{n:06d},1,-1\n" for n in range(10, 15))

    with pytest.raises(UsageError, match=r"row 3: .*row 4: .*row 5: .*; and 2 more; nothing"):
        take(store, write(tmp_path, GOOD + rows))
    with pytest.raises(UsageError, match=r"no row is left of 5; row 1: .*; and 2 more"):
        take(store, write(tmp_path, f"{GOOD.splitlines()[0]}\n{rows}"), skip_bad_rows=True)


# --- Wrong files and names ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "which is no header; the first line must name the columns: architecture"),
        ("nasbench201:012340,1.5\nnasbench201:012341,2\n", "'nasbench201:012340,1.5', which is no"),
        ("architecture,latency_ms,latency_ms\n", "two columns 'latency_ms'"),
        ('architecture,latency_ms\n"nasbench201:012340,1.5\n', "is no CSV file in UTF-8"),
        ("architecture,latency_ms\n", "column latency_ms: no row is left of 0"),
    ],
)
def test_a_csv_of_another_form_is_refused(
    store: SqlStore, tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        take(store, write(tmp_path, text))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arch": None}, "table.npz has devices, latency_ms; it needs the numbers arch"),
        ({"latency_ms": None}, "has arch, devices; it needs"),
        ({"arch": np.zeros((2, 6))}, "has arch of type float64"),
        ({"arch": np.zeros((2, 5), dtype=int)}, "have 5 numbers, .*nasbench201 have 6; is --space"),
        ({"arch": np.zeros(12, dtype=int)}, r"has arch \(12,\), devices \(2,\)"),
        ({"latency_ms": np.ones((3, 2))}, r"latency_ms \(3, 2\); \(n, genes\), names"),
        ({"devices": np.array(["one"])}, r"devices \(1,\) and latency_ms \(2, 2\)"),
        ({"devices": np.array([1, 2])}, "has arch"),
        ({"arch": np.array([[None] * 6] * 2)}, "is no npz file of plain arrays, or a damaged"),
    ],
)
def test_an_npz_of_another_form_is_refused(
    store: SqlStore, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        take(store, write_npz(tmp_path, **changes))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_npz_is_refused(store: SqlStore, tmp_path: Path, share: float) -> None:
    file = write_npz(tmp_path)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])

    with pytest.raises(UsageError, match="is no npz file of plain arrays, or a damaged one"):
        take(store, file)


def test_other_files_are_refused(store: SqlStore, tmp_path: Path) -> None:
    (tmp_path / "noise.csv").write_bytes(b"\x00\xff\xfe" * 99)

    with pytest.raises(UsageError, match=r"noise\.csv is no CSV file in UTF-8"):
        take(store, tmp_path / "noise.csv")
    with pytest.raises(UsageError, match=r"cannot read .*nothing\.csv: No such file"):
        take(store, tmp_path / "nothing.csv")
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        take(store, tmp_path)


def test_unknown_names_are_told_with_the_known_ones(store: SqlStore, tmp_path: Path) -> None:
    file = write_npz(tmp_path)

    with pytest.raises(
        UnknownNameError, match=r"device 'pixel9'; did you mean pixel3\? known: pixel3, titan"
    ):
        take(store, file, device="pixel9")
    with pytest.raises(UnknownNameError, match="unknown column 'Pixel3'"):
        take(store, file, column="Pixel3")
    with pytest.raises(UnknownNameError, match="unknown search space 'nb201'"):
        take(store, file, space="nb201")
    with pytest.raises(UsageError, match="'--' is no name of a device"):
        take(store, file, device="--")
    assert store.latency_tables() == []


def test_columns_that_would_be_one_device_are_refused(store: SqlStore, tmp_path: Path) -> None:
    file = write_npz(tmp_path, devices=np.array(["pixel 3", "pixel_3"]))

    with pytest.raises(UsageError, match="several columns imported:pixel-3; import them one by"):
        import_all_latency_tables(store, file, space=NB201)
    assert imported_target("pixel 3") == imported_target("pixel_3")


# --- Public tables -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "space", "devices", "networks"),
    [("nasbench201", NB201, 27, 15625), ("fbnet", "fbnet", 27, 5000), ("ofa", OFA, 9, 1430)],
)
def test_public_tables_are_imported_whole(
    store: SqlStore, nas_data: Path, name: str, space: str, devices: int, networks: int
) -> None:
    file = nas_data / f"latency_{name}.npz"
    published = np.load(file)

    # Seven of ten rows of the once-for-all table have resolutions that our space leaves out.
    tables = import_all_latency_tables(store, file, space=space, skip_bad_rows=name == "ofa")

    assert [len(table) for table in tables] == [networks] * devices
    stored = store.latency_tables(space)
    assert [t.provenance["device"] for t in stored] == published["devices"].tolist()
    inside = np.isin(published["arch"][:, -1], (128, 144, 160, 176, 192, 208, 224))
    rows = inside if name == "ofa" else slice(None)
    for number, table in enumerate(stored):
        assert np.array_equal(table.latency_ms, published["latency_ms"][rows, number])
        if name != "ofa":
            assert np.array_equal(table.genes, published["arch"])
