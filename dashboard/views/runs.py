"""The list of runs, newest first; a click opens one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboard import memory
from dashboard.views.explore import OPENED

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

_COLUMNS = {
    "run": st.column_config.TextColumn("run"),
    "state": st.column_config.TextColumn("state"),
    "space": st.column_config.TextColumn("space"),
    "device": st.column_config.TextColumn("device"),
    "budget_ms": st.column_config.NumberColumn("budget [ms]", format="%.3g"),
    "winner_ms": st.column_config.NumberColumn("winner [ms]", format="%.3f"),
    "winner_percent": st.column_config.NumberColumn("winner top-1 [%]", format="%.2f"),
    "started": st.column_config.TextColumn("started (UTC)"),
    "minutes": st.column_config.NumberColumn("minutes", format="%.1f"),
    "winner": st.column_config.TextColumn("winner", width="large"),
}


def page(explorer: StreamlitPage) -> None:
    """Draw the page.

    Args:
        explorer: Where a chosen run is opened.
    """
    store = memory.opened()
    runs = store.runs() if store else []
    if not runs:
        memory.welcome()
        return
    st.title("Runs")
    going = any(row["state"] == "running" for row in runs)
    st.fragment(_table, run_every=memory.REFRESH_S if going else None)(explorer)
    st.caption("Only winners of verified runs are known to meet their budget.")


def _table(explorer: StreamlitPage) -> None:
    with memory.plainly():
        store = memory.opened()
        runs = store.runs() if store else []
        states = sorted({row["state"] for row in runs})
        wanted = st.pills("State", states, selection_mode="multi", key="states")
        shown = [row for row in runs if not wanted or row["state"] in wanted]
        event: Any = st.dataframe(
            shown, hide_index=True, column_config=_COLUMNS, column_order=list(_COLUMNS),
            on_select="rerun", selection_mode="single-row", key="runs",
        )  # fmt: skip
        rows = event["selection"]["rows"]
        st.caption(f"{len(shown)} of {len(runs)} runs; tick the box of a row to open its run.")
        if rows and rows[0] < len(shown):
            opened = shown[rows[0]]["run"]
            st.session_state[OPENED] = opened
            st.session_state.pop("run", None)
            st.switch_page(explorer)
