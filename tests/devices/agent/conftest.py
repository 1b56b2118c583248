"""A server of the standard library that speaks the agent's wire protocol, in memory."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from devices.agent.client import Client
from devices.agent.identity import Identity, identify
from search_spaces.graph import OpGraph
from search_spaces.graph_json import graph_to_json
from search_spaces.ops import Conv, Flatten, GlobalAveragePool, Linear, WeightSlice

TOKEN = "secret-of-the-tests"
DEVICE = "second-device"
PLAN = {"warmup": 1, "min_rounds": 3, "max_rounds": 3, "relative_se": 0.01}


def small_graph(width: int) -> OpGraph:
    """A convolution, a pool and a classifier."""
    return OpGraph(
        (3, 16, 16),
        (
            Conv(
                name="conv", inputs=("input",), shape=(width, 8, 8), in_channels=3, kernel=3,
                stride=2, weight=WeightSlice("conv", (0, 0, 0, 0), (width, 3, 3, 3)),
                activation="relu",
            ),
            GlobalAveragePool(name="pool", inputs=("conv",), shape=(width, 1, 1)),
            Flatten(name="flatten", inputs=("pool",), shape=(width,)),
            Linear(
                name="linear", inputs=("flatten",), shape=(10,), in_features=width,
                weight=WeightSlice("linear", (0, 0), (10, width)),
            ),
        ),
    )  # fmt: skip


def wire_item(position: int, width: int, **changes: Any) -> dict[str, Any]:
    """An item as servers and packs hold it."""
    graph = small_graph(width)
    return {
        "position": position, "subject": f"small:{position}", "kind": "network",
        "digest": graph.digest, "graph": graph_to_json(graph), **changes,
    }  # fmt: skip


@dataclass
class Job:
    """A job of the server: outcomes by position, and the lease that holds it."""

    items: list[dict[str, Any]]
    target: str = f"{DEVICE}:ort-fp32-t1"
    alone: bool = False
    plan: dict[str, Any] = field(default_factory=lambda: dict(PLAN))
    outcomes: dict[int, dict[str, Any]] = field(default_factory=dict)
    token: str | None = None
    expires: float = 0.0

    @property
    def open_items(self) -> list[dict[str, Any]]:
        return [item for item in self.items if item["position"] not in self.outcomes]


class Server:
    """State of the server; `before` is called ahead of each request and may answer instead."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.agents: dict[str, dict[str, Any]] = {}
        self.log: list[str] = []
        self.lease_s = 30.0
        self.before: Callable[[str, dict[str, Any]], int | None] = lambda path, body: None
        self.lock = threading.RLock()
        self.port = 0
        self._http: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, after a stop on the same port again."""
        state = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                state.answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_address[1]
        threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._http:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        path = handler.path.removeprefix("/v1/agent")
        with self.lock:
            self.log.append(path)
            forced = self.before(path, body)
            if forced is not None:
                status, content = forced, None
            elif handler.headers["Authorization"] != f"Bearer {TOKEN}":
                status, content = 401, None
            else:
                status, content = self.dispatch(path.strip("/").split("/"), body)
        data = b"" if content is None else json.dumps(content).encode()
        if status >= 400:
            data = json.dumps({"detail": f"status {status} of the tests"}).encode()
        handler.send_response(status)
        if status == 302:
            handler.send_header("Location", f"{self.url}/elsewhere")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def dispatch(self, parts: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        match parts:
            case ["hello"]:
                self.agents[body["agent_id"]] = body
                return 200, {"lease_s": self.lease_s}
            case ["claim"]:
                return self.claim(body["agent_id"])
            case ["jobs", number, "heartbeat"]:
                job = self.held(int(number), body)
                if job is None:
                    return 409, None
                job.expires = time.monotonic() + self.lease_s
                return 204, None
            case ["jobs", number, "items", position]:
                job = self.held(int(number), body)
                if job is None:
                    return 409, None
                job.outcomes[int(position)] = body["outcome"]
                return 204, None
        return 404, None

    def claim(self, agent_id: str) -> tuple[int, Any]:
        if agent_id not in self.agents:
            return 404, None
        device = self.agents[agent_id]["device"]
        for number, job in enumerate(self.jobs):
            if not job.open_items or job.target.split(":")[0] != device:
                continue
            if job.expires > time.monotonic():
                continue
            job.token = secrets.token_hex(8)
            job.expires = time.monotonic() + self.lease_s
            return 200, {
                "job_id": number, "token": job.token, "lease_s": self.lease_s, "plan": job.plan,
                "target": job.target, "alone": job.alone, "items": job.open_items,
            }  # fmt: skip
        return 204, None

    def held(self, number: int, body: dict[str, Any]) -> Job | None:
        job = self.jobs[number]
        return job if body["token"] == job.token and job.expires > time.monotonic() else None


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server without jobs."""
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def client(server: Server) -> Client:
    """A client with the right token that waits hardly at all between attempts."""
    return Client(server.url, TOKEN, timeout_s=5.0, pause=lambda s: time.sleep(min(s, 0.05)))


@pytest.fixture
def agent(tmp_path: Path) -> Identity:
    """This machine, called otherwise."""
    return identify(tmp_path / "state", name=DEVICE)


@pytest.fixture
def make_job() -> Callable[..., Job]:
    """Make a job of small networks."""

    def make(count: int = 2, **changes: Any) -> Job:
        return Job([wire_item(n, 8 * (n + 1)) for n in range(count)], **changes)

    return make


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """Write a pack of small networks."""

    def write(count: int = 2, **changes: Any) -> Path:
        document = {
            "format": "nas-pack", "version": 1, "target": f"{DEVICE}:ort-fp32-t1", "plan": PLAN,
            "alone": False, "items": [wire_item(n, 8 * (n + 1)) for n in range(count)], **changes,
        }  # fmt: skip
        path = tmp_path / "small.pack.json"
        path.write_text(json.dumps(document))
        return path

    return write
