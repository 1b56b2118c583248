"""Who gets in, and where the token comes from."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nas.api.auth import Token, find_token
from nas.errors import InvalidRequestError
from nas.settings import Settings
from search_spaces.errors import NasError
from tests.nas.api.conftest import door
from tests.nas.api.filled import TOKEN

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

GUARDED = ["/v1/devices", "/v1/spaces", "/v1/searches", "/v1/measurements"]


@pytest.mark.parametrize("path", GUARDED)
def test_a_missing_token_is_refused_with_the_scheme_to_use(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"Authorization": ""})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="nas"'
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "Authorization: Bearer" in answer.json()["detail"]


@pytest.mark.parametrize(
    "given", ["Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}",
              "Bearer", "Bearer \xe9\xff"],
)  # fmt: skip
def test_a_wrong_token_is_refused(client: TestClient, given: str) -> None:
    answer = client.get("/v1/devices", headers={"Authorization": given.encode("latin-1")})

    assert answer.status_code == 401
    assert "WWW-Authenticate" in answer.headers
    assert TOKEN not in answer.text


def test_agents_need_the_token_too(client: TestClient) -> None:
    body = {"agent_id": "a"}

    assert (
        client.post("/v1/agent/claim", json=body, headers={"Authorization": ""}).status_code == 401
    )


def test_health_needs_no_token(client: TestClient) -> None:
    for path in ("/livez", "/readyz"):
        answer = client.get(path, headers={"Authorization": ""})
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_without_a_token_everybody_on_this_machine_gets_in(home: Path) -> None:
    with door(home, token=None) as client:
        assert client.get("/v1/spaces", headers={"Authorization": ""}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "", "127.0.0.1.example"])
def test_without_a_token_a_web_page_cannot_reach_it_by_a_name_of_its_own(
    home: Path, host: str
) -> None:
    with door(home, token=None) as client:
        answer = client.get("/v1/spaces", headers={"Host": host})

    assert answer.status_code == 421
    assert "127.0.0.1" in answer.json()["detail"]


def test_a_token_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home")

    made, again = find_token(settings, None, {}), find_token(settings, None, {})

    file = tmp_path / "home" / "token"
    assert made.is_new
    assert not again.is_new
    assert made.secret == again.secret == file.read_text(encoding="utf-8").strip()
    assert len(made.secret) >= 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_the_file_goes_before_the_variable_and_that_before_the_folder(tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text("of-the-file-0123456789\n", encoding="utf-8")
    environment = {"NAS_TOKEN": "of-the-variable-0123456789"}
    settings = Settings(tmp_path)

    assert find_token(settings, file, environment).secret == "of-the-file-0123456789"
    assert find_token(settings, None, environment).secret == "of-the-variable-0123456789"
    assert not (tmp_path / "token").exists()


@pytest.mark.parametrize("text", ["", "\n", "short", "0123456789 0123456789", "ü" * 20])
def test_what_is_no_token_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(InvalidRequestError, match="16 or more"):
        find_token(Settings(tmp_path), file, {})


def test_a_token_file_that_is_missing_is_made(tmp_path: Path) -> None:
    made = find_token(Settings(tmp_path), tmp_path / "mine", {"NAS_TOKEN": "another-0123456789"})

    assert made.is_new
    assert made.secret == (tmp_path / "mine").read_text(encoding="utf-8").strip()
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o600


@pytest.mark.parametrize(("name", "words"), [("", "cannot read"), ("absent/mine", "cannot make")])
def test_a_token_file_that_cannot_be_is_said_so(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(NasError, match=words):
        find_token(Settings(tmp_path), tmp_path / name, {})


def test_a_token_does_not_show_its_secret() -> None:
    assert "hidden" not in repr(Token("hidden-0123456789abcdef", "a file"))
