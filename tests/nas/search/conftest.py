"""The tiny space, registered; a measuring lock and a folder of our own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nas.request import SearchRequest
from nas.result import SearchResult
from tests.nas.search.tiny import Notes, register, service

Request = Callable[..., SearchRequest]


@pytest.fixture(autouse=True)
def tiny_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny space; the lock of a measurement that runs beside the tests is not ours to take."""
    register(monkeypatch)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def request_for() -> Request:
    """Make a request; the default budget is met by all networks but the largest."""

    def build(**fields: object) -> SearchRequest:
        default = {"space": "tiny", "budget_ms": 1000.0, "batch": 3, "max_measurements": 6,
                   "calibration_networks": 4}  # fmt: skip
        return SearchRequest.build(**(default | fields))

    return build


@dataclass(frozen=True)
class Finished:
    """A search that came to its end."""

    home: Path
    folder: Path
    result: SearchResult
    notes: Notes


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One search with a budget that is easily met, for all tests that only look at it."""
    home = tmp_path_factory.mktemp("finished")
    notes = Notes()
    request = SearchRequest.build(
        space="tiny", budget_ms=1000.0, batch=3, max_measurements=6, calibration_networks=4
    )
    with pytest.MonkeyPatch.context() as patch, service(home, notes) as opened:
        register(patch)
        patch.setenv("TMPDIR", str(home))
        patch.setattr(tempfile, "tempdir", str(home))
        result = opened.search(request, home / "out")
    return Finished(home, home / "out", result, notes)
