from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["numpy", "torch", "ray", "sklearn", "scipy", "sqlalchemy", "onnx", "onnxruntime"]


def loaded_after(statement: str) -> list[str]:
    """Which heavy packages a fresh interpreter holds after a statement."""
    code = f"import sys; {statement}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_search_spaces_loads_no_numpy() -> None:
    assert loaded_after("import search_spaces, search_spaces.errors") == []


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    assert loaded_after("import nas.cli.main") == []


@pytest.mark.parametrize("name", ["SPACES", "Architecture", "OpGraph", "NasError"])
def test_names_of_the_room_are_loaded_when_they_are_used(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from search_spaces import {name}; print({name})"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    import search_spaces

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = search_spaces.nonsense
