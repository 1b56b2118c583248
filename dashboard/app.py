"""Entry point of the explorer; `nas ui` runs it with Streamlit."""

from __future__ import annotations

import streamlit as st

from dashboard import memory
from dashboard.views import explore, hardware, runs


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config(page_title="hardware-aware NAS", layout="wide")
    explorer = st.Page(
        explore.page, title="Explore", icon=":material/scatter_plot:", url_path="explore",
        default=True,
    )  # fmt: skip

    def run_list() -> None:
        runs.page(explorer)

    pages = [
        explorer,
        st.Page(run_list, title="Runs", icon=":material/list:", url_path="runs"),
        st.Page(hardware.page, title="Devices", icon=":material/memory:", url_path="devices"),
    ]
    with memory.plainly():
        st.navigation(pages).run()


# Only when Streamlit runs this file: importing it draws nothing.
if __name__ == "__main__":
    main()
