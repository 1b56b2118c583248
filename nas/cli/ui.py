"""`nas ui`: the explorer of stored runs, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def ui(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port.")] = 8501,
    home: Annotated[
        Path | None, typer.Option("--home", help="Folder of the database [NAS_HOME].")
    ] = None,
) -> None:
    """Explore stored runs in a browser; Ctrl-C ends it."""
    import os
    import sys

    app = _app()
    _check_free(host, port)
    environment = dict(os.environ)
    if home is not None:
        environment["NAS_HOME"] = str(home.expanduser().absolute())
    if host not in _LOOPBACK:
        sys.stderr.write(f"nas: everybody who reaches {host}:{port} can see all runs\n")
    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        # The colours of the pictures are chosen for a light ground.
        "theme.base": "light",
        "theme.primaryColor": "#0072B2",
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-m", "streamlit", "run", str(app), *flags]
    sys.stdout.flush()
    # In our place, so that signals meant for us reach the server.
    os.execve(sys.executable, command, environment)


def _app() -> Path:
    """The explorer's entry point, found without importing it.

    Raises:
        NasError: If Streamlit or Plotly is not installed.
    """
    from importlib.util import find_spec

    from search_spaces.errors import NasError

    missing = [name for name in ("streamlit", "plotly") if find_spec(name) is None]
    if missing:
        msg = (
            f"the explorer needs {' and '.join(missing)}; install with: "
            "pip install 'hardware-aware-nas[dashboard]'"
        )
        raise NasError(msg)
    found = find_spec("dashboard")
    if found is None or not found.submodule_search_locations:
        msg = "the explorer is not part of this installation; install hardware-aware-nas again"
        raise NasError(msg)
    return Path(next(iter(found.submodule_search_locations))) / "app.py"


def _check_free(host: str, port: int) -> None:
    """Refuse a port that is taken, before a server says so in its own words.

    Raises:
        NasError: If the address cannot be listened on.
    """
    import socket

    from search_spaces.errors import NasError

    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        msg = f"cannot listen on {host}:{port}: {error.strerror}; give another --host or --port"
        raise NasError(msg) from error
