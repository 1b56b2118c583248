"""`nas serve` as a process of its own: killed, restarted, told to end, misused."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devices.agent.client import Client as AgentClient
from devices.agent.identity import identify
from devices.agent.loop import run as run_agent
from devices.benchmark import Plan
from devices.device import Target
from nas.api.worked_on import worker_of
from nas.client import Client, ServiceError
from nas.fleet import Fleet
from nas.settings import Settings
from nas.store import SqlStore
from search_spaces.architecture import Architecture
from tests.nas.api.filled import fill

if TYPE_CHECKING:
    from tests.conftest import World

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
SERVE = [sys.executable, "-m", "nas.cli.main", "serve"]
LONGEST_S = 60.0


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        process: It.
        client: A client with its token.
        said: What it printed before it answered.
    """

    process: subprocess.Popen[str]
    client: Client
    said: str

    def end(self, number: int) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        return self.process.wait(LONGEST_S)


@dataclass(frozen=True)
class House:
    """A server on a store in which a made-up device was calibrated.

    Attributes:
        home: Its folder.
        keys: The networks measured on the device.
        server: It.
    """

    home: Path
    keys: list[str]
    server: Server


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "NAS_TOKEN"}
    return {**kept, "NAS_HOME": str(home), "TMPDIR": str(home)}


@contextmanager
def serving(home: Path, *options: str) -> Iterator[Server]:
    """A server on a free port, killed at the end of the block if it still runs."""
    home.mkdir(exist_ok=True)
    with subprocess.Popen(
        [*SERVE, "--port", "0", *options], cwd=ROOT, env=environment(home), text=True,
        stdout=subprocess.PIPE, stderr=(home / "server.log").open("a"),
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            said = process.stdout.readline() + process.stdout.readline()
            found = re.search(r"http://\S+", said)
            assert found, f"{said}{(home / 'server.log').read_text(encoding='utf-8')}"
            file = home / "token"
            token = file.read_text(encoding="utf-8").strip() if file.exists() else None
            yield Server(process, Client(found.group(), token), said)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[House]:
    home = tmp_path_factory.mktemp("house") / "home"
    keys = fill(home, world)
    with serving(home) as server:
        yield House(home, keys, server)


def test_it_answers_many_at_once(house: House) -> None:
    client, keys = house.server.client, house.keys * 5

    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda key: client.predict([key], "world"), keys))

    assert [row[0]["architecture"] for row in rows] == keys
    assert {row["device"] for row in client.devices()} >= {"world"}
    assert client.device("world")["measured"]["networks"] == len(house.keys)
    assert client.space("mobilenetv3")["genes"] == 46
    assert len(client.measurements("world", limit=5)) == 5


def test_it_keeps_its_token_to_itself(house: House) -> None:
    secret = (house.home / "token").read_text(encoding="utf-8").strip()
    log = (house.home / "server.log").read_text(encoding="utf-8")

    assert str(house.home / "token") in house.server.said
    assert secret not in house.server.said
    assert secret not in log
    with pytest.raises(ServiceError, match="answered 401") as caught:
        Client(house.server.client.url, "not-the-token").devices()
    assert caught.value.status == 401
    assert "Traceback" not in log


def test_an_agent_measures_for_it(house: House, world: World, tmp_path: Path) -> None:
    smallest = Architecture("mobilenetv3", (0,) * 46)
    with SqlStore(Settings(house.home).database) as store:
        plan = Plan(warmup=1, min_rounds=3, max_rounds=3)
        job = Fleet(store).enqueue(world.space, [smallest], Target("pocket"), plan)
    client = house.server.client
    assert client.token

    tally = run_agent(
        AgentClient(client.url, client.token), identify(tmp_path, name="pocket"), once=True
    )

    assert (tally.jobs, tally.measured, tally.failed) == (1, 1, 0)
    (row,) = client.measurements("pocket")
    assert row["architecture"] == smallest.key
    assert row["runs"] == 3
    assert client.device("pocket")["reach"] == "agent"
    with SqlStore(Settings(house.home).database) as store:
        assert store.job(job).state == "done"


def test_a_server_that_was_killed_goes_on_with_its_searches(tmp_path: Path, world: World) -> None:
    home = tmp_path / "home"
    fill(home, world)
    wish = {"device": "world", "space": "mobilenetv3", "budget_ms": 4.0}
    with serving(home, "--host", "0.0.0.0") as server:
        searches = [server.client.submit(**wish, seed=seed) for seed in (1, 2)]
        worker = worker_of(Settings(home), searches[0])
        server.end(signal.SIGKILL)
    # Its process outlives it; without it the run is at rest and must be taken up again.
    if worker is not None:
        os.kill(worker, signal.SIGKILL)

    with serving(home) as server:
        ended = [server.client.wait(search, LONGEST_S, 0.2) for search in searches]
        found = server.client.candidates(searches[0], kind="predicted", on_front=True)
        csv = server.client.artefact(searches[0], "pareto.csv")
        assert server.end(signal.SIGINT) == 0

    assert [search["state"] for search in ended] == ["predicted", "predicted"]
    assert found
    assert csv.count(b"\n") == len(ended[0]["result"]["candidates"]) + 1
    log = (home / "server.log").read_text(encoding="utf-8")
    assert "warning: 0.0.0.0 can be reached from other machines, and without TLS" in log


def test_without_a_token_it_lets_everybody_on_this_machine_in(tmp_path: Path) -> None:
    with serving(tmp_path / "home", "--no-auth") as server:
        assert "none" in server.said
        assert server.client.token is None
        assert server.client.spaces()
        assert server.end(signal.SIGTERM) == 0
