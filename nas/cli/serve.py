"""`nas serve`: the use cases over HTTP, for other programs, agents and the explorer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nas.api.auth import Token

_PARTS = frozenset({"fastapi", "starlette", "uvicorn", "anyio"})


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port; 0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File with the bearer token, made if missing."),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Let everybody on this machine in without a token.")
    ] = False,
) -> None:
    """Serve predictions, searches and agents over HTTP until Ctrl-C or SIGTERM."""
    try:
        from nas.api.auth import find_token
        from nas.api.server import is_loopback, listen
        from nas.api.server import serve as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in _PARTS:
            raise
        from search_spaces.errors import NasError

        msg = f"{error.name} is missing; install: pip install 'hardware-aware-nas[service]'"
        raise NasError(msg) from error
    import logging

    from nas.errors import InvalidRequestError
    from nas.settings import Settings

    if no_auth and not is_loopback(host):
        msg = f"--no-auth would let everybody in who reaches {host}; use it on 127.0.0.1 only"
        raise InvalidRequestError(msg)
    settings = Settings.from_environment()
    token = None if no_auth else find_token(settings, token_file)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    listening = listen(host, port)
    if not is_loopback(host):
        sys.stderr.write(
            f"nas: warning: {host} can be reached from other machines, and without TLS whoever "
            "listens on the way reads the token; put a TLS proxy or an SSH tunnel before it\n"
        )
    sys.stdout.write(f"listening on {listening.url}\n{_how_to_enter(token)}\n")
    sys.stdout.flush()
    run(settings, listening, token.secret if token else None)


def _how_to_enter(token: Token | None) -> str:
    """Where the token lies; the token itself only to the person who just had it made."""
    if token is None:
        return "token: none; everybody on this machine may use it"
    if token.is_new and sys.stdout.isatty():
        return f"token: {token.secret} (kept in {token.origin})"
    return f"token: in {token.origin}"
