"""A client of `nas serve` in Python, with the standard library alone.

client = Client("http://127.0.0.1:8000", token)
client.predict(["mobilenetv3:3000…"], device="jetson-orin")
search = client.wait(client.submit(device="jetson-orin", budget_ms=5.0))
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from search_spaces.errors import NasError, UsageError

ENDED = frozenset({"stopped", "failed", "infeasible", "predicted", "unverified", "verified"})
"""States in which a search is not worked on any more."""


class ServiceError(NasError):
    """The service refused, or was not reached.

    Attributes:
        status: HTTP status; 0 if there was no answer.
        problem: The problem details as they came.
    """

    def __init__(
        self, message: str, status: int = 0, problem: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}


@dataclass(frozen=True, slots=True)
class Client:
    """One service. Follows no redirects, so that the token goes nowhere else.

    Attributes:
        url: Such as `http://127.0.0.1:8000`.
        token: Bearer token; None for a service without.
        timeout_s: How long to wait for an answer.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what is no address."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            msg = f"{self.url!r} is no address of a service; write http://HOST:PORT"
            raise UsageError(msg)

    def predict(self, architectures: Sequence[str], device: str = "local") -> list[dict[str, Any]]:
        """Predicted latencies, one row for each key, in its order."""
        body = {"architectures": list(architectures), "device": device}
        return list(self._json("POST", "/v1/predict", body)["predictions"])

    def devices(self) -> list[dict[str, Any]]:
        """All devices."""
        return list(self._json("GET", "/v1/devices")["devices"])

    def device(self, name: str) -> dict[str, Any]:
        """One device with its facts."""
        return self._json("GET", f"/v1/devices/{quote(name, safe='')}")

    def spaces(self) -> list[dict[str, Any]]:
        """All search spaces."""
        return list(self._json("GET", "/v1/spaces")["spaces"])

    def space(self, name: str) -> dict[str, Any]:
        """One search space with its choices."""
        return self._json("GET", f"/v1/spaces/{quote(name, safe='')}")

    def measurements(
        self, device: str = "local", space: str | None = None, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """Measured networks of a device, newest first, `limit` at most."""
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(rows) < limit:
            query = {"device": device, "space": space, "cursor": cursor,
                     "limit": min(limit - len(rows), 1000)}  # fmt: skip
            given = {name: value for name, value in query.items() if value is not None}
            page = self._json("GET", f"/v1/measurements?{urlencode(given)}")
            rows += page["measurements"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return rows

    def submit(self, **request: object) -> str:
        """Submit a search, given the fields of a request, and return its name."""
        return str(self._json("POST", "/v1/searches", request)["id"])

    def search(self, search_id: str) -> dict[str, Any]:
        """State, progress and result of a search."""
        return self._json("GET", self._search_path(search_id))

    def wait(
        self, search_id: str, timeout_s: float = 3600.0, poll_s: float = 1.0
    ) -> dict[str, Any]:
        """Wait until a search has ended, however it did.

        Raises:
            ServiceError: If it has not in that time; the search goes on.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.search(search_id)
            if found["state"] in ENDED:
                return found
            if time.monotonic() > deadline:
                msg = f"search {search_id} is {found['state']} after {timeout_s:g} s; wait longer"
                raise ServiceError(msg)
            time.sleep(poll_s)

    def candidates(self, search_id: str, **query: str | int | bool) -> list[dict[str, Any]]:
        """Networks that a search found; `kind`, `on_front`, `sort` and `limit` choose."""
        given = {name: json.dumps(value) if isinstance(value, bool) else value
                 for name, value in query.items()}  # fmt: skip
        path = f"{self._search_path(search_id)}/candidates?{urlencode(given)}"
        return list(self._json("GET", path)["candidates"])

    def artefact(self, search_id: str, name: str) -> bytes:
        """A file of a search."""
        path = f"{self._search_path(search_id)}/artefacts/{quote(name, safe='')}"
        return self._call("GET", path)

    def stop(self, search_id: str) -> dict[str, Any]:
        """Stop a search; what was found is kept."""
        return self._json("POST", f"{self._search_path(search_id)}/stop")

    def _search_path(self, search_id: str) -> str:
        return f"/v1/searches/{quote(search_id, safe='')}"

    def _json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = self._call(method, path, body)
        try:
            return dict(json.loads(answer))
        except (ValueError, TypeError) as error:
            msg = f"{self.url} answered something else than JSON; is it `nas serve`?"
            raise ServiceError(msg) from error

    def _call(self, method: str, path: str, body: object = None) -> bytes:
        parts = urlsplit(self.url)
        headers = {"Accept": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            data = json.dumps(body, allow_nan=False).encode()
            headers["Content-Type"] = "application/json"
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=self.timeout_s,
                context=ssl.create_default_context(),
            )  # fmt: skip
        else:
            connection = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=self.timeout_s
            )
        try:
            connection.request(method, parts.path.rstrip("/") + path, data, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            msg = f"{self.url} does not answer: {error}; is `nas serve` running there?"
            raise ServiceError(msg) from error
        finally:
            connection.close()
        if response.status >= 300:
            raise _refusal(self.url, response.status, content)
        return content


def _refusal(url: str, status: int, content: bytes) -> ServiceError:
    try:
        problem = dict(json.loads(content))
    except (ValueError, TypeError):
        problem = {}
    detail = problem.get("detail") or content[:200].decode(errors="replace")
    return ServiceError(f"{url} answered {status}: {detail}", status, problem)
