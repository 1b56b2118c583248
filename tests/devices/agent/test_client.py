"""What the client retries, what it does not, and what it never sends."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from devices.agent.client import Client
from devices.agent.identity import Identity
from devices.errors import (
    LeaseLostError,
    ServerRefusedError,
    ServerUnreachableError,
    TokenRefusedError,
)
from search_spaces.errors import UsageError

if TYPE_CHECKING:
    from tests.devices.agent.conftest import Job, Server

TOKEN = "secret-of-the-tests"


@pytest.mark.parametrize(
    "url",
    ["", "nas.example", "ftp://127.0.0.1", "http://", "http://127.0.0.1:x", "http://a@127.0.0.1",
     "https://nas.example/?q=1", "http://[::1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no address of a server"):
        Client(url, TOKEN)


@pytest.mark.parametrize("url", ["http://nas.example", "http://10.0.0.1:8080", "http://localhos"])
def test_a_token_never_travels_readable_unless_that_is_asked_for(url: str) -> None:
    with pytest.raises(UsageError, match="--insecure"):
        Client(url, TOKEN)

    assert Client(url, TOKEN, insecure=True).url == url


@pytest.mark.parametrize(
    "url", ["https://nas.example", "http://localhost:1", "http://127.8.0.1", "http://[::1]:80/"]
)
def test_tls_and_this_machine_itself_are_fine(url: str) -> None:
    assert Client(url, TOKEN).url == url.rstrip("/")


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "schlüssel"])
def test_what_cannot_be_a_token_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match="token"):
        Client("http://127.0.0.1:1", token)


def test_an_agent_introduces_itself(client: Client, server: Server, agent: Identity) -> None:
    assert client.hello(agent) == server.lease_s

    told = server.agents[agent.id]
    assert told["device"] == agent.device.name
    assert told["facts"]["logical_cores"] >= 1
    assert told["runtimes"] == ["ort"]


def test_nothing_to_do_is_none(client: Client, agent: Identity) -> None:
    client.hello(agent)

    assert client.claim(agent.id) is None


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(
    client: Client, server: Server, agent: Identity, status: int
) -> None:
    server.before = lambda path, body: status if len(server.log) < 3 else None

    assert client.hello(agent) == server.lease_s
    assert server.log == ["/hello"] * 3


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, ServerRefusedError), (401, TokenRefusedError), (403, TokenRefusedError),
     (404, ServerRefusedError), (422, ServerRefusedError), (302, ServerRefusedError)],
)  # fmt: skip
def test_what_the_server_refuses_is_not_asked_again(
    client: Client, server: Server, agent: Identity, status: int, error: type[Exception]
) -> None:
    server.before = lambda path, body: status

    with pytest.raises(error, match=f"answered {status}"):
        client.hello(agent)
    assert server.log == ["/hello"]


def test_a_wrong_token_is_said_with_the_remedy(server: Server, agent: Identity) -> None:
    with pytest.raises(TokenRefusedError, match="check the token"):
        Client(server.url, "wrong").hello(agent)


@pytest.mark.parametrize("status", [404, 409, 410])
def test_a_lease_that_is_gone_is_an_error_of_its_own(
    client: Client, server: Server, status: int
) -> None:
    server.before = lambda path, body: status

    with pytest.raises(LeaseLostError, match="of the tests"):
        client.heartbeat(0, "t")
    with pytest.raises(LeaseLostError):
        client.send(0, 0, "t", {"failure": "x"})


def test_pauses_grow_with_jitter_until_the_attempts_are_used_up(agent: Identity) -> None:
    pauses: list[float] = []
    client = Client(
        "http://127.0.0.1:1", TOKEN, attempts=6, pause=pauses.append, rng=random.Random(0)
    )

    with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1:1"):
        client.hello(agent)

    assert len(pauses) == 5
    for n, pause in enumerate(pauses):
        assert 0.5 * 2**n <= pause <= 1.0 * 2**n
    assert len({pause / 2**n for n, pause in enumerate(pauses)}) == 5


def test_a_server_that_never_answers_costs_the_time_out_only(agent: Identity) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = Client(url, TOKEN, timeout_s=0.2, attempts=1)
        started = time.monotonic()

        with pytest.raises(ServerUnreachableError):
            client.hello(agent)

    assert time.monotonic() - started < 5.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token": "a b"}, "token"),
        ({"lease_s": 0}, "lease_s"),
        ({"lease_s": float("nan")}, "lease_s"),
        ({"job_id": "../../etc"}, "job_id"),
        ({"target": "no target!"}, "not a target"),
        ({"plan": {"rounds": 3}}, "plan"),
        ({"plan": {"max_rounds": 10**9}}, "plan.max_rounds"),
        ({"plan": {"warmup": 1.5}}, "plan.warmup"),
        ({"plan": {"relative_se": -1}}, "plan.relative_se"),
        ({"alone": 1}, "alone"),
        ({"items": None}, "items"),
        ({"items": [None]}, r"items\[0\]"),
        ({"items": [{"kind": "shell"}]}, r"items\[0\].kind"),
        ({"items": [{"kind": "network", "digest": "abc"}]}, r"items\[0\].digest"),
        ({"items": [{"kind": "network", "digest": "0" * 64}]}, r"items\[0\].graph"),
    ],
)  # fmt: skip
def test_a_claim_that_is_no_job_is_refused_naming_the_field(
    client: Client, server: Server, agent: Identity, make_job: Callable[..., Job],
    changes: dict[str, Any], words: str,
) -> None:  # fmt: skip
    server.jobs.append(make_job())
    client.hello(agent)
    real = server.claim
    server.claim = lambda agent_id: (200, {**real(agent_id)[1], **changes})  # type: ignore[method-assign]  # one answer

    with pytest.raises(ServerRefusedError, match=words):
        client.claim(agent.id)
