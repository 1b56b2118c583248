"""The agent's side of the wire: JSON over HTTP, with the standard library alone.

Network errors and the server's own troubles (5xx, 429) are tried again with a growing, jittered
pause; what the server refuses (4xx) is not. Redirections are refused: the token would follow them.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from devices.agent.identity import Identity
from devices.agent.work import Claim
from devices.errors import (
    LeaseLostError,
    ServerRefusedError,
    ServerUnreachableError,
    TokenRefusedError,
)
from search_spaces.errors import UsageError

_PATH = "/v1/agent"
# A thousand layer graphs of the largest networks.
_LARGEST_ANSWER = 128 * 2**20
_LONGEST_REASON = 500
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_GONE = (404, 409, 410)


class Client:
    """Talks to one server.

    Args:
        url: Of the server, such as `https://nas.example` or `http://127.0.0.1:8080`.
        token: The server's bearer token.
        insecure: Allow plain HTTP to another machine, where the token can be read on the way.
        timeout_s: How long one answer may take to come.
        attempts: How often a request is tried.
        pause: Waits for so many seconds; `time.sleep`, or what ends earlier.
        rng: Of the jitter.

    Raises:
        UsageError: If the address or token cannot be one, or the token would travel readable.
    """

    def __init__(
        self, url: str, token: str, *, insecure: bool = False, timeout_s: float = 20.0,
        attempts: int = 4, pause: Callable[[float], object] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:  # fmt: skip
        self.url = _checked(url, insecure=insecure)
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            msg = (
                "the token must be printable ASCII without spaces; give the one the server printed"
            )
            raise UsageError(msg)
        self._token = token
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._pause = pause
        self._rng = rng or random.Random()
        # A proxy for the outside world knows nothing of this machine.
        proxies = [urllib.request.ProxyHandler({})] if _is_loopback(self.url) else []
        self._opener = urllib.request.build_opener(_NoRedirects(), *proxies)

    def hello(self, agent: Identity) -> float:
        """Introduce the agent; the answer is the length of a lease [s]."""
        answer = self._post(
            "/hello",
            {
                "agent_id": agent.id, "device": agent.device.name,
                "facts": dict(agent.device.facts), "runtimes": list(agent.runtimes),
                "version": agent.version,
            },
        )  # fmt: skip
        lease_s = answer.get("lease_s") if isinstance(answer, Mapping) else None
        if not isinstance(lease_s, int | float) or not 1 <= lease_s <= 86_400:
            msg = f"{self.url} answered hello with lease_s {lease_s!r}; is it a server of ours?"
            raise ServerRefusedError(msg)
        return float(lease_s)

    def claim(self, agent_id: str) -> Claim | None:
        """Ask for a job; None if there is nothing to do.

        Raises:
            ServerRefusedError: Also if what was offered is no job.
        """
        answer = self._post("/claim", {"agent_id": agent_id})
        if answer is None:
            return None
        try:
            return Claim.from_json(answer)
        except UsageError as error:
            msg = f"{self.url} offered what is no job: {error}"
            raise ServerRefusedError(msg) from error

    def heartbeat(self, job_id: int, token: str) -> None:
        """Extend a lease; tried once, since the next heartbeat comes soon.

        Raises:
            LeaseLostError: If there is none to extend.
        """
        self._post(f"/jobs/{job_id}/heartbeat", {"token": token}, attempts=1)

    def send(
        self, job_id: int, position: int, token: str, outcome: Mapping[str, Any],
        attempts: int | None = None,
    ) -> None:  # fmt: skip
        """Hand in the outcome of one item.

        Raises:
            LeaseLostError: If the job is no longer this agent's.
            ServerRefusedError: If the outcome itself is refused.
            ServerUnreachableError: If it could not be handed in; keep it.
        """
        path = f"/jobs/{job_id}/items/{position}"
        self._post(path, {"token": token, "outcome": dict(outcome)}, attempts=attempts)

    def _post(self, path: str, content: Mapping[str, Any], attempts: int | None = None) -> Any:
        body = json.dumps(content, allow_nan=False).encode()
        tries = attempts or self._attempts
        for attempt in range(1, tries + 1):
            try:
                return self._once(path, body)
            except ServerUnreachableError:
                if attempt == tries:
                    raise
                # Jitter: agents that lost the server together must not come back together.
                longest = min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
                self._pause(longest * self._rng.uniform(0.5, 1.0))
        msg = f"{self.url}: attempts is {tries}; 1 or more are needed"
        raise UsageError(msg)

    def _once(self, path: str, body: bytes) -> Any:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        request = urllib.request.Request(
            self.url + _PATH + path, data=body, headers=headers, method="POST"
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                data: bytes = answer.read(_LARGEST_ANSWER + 1)
                empty = answer.status == 204 or not data
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, path) from error
        except (OSError, http.client.HTTPException) as error:
            msg = f"no answer from {self.url}: {error}"
            raise ServerUnreachableError(msg) from error
        if empty:
            return None
        try:
            if len(data) > _LARGEST_ANSWER:
                msg = f"more than {_LARGEST_ANSWER} bytes"
                raise ValueError(msg)
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            msg = f"{self.url}{_PATH}{path} answered with what is no JSON: {error}"
            raise ServerRefusedError(msg) from error

    def _refusal(self, error: urllib.error.HTTPError, path: str) -> Exception:
        """The error that a status other than 2xx means."""
        told = f"{self.url} answered {error.code} {_reason(error)}"
        if error.code >= 500 or error.code in (408, 429):
            return ServerUnreachableError(told)
        if path.startswith("/jobs/") and error.code in _GONE:
            return LeaseLostError(told)
        if error.code in (401, 403):
            return TokenRefusedError(f"{told}; check the token")
        if 300 <= error.code < 400:
            return ServerRefusedError(f"{told}; give the address it redirects to")
        return ServerRefusedError(told)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **options: Any) -> None:
        """Follow none: the token is for the server that was named."""


def _reason(error: urllib.error.HTTPError) -> str:
    """What a server says of its refusal: problem+json, or the status line."""
    try:
        told = json.loads(error.read(20_000))
        text = str(told.get("detail") or told.get("title") or "")
    except (ValueError, OSError, AttributeError, RecursionError, http.client.HTTPException):
        text = ""
    text = text or str(error.reason)
    return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST_REASON]


def _checked(url: str, *, insecure: bool) -> str:
    try:
        parts = urlsplit(url.strip())
        right = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, right = urlsplit(""), False
    extra = parts.username or parts.password or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not right or extra:
        msg = f"{url!r} is no address of a server; write https://HOST or http://127.0.0.1:PORT"
        raise UsageError(msg)
    if parts.scheme == "http" and not _is_loopback(url) and not insecure:
        msg = (
            f"{url}: the token would travel readable over plain http; use https, "
            "or --insecure on a network that you trust"
        )
        raise UsageError(msg)
    return url.strip().rstrip("/")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url.strip()).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
