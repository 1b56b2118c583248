"""Rules of the tree that no linter knows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
ADRS = sorted((ROOT / "docs" / "adr").glob("*.md"))

_UNPICKLES = re.compile(
    r"^\s*(import|from)\s+(_?pickle|cPickle|dill|cloudpickle|joblib|shelve|marshal)\b"
    r"|allow_pickle\s*=\s*True|\bread_pickle\b|\btorch\.load\b|\bpickle\.loads?\b",
    re.MULTILINE,
)


def _named(files: list[Path]) -> list[str]:
    return [str(file.relative_to(ROOT)) for file in files]


def test_tests_are_no_packages_that_could_shadow_a_room() -> None:
    assert _named(sorted((ROOT / "tests").rglob("__init__.py"))) == []


def test_no_source_file_is_longer_than_400_lines() -> None:
    long = [file for file in SOURCES if len(file.read_text(encoding="utf-8").splitlines()) > 400]

    assert _named(long) == []


def test_nothing_is_unpickled() -> None:
    found = [file for file in SOURCES if _UNPICKLES.search(file.read_text(encoding="utf-8"))]

    assert _named(found) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "    from pickle import loads",
        "np.load(file, allow_pickle=True)",
        "torch.load(path)",
        "import numpy\nimport dill as d",
    ],
)
def test_the_pickle_rule_sees(line: str) -> None:
    assert _UNPICKLES.search(line)


@pytest.mark.parametrize("line", ["np.load(file, allow_pickle=False)", "torch.load_state(x)"])
def test_the_pickle_rule_lets_pass(line: str) -> None:
    assert _UNPICKLES.search(line) is None


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_decisions_are_numbered_without_gaps() -> None:
    assert [file.name[:4] for file in ADRS] == [f"{i:04}" for i in range(1, len(ADRS) + 1)]
    assert ADRS


@pytest.mark.parametrize("file", ADRS, ids=lambda file: file.stem)
def test_decisions_are_short_and_of_one_form(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()

    assert len(lines) <= 40
    assert lines[0].startswith(f"# {file.name[:4]}: ")
    assert [line for line in lines if line.startswith("## ")] == [
        "## Context",
        "## Decision",
        "## Consequences",
    ]


def test_constraints_pin_exact_versions_of_all_that_is_declared() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    declared = [*project["dependencies"], *(entry for extra in extras for entry in extra)]

    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.!+]+", pin)] == []
    ours = {_name(project["name"])}  # extras that stand for other extras
    assert {_name(entry) for entry in declared} - ours <= {_name(pin) for pin in pins}


def _name(requirement: str) -> str:
    """The normalised distribution name of a requirement (PEP 503)."""
    match = re.match(r"[\w.-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()
