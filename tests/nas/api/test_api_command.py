"""What `nas serve` refuses before it answers anybody."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.cli.main import main

Serve = Callable[..., tuple[int, str]]


@pytest.fixture
def serve(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Serve:
    """`nas serve` in this process: its exit code and what it wrote to stderr."""
    monkeypatch.setenv("NAS_HOME", str(home))
    monkeypatch.delenv("NAS_TOKEN", raising=False)

    def run(*options: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["nas", "serve", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_a_missing_part_names_the_extra(
    serve: Serve, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == missing or name.startswith("nas.api"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    code, error = serve("--port", "0")

    assert code == 1
    assert error == (
        f"nas: {missing} is missing; install: pip install 'hardware-aware-nas[service]'\n"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_letting_everybody_in_is_for_this_machine_only(serve: Serve, host: str) -> None:
    code, error = serve("--no-auth", "--host", host)

    assert code == 2
    assert "127.0.0.1 only" in error


def test_a_port_that_is_taken_is_said_in_a_sentence(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, error = serve("--port", str(port))

    assert code == 1
    assert error.startswith(f"nas: cannot listen on 127.0.0.1 port {port}: ")
    assert "--port 0" in error


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_what_is_no_port_is_a_usage_error(serve: Serve, port: str) -> None:
    code, error = serve("--port", port)

    assert code == 2
    assert "0 to 65535" in error


def test_a_host_that_is_not_this_machine_is_said_in_a_sentence(serve: Serve) -> None:
    code, error = serve("--host", "192.0.2.1", "--port", "0")

    assert code == 1
    assert "cannot listen on 192.0.2.1" in error


def test_a_token_file_that_is_a_folder_is_said_in_a_sentence(serve: Serve, tmp_path: Path) -> None:
    code, error = serve("--token-file", str(tmp_path))

    assert code == 1
    assert "cannot read the token file" in error
