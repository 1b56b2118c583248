"""The application on a store of its own, called in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from nas.api.app import create_app
from nas.service import Service
from nas.settings import Settings
from tests.nas.api.filled import TOKEN, fill

if TYPE_CHECKING:
    from tests.conftest import World

Door = Callable[..., Any]


@contextmanager
def door(home: Path, token: str | None = TOKEN, **options: Any) -> Iterator[TestClient]:
    """The application as a client with the token sees it."""
    app = create_app(lambda: Service.open(Settings(home)), token, **options)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(
        app, base_url="http://127.0.0.1:8000", headers=headers, raise_server_exceptions=False
    ) as client:
        yield client


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `NAS_HOME`, and a folder for locks of our own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "home"


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    """A client of a service that knows nothing yet."""
    with door(home) as opened:
        yield opened


@dataclass(frozen=True)
class Filled:
    """A service that knows a made-up device.

    Attributes:
        home: Its folder.
        client: A client with the token.
        service: The use cases behind it.
        keys: The networks measured on the device.
    """

    home: Path
    client: TestClient
    service: Service
    keys: list[str]


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[Filled]:
    """For tests that only look."""
    home = tmp_path_factory.mktemp("filled") / "home"
    keys = fill(home, world)
    with door(home) as client:
        yield Filled(home, client, client.app.state.context.service, keys)  # type: ignore[attr-defined]
