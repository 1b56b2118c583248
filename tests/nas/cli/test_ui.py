from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from nas.cli import ui as door
from search_spaces.errors import NasError


class StartedError(Exception):
    """Instead of the server that would take this process's place."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []

    def note(*arguments: Any) -> None:
        calls.append(arguments)
        raise StartedError

    monkeypatch.setattr(os, "execve", note)
    return calls


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_streamlit_is_started_quietly_on_this_machine_only(
    started: list[Any], tmp_path: Path
) -> None:
    port = free_port()
    with pytest.raises(StartedError):
        door.ui(port=port, home=tmp_path)

    ((executable, command, environment),) = started
    assert executable == sys.executable
    assert command[1:4] == ["-m", "streamlit", "run"]
    assert Path(command[4]).name == "app.py"
    assert Path(command[4]).is_file()
    options = dict(zip(command[5::2], command[6::2], strict=True))
    assert options["--server.address"] == "127.0.0.1"
    assert options["--server.port"] == str(port)
    assert options["--server.headless"] == "true"
    assert options["--browser.gatherUsageStats"] == "false"
    assert options["--server.fileWatcherType"] == "none"
    assert environment["NAS_HOME"] == str(tmp_path)


def test_listening_for_everybody_is_said(
    started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StartedError):
        door.ui(host="0.0.0.0", port=free_port())

    assert "everybody who reaches" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["streamlit", "plotly"])
def test_a_missing_extra_is_named(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == missing else find(name))

    with pytest.raises(
        NasError, match=rf"{missing}.*pip install 'hardware-aware-nas\[dashboard\]'"
    ):
        door.ui(port=free_port())
    assert started == []


def test_a_port_that_is_taken_is_refused(started: list[Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])

        with pytest.raises(NasError, match=f"cannot listen on 127.0.0.1:{port}.*another"):
            door.ui(port=port)
    assert started == []


def test_the_door_loads_neither_streamlit_nor_the_dashboard() -> None:
    code = (
        "import sys, nas.cli.ui as door; door._app(); "
        "print(*[n for n in ('streamlit', 'plotly', 'dashboard') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
