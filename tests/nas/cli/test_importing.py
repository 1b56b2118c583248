from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nas.cli import main
from nas.cli.importing import app
from nas.settings import Settings
from nas.store import SqlStore

if TYPE_CHECKING:
    from tests.nas.cli.conftest import Command

COMMAND = ("import", "latency-table")


@pytest.fixture(autouse=True)
def registered() -> None:
    """`nas import`, whether or not `nas` has it already."""
    if "import" not in {group.name for group in main.app.registered_groups}:
        main.app.add_typer(app, name="import")


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Two cells on two devices; one latency is not there."""
    file = tmp_path / "cells.npz"
    np.savez(
        file,
        arch=np.array([[0, 1, 2, 3, 4, 0], [3] * 6], dtype=np.int8),
        devices=np.array(["titan_rtx_256", "pixel3"]),
        latency_ms=np.array([[1.5, 10.0], [2.25, -1.0]]),
    )
    return str(file)


def test_a_table_is_imported_and_told(nas: Command, home: Path, table: str) -> None:
    ended = nas(*COMMAND, table, "--space", "nasbench201", "--device", "titan-rtx-256",
                "--source", "a paper", "-o", "json")  # fmt: skip

    assert (ended.code, ended.err) == (0, "")
    assert ended.json == [
        {
            "device": "titan-rtx-256",
            "target": "imported:titan-rtx-256",
            "space": "nasbench201",
            "kind": "imported",
            "networks": 2,
            "skipped_rows": 0,
            "lowest_ms": 1.5,
            "highest_ms": 2.25,
        }
    ]
    with SqlStore(Settings(home).database) as store:
        [stored] = store.latency_tables("nasbench201", "imported:titan-rtx-256")
    assert stored.provenance["source"] == "a paper"
    assert stored.provenance["column"] == "titan_rtx_256"


def test_all_devices_are_imported_without_wrong_rows(nas: Command, home: Path, table: str) -> None:
    options = (*COMMAND, table, "--space", "nasbench201", "--all-devices")

    refused = nas(*options)
    ended = nas(*options, "--skip-bad-rows")

    assert refused.code == 2
    assert "column pixel3: row 2: the latency is -1 ms" in refused.err
    assert ended.code == 0
    assert "imported:titan-rtx-256" in ended.out
    assert "imported:pixel3" in ended.out
    with SqlStore(Settings(home).database) as store:
        assert [len(one) for one in store.latency_tables()] == [2, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--device", "pixel9"), "unknown device 'pixel9'; did you mean pixel3? known: pixel3, ti"),
        ((), "name one device with --device"),
        (("--device", "pixel3", "--all-devices"), "or take all with --all-devices"),
        (("--all-devices", "--column", "pixel3"), "or take all with --all-devices"),
    ],
)
def test_a_wrong_wish_is_a_usage_error(
    nas: Command, table: str, options: tuple[str, ...], words: str
) -> None:
    ended = nas(*COMMAND, table, "--space", "nasbench201", *options)

    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
