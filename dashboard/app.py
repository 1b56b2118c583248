"""Entry point of the explorer; `nas ui` runs it with Streamlit."""

from __future__ import annotations

import streamlit as st

from dashboard import memory
from dashboard.views import explore, hardware, runs


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config(page_title="hardware-aware NAS", layout="wide")
    # Without icons of their own: as the page's favicon they would be fetched from another server.
    explorer = st.Page(explore.page, title="Explore", url_path="explore", default=True)

    def run_list() -> None:
        runs.page(explorer)

    pages = [
        explorer,
        st.Page(run_list, title="Runs", url_path="runs"),
        st.Page(hardware.page, title="Devices", url_path="devices"),
    ]
    with memory.plainly():
        st.navigation(pages).run()


# Only when Streamlit runs this file: importing it draws nothing.
if __name__ == "__main__":
    main()
