"""The wheel holds the rooms and nothing else, and runs where only the base is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the tree, built with the backend of this environment: no network needed."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*PIP, "wheel", *options, str(ROOT)], check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel and its base dependencies, no more.

    Dependencies are links to what is installed here; fetching them again takes a minute.
    """
    venv = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python3*/site-packages")
    into = [*PIP, "--python", str(venv / "bin" / "python")]
    subprocess.run([*into, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    for entry in _top_level_entries(_base_distributions()):
        (site / entry.name).symlink_to(entry)
    return venv / "bin"


def test_wheel_holds_the_files_of_the_packages_and_no_others(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert names == {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_wheel_holds_types_packs_migrations_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert any(name.startswith("nas/evaluators/packs/") for name in names)
    assert any(name.startswith("nas/store/migrations/versions/") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_help_runs_in_an_empty_folder_and_leaves_it_empty(bare: Path, tmp_path: Path) -> None:
    done = _run([str(bare / "nas"), "--help"], tmp_path)

    assert done.returncode == 0, done.stderr
    assert "search" in done.stdout
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "home", tmp_path / "work"]


def test_rooms_are_imported_from_the_wheel(bare: Path, tmp_path: Path) -> None:
    code = f"import {', '.join(PACKAGES)}; print({', '.join(f'{p}.__file__' for p in PACKAGES)})"
    done = _run([str(bare / "python"), "-c", code], tmp_path)

    assert done.returncode == 0, done.stderr
    files = done.stdout.split()
    assert len(files) == len(PACKAGES)
    assert all(Path(file).is_relative_to(bare.parent) for file in files), files


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run as a stranger would: empty working folder, empty home, bare environment."""
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    return subprocess.run(
        command, cwd=work, env=env, capture_output=True, text=True, check=False, timeout=60
    )


def _base_distributions() -> list[metadata.Distribution]:
    """What the base install brings, extras excluded."""
    found: dict[str, metadata.Distribution] = {}
    wanted = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
    while wanted:
        requirement = wanted.pop()
        if requirement.name in found:
            continue
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        found[requirement.name] = metadata.distribution(requirement.name)
        wanted += [Requirement(line) for line in found[requirement.name].requires or ()]
    return list(found.values())


def _top_level_entries(distributions: list[metadata.Distribution]) -> set[Path]:
    """The files and folders of site-packages that belong to these distributions."""
    return {
        Path(str(distribution.locate_file(file.parts[0])))
        for distribution in distributions
        for file in distribution.files or ()
        if file.parts[0] not in {"..", "__pycache__"}
    }
