"""What networks can be searched for: devices, how each is reached, what was measured on it."""

from __future__ import annotations

import streamlit as st

from dashboard import memory

_COLUMNS = {
    "device": st.column_config.TextColumn("device"),
    "reach": st.column_config.TextColumn("reach"),
    "networks": st.column_config.NumberColumn("networks measured"),
    "blocks": st.column_config.NumberColumn("blocks measured"),
    "processor": st.column_config.TextColumn("processor", width="large"),
}


def page() -> None:
    """Draw the page."""
    store = memory.opened()
    if store is None:
        memory.welcome()
        return
    st.title("Devices")
    st.dataframe(store.devices(), hide_index=True, column_config=_COLUMNS)
    st.markdown(
        "**local** is this machine. **agent**: an agent on the device was heard of in the last "
        "minutes, so that it can be measured. **none**: answers are predicted from what is known "
        "of it; they say so, and how wide their interval is."
    )
    st.code("nas search --device DEVICE --budget 5ms", language="sh")
