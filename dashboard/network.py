"""The part of a page about one network: what it is, what its blocks cost, and its files."""

from __future__ import annotations

import json

import streamlit as st

from dashboard import data, figures, memory
from dashboard.data import RunView
from dashboard.memory import Opened, plain
from search_spaces.errors import NasError

_CHOICE_COLUMNS = {
    "choice": st.column_config.TextColumn("choice", width="small"),
    "value": st.column_config.TextColumn("value", width="large"),
}
_BLOCK_COLUMNS = {
    "block": st.column_config.TextColumn("block"),
    "group": st.column_config.TextColumn("group"),
    "macs_m": st.column_config.NumberColumn("MACs [M]", format="%.2f"),
    "parameters_k": st.column_config.NumberColumn("parameters [k]", format="%.1f"),
    "activations_kb": st.column_config.NumberColumn(
        "activations [kB]", format="%.0f", help="Bytes that its operators read and write."
    ),
    "latency_ms": st.column_config.NumberColumn(
        "alone [ms]", format="%.3f", help="The block measured alone on this device."
    ),
}


def show(store: Opened, view: RunView, key: str) -> None:
    """Draw the part for one network of a run."""
    st.subheader("Network")
    st.code(key, language=None, wrap_lines=True)
    _numbers(view, key)
    _files(store, view, key)
    with memory.plainly():
        st.markdown("**Choices** in the words of the space")
        st.dataframe(data.gene_rows(key), hide_index=True, column_config=_CHOICE_COLUMNS)
    with memory.plainly():
        _blocks(store, view, key)


def _numbers(view: RunView, key: str) -> None:
    points = view.points
    row = points.row(key)
    if row is None:
        return
    kind, holds = str(points.kind[row]), int(points.holds[row])
    promise = {
        1: "meets the budget, verified", 0: "exceeds the budget, verified",
    }.get(holds, "not verified: may miss the budget")  # fmt: skip
    shown = st.columns(5)
    shown[0].metric(f"Latency, {kind}", f"{points.latency_ms[row]:.3f} ms")
    shown[0].caption(f"{points.low_ms[row]:.3f} – {points.high_ms[row]:.3f} ms; {promise}")
    shown[1].metric("Top-1 accuracy", f"{points.accuracy[row]:.2f} %")
    shown[1].caption(f"± {points.accuracy_std[row]:.2f}; see above for whose weights")
    shown[2].metric("MACs", f"{points.macs[row] / 1e6:.0f} M")
    shown[3].metric("Parameters", f"{points.parameters[row] / 1e6:.2f} M")
    shown[4].metric("Peak activations", f"{points.peak_bytes[row] / 1e6:.2f} MB")


def _files(store: Opened, view: RunView, key: str) -> None:
    onnx, csv, result = st.columns(3)
    with onnx, memory.plainly():
        _onnx(store, view, key)
    csv.download_button(
        "pareto.csv", data.pareto_csv(view), "pareto.csv", "text/csv",
        icon=":material/download:", width="stretch", on_click="ignore",
    )  # fmt: skip
    result.download_button(
        "result.json", json.dumps(view.result, indent=2) + "\n", "result.json",
        "application/json", icon=":material/download:", width="stretch", on_click="ignore",
    )  # fmt: skip


def _onnx(store: Opened, view: RunView, key: str) -> None:
    name, about = data.file_name(key, "untrained.onnx"), "seeded weights: its classes mean nothing"
    body = None
    digest = data.trained_winner(view, key)
    if digest:
        try:
            body = store.service.store.artefact(digest)
            name, about = data.file_name(key, "onnx"), "trained weights"
        except NasError as error:
            st.warning(plain(f"The trained file cannot be had: {error}"))
    st.download_button(
        "ONNX, trained" if body else "ONNX, untrained", body or memory.untrained_onnx(key), name,
        "application/octet-stream", icon=":material/download:", width="stretch", help=about,
        on_click="ignore",
    )  # fmt: skip


def _blocks(store: Opened, view: RunView, key: str) -> None:
    rows = store.blocks(key, view.target)
    if not rows:
        st.info("Networks of this space are not chains of blocks; there is no table of them.")
        return
    st.markdown("**Blocks** in the order of execution")
    if "latency_ms" not in rows[0]:
        device = view.target.split(":")[0]
        how = f"; measure them with `nas device calibrate {device} --space {view.space}`"
        # Nobody can measure on what is only a table.
        st.caption(
            "No block was measured alone on this target, so that there are no times here"
            + ("." if device == "imported" else how)
        )
    table, picture = st.columns([3, 2])
    table.dataframe(
        rows, hide_index=True, height=figures.ROW_PX * (len(rows) + 1) + 3,
        column_config={name: _BLOCK_COLUMNS[name] for name in rows[0]},
    )  # fmt: skip
    picture.plotly_chart(figures.blocks(rows), key="blocks", theme=None)
