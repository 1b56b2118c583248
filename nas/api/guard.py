"""The outermost layer: body size, host name, and the last resort for errors."""

from __future__ import annotations

import logging
import secrets

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nas.api.problems import ProblemResponse

logger = logging.getLogger(__name__)

LARGEST_BODY = 4 * 1024 * 1024
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Guard:
    """Refuses what nothing below should see, and turns unexpected errors into a problem.

    Attributes:
        app: What is guarded.
        largest_body: Limit of a request's body [bytes].
        hosts: Names by which the service may be called; None allows all.
    """

    def __init__(
        self, app: ASGIApp, *, largest_body: int = LARGEST_BODY,
        hosts: frozenset[str] | None = None,
    ) -> None:  # fmt: skip
        self.app = app
        self.largest_body = largest_body
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return
        received, started = 0, False

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.largest_body:
                    raise HTTPException(413, self._too_large())
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, limited, noted)
        except Exception:
            number = secrets.token_hex(8)
            logger.exception("%s %s failed, id %s", scope["method"], scope["path"], number)
            if started:
                raise
            detail = f"an error of the service; whoever runs it finds it in the log by id {number}"
            answer = ProblemResponse(500, "internal", detail, problem_id=number)
            await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProblemResponse | None:
        headers = dict(scope["headers"])
        if self.hosts is not None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host if host.endswith("]") else host.rsplit(":", 1)[0]
            if name not in self.hosts:
                # A page in the user's browser could reach us under a name of its own.
                detail = f"called as {host!r}; without a token only {_listed(self.hosts)} will do"
                return ProblemResponse(421, "wrong-host", detail)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.largest_body:
            return ProblemResponse(
                413, "too-large", self._too_large(), headers={"Connection": "close"}
            )
        return None

    def _too_large(self) -> str:
        return f"the body is larger than {self.largest_body} bytes; send it in parts"


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
