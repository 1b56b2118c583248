"""The picture of one run: networks by how they are known, filters, and one of them in detail."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from dashboard import figures, memory, network
from dashboard.data import RunView
from dashboard.memory import Opened, plain
from dashboard.points import EVERYTHING, Filter, Points, Range, order_by_interest, slider_ends
from search_spaces.architecture import FloatArray

OPENED = "opened run"
"""Session key: the run to show, kept while other pages are looked at."""

_CHART = "pareto"
_MOST_LISTED = 1000


def page() -> None:
    """Draw the page."""
    store = memory.opened()
    runs = store.runs() if store else []
    if store is None or not runs:
        memory.welcome()
        return
    view = store.run(_chosen_run(runs))
    st.title(plain(f"{view.space} on {view.target}"))
    _head(view)
    if view.error:
        st.error(plain(str(view.error)))
    if view.state == "running":
        st.fragment(_progress, run_every=memory.REFRESH_S)(view.run)
    if len(view.points) == 0:
        if view.state != "running":
            st.info("This run has no networks to show.")
            _stages(store, view.run)
        return
    with st.sidebar:
        shown = view.points.take(_filter(view).passing(view.points))
    if len(shown) == 0:
        st.warning("No network passes the filters; widen them.")
        return
    box = f"network {view.run}"
    labels = _labels(shown, view, box)
    _picture(shown, view, box)
    key = st.selectbox(
        "Selected network (click a point, or choose here)", list(labels), key=box,
        format_func=lambda key: labels.get(key, key),
    )  # fmt: skip
    st.query_params["network"] = key
    network.show(store, view, key)


def _chosen_run(runs: list[dict[str, Any]]) -> str:
    """The run of the select box; at first the one that was opened or linked to, else the newest."""
    rows = {row["run"]: row for row in runs}
    if st.session_state.get("run") not in rows:
        wanted = st.session_state.get(OPENED) or st.query_params.get("run")
        st.session_state["run"] = wanted if wanted in rows else runs[0]["run"]
    with st.sidebar:
        run = st.selectbox(
            "Run, newest first", list(rows), key="run",
            format_func=lambda run: f"{rows[run]['started']} · {rows[run]['state']} · {run}",
        )  # fmt: skip
    if st.session_state.get(OPENED) != run:
        # A link to a network of another run means nothing here.
        if OPENED in st.session_state:
            st.query_params.pop("network", None)
        st.session_state[OPENED] = run
    st.query_params["run"] = run
    return str(run)


def _head(view: RunView) -> None:
    """How the run stands, in numbers and in the words that they need."""
    result, points = view.result, view.points
    shown = st.columns(5)
    shown[0].metric("State", view.state)
    shown[1].metric("Budget", "?" if view.budget_ms is None else f"{view.budget_ms:g} ms")
    row = points.row(view.winner) if view.winner else None
    if row is not None:
        shown[2].metric(f"Winner, {points.kind[row]}", f"{points.latency_ms[row]:.3f} ms")
        shown[3].metric("Its top-1 accuracy", f"{points.accuracy[row]:.2f} %")
    measured = (result.get("measurements") or {}).get("this run")
    if measured is not None:
        shown[4].metric("Measured in this run", measured)
    st.write(view.meaning)
    verdict = result.get("verification")
    if verdict and view.state == "verified":
        st.write(
            f"Verified: {verdict['latency_ms']:.3f} ms, at most **{verdict['upper_ms']:.3f} ms** "
            f"with {100 * verdict['confidence']:.0f} % confidence, in {verdict['occasions']} "
            f"processes; {verdict['wall_ms']:.3f} ms median elapsed time, load and all."
        )
    if nearest := result.get("nearest"):
        st.write(
            f"Nearest by prediction: `{nearest['key']}` with {nearest['latency_ms']:.3f} ms "
            f"(up to {nearest['latency_high_ms']:.3f} ms)."
        )
    if advice := result.get("advice"):
        st.info(plain(str(advice)))
    if accuracy_of := result.get("accuracy_of"):
        weights = {"seeded": "seeded (random)"}.get(result.get("weights", ""), "trained")
        st.caption(
            plain(
                f"Accuracies belong to the weights of {accuracy_of}; the exported file holds "
                f"{weights} weights. Only verified networks are known to meet the budget; "
                "imported, predicted and measured ones may miss it."
            )
        )


def _filter(view: RunView) -> Filter:
    points, run = view.points, view.run
    st.subheader("Filters")
    kinds = points.kinds()
    chosen = st.multiselect("Latency is", kinds, default=kinds, key=f"kinds {run}")
    return Filter(
        kinds=frozenset(chosen),
        on_front=st.checkbox(
            "Only fronts", key=f"front {run}",
            help="Networks that no other of their kind beats in both latency and accuracy.",
        ),
        latency_ms=_range("Latency [ms]", points.latency_ms, run),
        accuracy=_range("Top-1 accuracy [%]", points.accuracy, run),
        macs=_range("MACs [M]", points.macs, run, unit=1e6),
        peak_bytes=_range("Peak activations [MB]", points.peak_bytes, run, unit=1e6),
    )  # fmt: skip


def _range(label: str, values: FloatArray, run: str, unit: float = 1.0) -> Range:
    """A slider over all values; an end that was not moved leaves nothing out."""
    ends = slider_ends(values / unit)
    if ends is None:
        return EVERYTHING
    low, high, step = ends
    digits = max(0, -math.floor(math.log10(step)))
    left, right = st.slider(
        label, low, high, (low, high), step, format=f"%.{digits}f", key=f"{label} {run}"
    )
    return (
        left * unit if left > low else -math.inf,
        right * unit if right < high else math.inf,
    )


def _picture(shown: Points, view: RunView, box: str) -> None:
    intervals = st.toggle("90 % intervals", value=len(shown) <= figures.MOST_SVG, key="intervals")
    figure = figures.pareto(
        shown, view.budget_ms, winner=view.winner, chosen=st.session_state.get(box),
        intervals=intervals,
    )  # fmt: skip
    st.plotly_chart(
        figure, key=_CHART, theme=None, on_select=lambda: _clicked(box),
        selection_mode="points", config={"displaylogo": False, "scrollZoom": True},
    )  # fmt: skip
    st.caption(f"{len(shown)} of {len(view.points)} networks")


def _clicked(box: str) -> None:
    """Make a click on a point the choice of the select box."""
    key = figures.selected_key(st.session_state.get(_CHART))
    if key is not None:
        st.session_state[box] = key


def _labels(shown: Points, view: RunView, box: str) -> dict[str, str]:
    """What to choose from by key, the most interesting first; the present choice is among it."""
    keys = order_by_interest(shown, view.winner)
    wanted = st.session_state.get(box) or st.query_params.get("network")
    if shown.row(str(wanted)) is None:
        wanted = keys[0]
    st.session_state[box] = wanted
    listed = dict.fromkeys([*keys[:_MOST_LISTED], str(wanted)])
    rows = {key: row for row, key in enumerate(shown.key.tolist()) if key in listed}
    return {key: _label(shown, rows[key], won=key == view.winner) for key in listed}


def _label(shown: Points, row: int, *, won: bool) -> str:
    about = f"{shown.latency_ms[row]:.3f} ms · {shown.accuracy[row]:.2f} % · {shown.kind[row]}"
    return f"{'winner · ' if won else ''}{about} · {shown.key[row]}"


def _progress(run: str) -> None:
    with memory.plainly():
        store = memory.opened()
        if store is None or store.run(run).state != "running":
            st.rerun()
        else:
            _stages(store, run)


def _stages(store: Opened, run: str) -> None:
    """A bar for each stage of a run."""
    rows = store.stages(run)
    if not rows:
        st.caption("Nothing has been measured for this run yet.")
    for row in rows:
        failed = f", {row['failed']} failed" if row["failed"] else ""
        st.progress(
            row["done"] / row["of"], f"{row['stage']}: {row['done']} of {row['of']}{failed}"
        )
