"""A store of stored runs, and Streamlit's caches emptied between tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard import stored
from tests.dashboard.stored import Made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`NAS_HOME`, not there yet."""
    folder = tmp_path / "home"
    monkeypatch.setenv("NAS_HOME", str(folder))
    return folder


@pytest.fixture
def made(home: Path) -> Made:
    """A store with one verified run."""
    return stored.make(home)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Nothing read by one test is remembered by the next.

    Streamlit's tests put a script in the place of `__main__`, which processes that are spawned
    afterwards would run.
    """
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main
    import streamlit as st

    st.cache_data.clear()
    st.cache_resource.clear()
