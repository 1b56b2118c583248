"""The store that pages look at: opened once, read again after it changed, errors as sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import data
from dashboard.data import RunView, State
from nas.service import Service
from nas.settings import Settings
from search_spaces.errors import NasError

REFRESH_S = 2.0
"""Seconds between two looks at what is being worked on."""

_SPECIAL = re.compile(r"([\\`*_~$\[\]<>|])")


@dataclass(frozen=True, slots=True)
class Opened:
    """A store and its state when the page was drawn; all reads are of that state or later.

    Attributes:
        service: Use cases on it.
        state: Changes with the store.
    """

    service: Service
    state: State

    def runs(self) -> list[dict[str, Any]]:
        """Runs in the words of a table, newest first."""
        return _runs(self.service, str(self.service.settings.home), self.state)

    def run(self, run_id: str) -> RunView:
        """One run."""
        return _run(self.service, str(self.service.settings.home), self.state, run_id)

    def stages(self, run_id: str) -> list[dict[str, Any]]:
        """How far a run is."""
        return data.stage_rows(self.service, run_id)

    def blocks(self, key: str, device: str) -> list[dict[str, Any]]:
        """Blocks of a network in readable units."""
        return _blocks(self.service, str(self.service.settings.home), self.state, key, device)

    def devices(self) -> list[dict[str, Any]]:
        """Devices in the words of a table."""
        return _devices(self.service, str(self.service.settings.home), self.state)


def opened() -> Opened | None:
    """The user's store; None if nothing has been stored yet.

    Raises:
        StoreError: If it cannot be opened or is damaged.
    """
    settings = Settings.from_environment()
    state = data.store_state(settings.database)
    if state is None:
        return None
    # A file put in the place of another one is another store.
    return Opened(_open(str(settings.home), state[:1]), state)


@contextmanager
def plainly() -> Iterator[None]:
    """Show what the user can act on as a sentence, without a traceback."""
    try:
        yield
    except NasError as error:
        st.error(plain(str(error)))


def plain(text: str) -> str:
    r"""Text that Markdown leaves as it is.

    Example:
        >>> print(plain("NAS_HOME"))
        NAS\_HOME
    """
    return _SPECIAL.sub(r"\\\1", text)


def welcome() -> None:
    """What to do where there is nothing to see."""
    st.title("No searches yet")
    st.write("Search for a network that meets a latency budget on this machine:")
    st.code("nas search --device local --budget 5ms", language="sh")
    home = plain(str(Settings.from_environment().home))
    st.caption(
        f"Looked for runs in {home}; another folder: `nas ui --home FOLDER`. This page shows the "
        "run as soon as it is there."
    )
    st.fragment(_look_again, run_every=REFRESH_S)()


def _look_again() -> None:
    with plainly():
        store = opened()
        if store and store.runs():
            st.rerun()


@st.cache_resource(show_spinner=False, max_entries=4)
def _open(home: str, identity: State) -> Service:
    return Service.open(Settings(Path(home)))


@st.cache_data(show_spinner=False, max_entries=4)
def _runs(_service: Service, home: str, state: State) -> list[dict[str, Any]]:
    return data.run_rows(_service.store.runs())


@st.cache_data(show_spinner="Reading the run …", max_entries=16)
def _run(_service: Service, home: str, state: State, run_id: str) -> RunView:
    return data.read_run(_service, run_id)


@st.cache_data(show_spinner=False, max_entries=64)
def _blocks(
    _service: Service, home: str, state: State, key: str, device: str
) -> list[dict[str, Any]]:
    return data.block_rows(_service, key, device)


@st.cache_data(show_spinner="Counting measurements …", max_entries=4)
def _devices(_service: Service, home: str, state: State) -> list[dict[str, Any]]:
    return data.device_rows(_service)


@st.cache_data(show_spinner="Building the network …", max_entries=4)
def untrained_onnx(key: str) -> bytes:
    """See `dashboard.data.untrained_onnx`."""
    return data.untrained_onnx(key)
