"""The process of `nas serve`: a socket, uvicorn, and a graceful end."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import uvicorn

from nas.api.app import create_app
from nas.errors import InvalidRequestError
from nas.service import Service
from nas.settings import Settings
from search_spaces.errors import NasError

# Longest wait for requests in flight when the server ends.
_GRACE_S = 10
_BACKLOG = 256


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that takes connections.

    Attributes:
        socket: It.
        host: As it was asked for.
        port: The one that was given, or found free.
    """

    socket: socket.socket
    host: str
    port: int

    @property
    def url(self) -> str:
        """Where the service is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listen(host: str, port: int) -> Listening:
    """Take a port; 0 takes a free one.

    Raises:
        InvalidRequestError: If there is no such port.
        NasError: If it is taken, or the host is not this machine.
    """
    if not 0 <= port < 2**16:
        msg = f"port is {port}; 0 to 65535 are allowed, 0 takes a free one"
        raise InvalidRequestError(msg)
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(_BACKLOG)
    except OSError as error:
        msg = (
            f"cannot listen on {host} port {port}: {error.strerror or error}; give another --host "
            "or --port, such as --port 0 for a free one"
        )
        raise NasError(msg) from error
    return Listening(found, host, int(found.getsockname()[1]))


def serve(
    settings: Settings, listening: Listening, token: str | None,
    ready: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Answer until SIGTERM or Ctrl-C; requests in flight are answered, searches go on later.

    Args:
        settings: Folders.
        listening: Where to answer.
        token: What clients must send; None lets everybody in.
        ready: Called before the first request is taken.
    """
    app = create_app(lambda: Service.open(settings), token)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )  # fmt: skip
    server = uvicorn.Server(config)

    def end(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn raises the signal again when it has ended: that is to change nothing any more.
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ready()
        server.run(sockets=[listening.socket])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        listening.socket.close()
    if not server.started:
        raise NasError("the service did not start; the lines above say why")
