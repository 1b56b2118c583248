"""The command line in this process, with a store and a folder of its own."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from devices.device import Target
from devices.local import resolve
from nas.cli.main import main
from nas.settings import Settings
from nas.store import SqlStore

if TYPE_CHECKING:
    from tests.conftest import World

RUN = "20260102-030405-abcd"


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Exit code.
        out: Its stdout.
        err: Its stderr.
    """

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


class Command(Protocol):
    """Runs `nas` with these arguments."""

    def __call__(self, *arguments: str) -> Ended: ...


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`NAS_HOME`, not there yet; the present folder and the measuring lock are our own too."""
    folder = tmp_path / "home"
    monkeypatch.setenv("NAS_HOME", str(folder))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def nas(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """`nas` as its script runs it, exit code and all."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["nas", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        text = capsys.readouterr()
        return Ended(code, text.out, text.err)

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def stored_run(home: Path) -> str:
    """A run that was stopped before anything was measured."""
    request = {
        "space": "mobilenetv3", "device": resolve(Target("local")).key, "budget_ms": 5.0
    }  # fmt: skip
    home.mkdir()
    with SqlStore(Settings(home).database) as store:
        store.open_run(RUN, json.dumps(request), "2026-01-02T03:04:05+00:00")
        store.finish_run(RUN, "stopped", None, None)
    return RUN


@pytest.fixture
def calibrated(home: Path, world: World) -> Path:
    """A predictor file where `nas predict` looks, as calibration leaves it."""
    target = resolve(Target("local")).key
    predictor = replace(world.predictor(), target=target)
    table = replace(world.table(world.networks(12), noise=0.01), target=target)
    file = Settings(home).predictor(target, world.space.name)
    file.parent.mkdir(parents=True)
    file.write_bytes(predictor.adapt(table).dumps())
    return file
