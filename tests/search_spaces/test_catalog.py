from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from search_spaces.catalog import Catalog
from search_spaces.errors import UnknownNameError

PLUG_IN = "SPACE = 'the plug-in'\nOTHER = 'another attribute'\n"


def catalog(package: str = "search_spaces.spaces") -> Catalog[str]:
    return Catalog(package, "SPACE", "search space")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of plug-ins named `toy_plug_ins.folder`, importable."""
    place = tmp_path / "toy_plug_ins" / "folder"
    place.mkdir(parents=True)
    for name in ("plain", "two_words", "random_", "_private"):
        (place / f"{name}.py").write_text(PLUG_IN)
    (place / "notes.txt").write_text("no plug-in")
    monkeypatch.syspath_prepend(tmp_path)
    return place


def other_distribution(place: Path, points: str) -> None:
    """Install a distribution with entry points, as pip would leave it."""
    info = place / "toy_distribution-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-distribution\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


def test_files_are_plug_ins_named_as_users_type_them(folder: Path) -> None:
    assert catalog("toy_plug_ins.folder").names() == ["plain", "random", "two-words"]


@pytest.mark.parametrize("name", ["two-words", "two_words", "random", "plain"])
def test_a_plug_in_is_found_by_either_spelling(folder: Path, name: str) -> None:
    assert catalog("toy_plug_ins.folder").get(name) == "the plug-in"


def test_listing_imports_no_plug_in(folder: Path) -> None:
    (folder / "broken.py").write_text("raise RuntimeError('imported')")

    assert "broken" in catalog("toy_plug_ins.folder").names()


def test_listing_the_rooms_imports_none_of_their_plug_ins() -> None:
    code = (
        "import sys\n"
        "from devices.runtime import RUNTIMES\n"
        "from nas.problem import STRATEGIES\n"
        "from search_spaces.space import SPACES\n"
        "assert RUNTIMES.names() and STRATEGIES.names() and SPACES.names()\n"
        "rooms = ('search_spaces.spaces.', 'devices.runtimes.', 'nas.strategies.')\n"
        "print([name for name in sys.modules if name.startswith(rooms)])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_refused_with_the_nearest_ones(folder: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        catalog("toy_plug_ins.folder").get("two-wrods")

    assert str(caught.value) == (
        "unknown search space 'two-wrods'; did you mean two-words? known: plain, random, two-words"
    )


def test_a_name_near_nothing_is_refused_with_all_there_are() -> None:
    with pytest.raises(
        UnknownNameError, match=r"^unknown search space 'zzz'; known: .*mobilenetv3"
    ):
        catalog().get("zzz")


@pytest.mark.parametrize(
    ("point", "name"),
    [
        ("toy-space = toy_module:OTHER", "toy-space"),
        ("toy-space = toy_module", "toy-space"),
        ("toy_space = toy_module", "toy-space"),
        ("toy_space = toy_module", "toy_space"),
    ],
)
def test_entry_points_of_other_distributions_are_plug_ins(
    point: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_module.py").write_text(PLUG_IN)
    other_distribution(tmp_path, f"[search_spaces.spaces]\n{point}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_module", raising=False)

    spaces = catalog()

    assert "mobilenetv3" in spaces.names()
    assert "toy-space" in spaces.names()
    assert spaces.get(name) == ("another attribute" if "OTHER" in point else "the plug-in")


def test_an_entry_point_does_not_replace_a_file_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_distribution(tmp_path, "[search_spaces.spaces]\nmobilenetv3 = nowhere:SPACE\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert getattr(catalog().get("mobilenetv3"), "name", None) == "mobilenetv3"
