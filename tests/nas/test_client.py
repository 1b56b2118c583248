"""The Python client: what it refuses, and what it makes of answers that are none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from nas.client import Client, ServiceError
from search_spaces.errors import UsageError

seen: list[tuple[str, str | None]] = []


class Stranger(BaseHTTPRequestHandler):
    """A server that is not ours: redirects, and answers with anything but JSON."""

    def do_GET(self) -> None:
        """Redirect one address, greet at the others."""
        seen.append((self.path, self.headers.get("Authorization")))
        if self.path == "/v1/devices":
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            return
        self.send_response(500 if self.path == "/v1/searches/broken" else 200)
        self.end_headers()
        self.wfile.write(b"<h1>hello</h1>")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[Client]:
    server = HTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    seen.clear()
    yield Client(f"http://127.0.0.1:{server.server_port}", "a-token-0123456789")
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "file:///etc"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="http://HOST:PORT"):
        Client(url)


def test_a_service_that_does_not_answer_is_said_so() -> None:
    with pytest.raises(ServiceError, match="does not answer") as caught:
        Client("http://127.0.0.1:9", timeout_s=2.0).devices()

    assert caught.value.status == 0


def test_the_token_does_not_follow_a_redirect(stranger: Client) -> None:
    with pytest.raises(ServiceError, match="answered 302"):
        stranger.devices()

    assert [path for path, _ in seen] == ["/v1/devices"]


def test_an_answer_that_is_no_json_is_said_so(stranger: Client) -> None:
    with pytest.raises(ServiceError, match="something else than JSON"):
        stranger.search("any")


def test_an_error_without_details_shows_what_came(stranger: Client) -> None:
    with pytest.raises(ServiceError, match="answered 500: <h1>hello") as caught:
        stranger.search("broken")

    assert (caught.value.status, caught.value.problem) == (500, {})


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(Client("http://host", "secret-0123456789"))
