"""The documentation does what it says, and names everything there is."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from devices.runtime import RUNTIMES
from nas.cli.main import app
from nas.problem import STRATEGIES
from search_spaces import SPACES

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TIMEOUT_S = 300

_BLOCK = re.compile(r"<!-- tested -->\s*```sh\n(.*?)```", re.DOTALL)


def commands(group: Any, path: tuple[str, ...] = ("nas",)) -> Iterator[str]:
    """Every command as users type it."""
    members = getattr(group, "commands", {})
    if not members:
        yield " ".join(path)
    for name, command in members.items():
        yield from commands(command, (*path, name))


def lines_to_try(text: str) -> list[str]:
    """Command lines of the tested blocks, continued ones joined, comments left out."""
    blocks = "\n".join(_BLOCK.findall(text)).replace("\\\n", " ")
    lines = (line.strip().removeprefix("$ ") for line in blocks.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def words() -> str:
    """README and the pages of docs/."""
    files = [README, *sorted((ROOT / "docs").glob("*.md"))]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.exists())


def test_command_lines_are_found_in_marked_blocks_only() -> None:
    text = (
        "```sh\nrm -rf /\n```\n<!-- tested -->\n```sh\n# first\nnas run \\\n  list\n\n$ true\n```\n"
    )

    assert [shlex.split(line) for line in lines_to_try(text)] == [["nas", "run", "list"], ["true"]]


@pytest.mark.slow
def test_the_commands_of_the_readme_work_for_somebody_new(tmp_path: Path) -> None:
    lines = lines_to_try(README.read_text(encoding="utf-8"))
    assert lines, "README.md has no ```sh block after <!-- tested -->"
    home, folder = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    folder.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NAS_", "XDG_", "PYTHON"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    for line in lines:
        ended = subprocess.run(
            ["sh", "-c", line], cwd=folder, env={**kept, "HOME": str(home), "PATH": path},
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip

        assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", [*SPACES.names(), *STRATEGIES.names(), *RUNTIMES.names()])
def test_every_plug_in_is_named_in_the_documentation(name: str, words: str) -> None:
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w])", words)


@pytest.mark.parametrize("command", list(commands(typer.main.get_command(app))))
def test_every_command_is_named_in_the_documentation(command: str, words: str) -> None:
    assert command in words


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 130])
def test_every_exit_code_is_explained_in_the_documentation(code: int, words: str) -> None:
    """As a row of a table, an item of a list, or in a sentence."""
    row = rf"^\s*[|*-]\s*\**`?{code}`?\**\s*(\||:|-|–|\s)"
    sentence = rf"(?i)exit(s|ed)?( with)?( code)?s?:?\s+`?{code}\b"

    assert re.search(row, words, re.MULTILINE) or re.search(sentence, words)
