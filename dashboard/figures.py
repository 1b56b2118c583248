"""Pictures out of values; no Streamlit here, so that each can be tested and used elsewhere.

Shapes tell the four kinds apart as well as colours do, and the colours are those of Okabe and Ito,
chosen to differ for every kind of colour vision.

Source: Okabe and Ito, "Color Universal Design", 2008.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.points import Points

MOST_SVG = 2000
"""With more networks than this they are drawn by WebGL, which is fast and less crisp."""

ROW_PX = 35
"""Height of a row of Streamlit's tables, to draw bars beside them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How the points of one kind look.

    Attributes:
        symbol: Plotly's name of the shape.
        colour: As `#rrggbb`.
        size: Across [px].
    """

    symbol: str
    colour: str
    size: int


MARKS: Mapping[str, Mark] = {
    "imported": Mark("triangle-up", "#CC79A7", 11),
    "predicted": Mark("circle-open", "#0072B2", 8),
    "measured": Mark("square", "#E69F00", 8),
    "verified": Mark("diamond", "#009E73", 13),
    "verified, over the budget": Mark("diamond-x", "#D55E00", 13),
}
_OTHER = Mark("cross-thin-open", "#777777", 8)
# Fronts of these are dense enough to be a line; measured ones are a handful.
_WITH_LINE = ("imported", "predicted")
WINNER, CHOSEN = "winner", "selected"
_RINGS = {WINNER: (25, 2.0, "#000000"), CHOSEN: (33, 2.5, "#D55E00")}
_GREY, _PALE = "#555555", "rgba(120, 120, 120, 0.10)"


def pareto(
    points: Points, budget_ms: float | None, *, winner: str | None = None,
    chosen: str | None = None, intervals: bool = True,
) -> go.Figure:  # fmt: skip
    """Accuracy over latency, each network by the shape of how it is known.

    One trace a kind, named after it, whose `customdata` are the keys; rings mark the winner and the
    chosen network.

    Args:
        points: What to show.
        budget_ms: Where the dashed line stands [ms]; beyond it the ground is grey.
        winner: Key of the answer; marked if it is shown.
        chosen: Key of the network looked at; marked if it is shown.
        intervals: Whether to draw the intervals of latencies.
    """
    figure = go.Figure()
    for name, rows in _traces(points):
        some = points.take(rows)
        if name in _WITH_LINE:
            _add_front(figure, some, MARKS[name].colour)
        _add_points(figure, some, name, intervals=intervals, large=len(points) > MOST_SVG)
    for name, key in ((WINNER, winner), (CHOSEN, chosen)):
        row = points.row(key) if key else None
        if row is not None:
            _add_ring(figure, name, float(points.latency_ms[row]), float(points.accuracy[row]))
    if budget_ms is not None:
        _add_budget(figure, budget_ms, points)
    figure.update_layout(
        template="plotly_white", height=540, margin={"l": 60, "r": 45, "t": 60, "b": 55},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.04, "x": 0},
        modebar={"orientation": "v"}, hovermode="closest", dragmode="pan",
        clickmode="event+select", uirevision="kept", font={"size": 13},
        hoverlabel={"align": "left", "font": {"size": 12}},
    )  # fmt: skip
    figure.update_xaxes(
        title="unloaded latency [ms]", showline=True, linecolor=_GREY, ticks="outside"
    )
    figure.update_yaxes(title="top-1 accuracy [%]", showline=True, linecolor=_GREY, ticks="outside")
    return figure


def blocks(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """What each block of one network takes: time if it is known, else MACs.

    Args:
        rows: From `dashboard.data.block_table`, in the order of execution.
    """
    column, unit = (
        ("latency_ms", "time alone [ms]")
        if any("latency_ms" in row for row in rows)
        else ("macs_m", "multiply-accumulates [M]")
    )
    figure = go.Figure(
        go.Bar(
            x=[row.get(column) for row in rows], y=[row["block"] for row in rows],
            orientation="h", marker={"color": MARKS["predicted"].colour},
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        template="plotly_white", height=ROW_PX * (len(rows) + 1) + 48,
        margin={"l": 70, "r": 10, "t": ROW_PX, "b": 48}, font={"size": 12}, bargap=0.4,
    )  # fmt: skip
    figure.update_xaxes(title=unit)
    figure.update_yaxes(autorange="reversed", type="category")
    return figure


def selected_key(event: Any) -> str | None:
    """The network of a selection as Streamlit reports it; None if nothing is selected."""
    selection = event.get("selection") if isinstance(event, Mapping) else None
    for point in (selection or {}).get("points") or []:
        data = point.get("customdata")
        values = list(data.values()) if isinstance(data, Mapping) else data
        if isinstance(values, str):
            return values
        if values:
            return str(values[0])
    return None


def _traces(points: Points) -> list[tuple[str, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Name and rows of each trace; the most certain come last and so lie on top."""
    traces = []
    for kind in points.kinds():
        rows = points.kind == kind
        if kind != "verified":
            traces.append((kind, rows))
            continue
        failed = rows & (points.holds == 0)
        for name, part in (("verified, over the budget", failed), (kind, rows & ~failed)):
            if part.any():
                traces.append((name, part))
    return traces


def _add_points(
    figure: go.Figure, points: Points, name: str, *, intervals: bool, large: bool
) -> None:
    mark = MARKS.get(name, _OTHER)
    line = {"width": 2.0 if "open" in mark.symbol else 0.8, "color": mark.colour}
    if "open" not in mark.symbol:
        line["color"] = "#FFFFFF"
    # Without these, a click would make all other points nearly invisible.
    kept = {"marker": {"opacity": 0.75}}
    figure.add_trace(
        (go.Scattergl if large else go.Scatter)(
            name=name, legendrank=_rank(name), mode="markers",
            x=points.latency_ms.tolist(), y=points.accuracy.tolist(),
            customdata=[[key] for key in points.key.tolist()], hovertext=_hover(points),
            hovertemplate="%{hovertext}<extra></extra>",
            marker={"symbol": mark.symbol, "size": mark.size, "color": mark.colour, "line": line},
            error_x=_bars(points, mark.colour) if intervals else None,
            selected={"marker": {"opacity": 1.0}}, unselected=kept,
        )
    )  # fmt: skip


def _rank(name: str) -> int:
    """Place in the legend: kinds by certainty, then rings; Plotly's default is 1000."""
    order = [*MARKS, *_RINGS]
    return 1001 + order.index(name) if name in order else 1000


def _bars(points: Points, colour: str) -> dict[str, Any]:
    return {
        "type": "data", "symmetric": False, "thickness": 1.0, "width": 0, "color": _faint(colour),
        "array": np.nan_to_num(np.maximum(points.high_ms - points.latency_ms, 0.0)).tolist(),
        "arrayminus": np.nan_to_num(np.maximum(points.latency_ms - points.low_ms, 0.0)).tolist(),
    }  # fmt: skip


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.45)"


def _add_front(figure: go.Figure, points: Points, colour: str) -> None:
    """The best accuracy up to each latency, as a stair."""
    rows = np.flatnonzero(points.on_front)
    rows = rows[np.argsort(points.latency_ms[rows], kind="stable")]
    if len(rows) > 1:
        figure.add_trace(
            go.Scatter(
                mode="lines", x=points.latency_ms[rows].tolist(), y=points.accuracy[rows].tolist(),
                line={"shape": "hv", "width": 1.0, "color": _faint(colour)}, hoverinfo="skip",
                showlegend=False,
            )
        )  # fmt: skip


def _add_ring(figure: go.Figure, name: str, latency_ms: float, accuracy: float) -> None:
    size, width, colour = _RINGS[name]
    figure.add_trace(
        go.Scatter(
            name=name, legendrank=_rank(name), mode="markers", x=[latency_ms], y=[accuracy],
            hoverinfo="skip",
            marker={"symbol": "circle-open", "size": size, "color": colour,
                    "line": {"width": width, "color": colour}},
            unselected={"marker": {"opacity": 1.0}},
        )
    )  # fmt: skip


def _add_budget(figure: go.Figure, budget_ms: float, points: Points) -> None:
    ends = points.high_ms[np.isfinite(points.high_ms)].tolist()
    right = max([budget_ms, *points.latency_ms.tolist(), *ends]) * 1.02
    figure.add_vrect(x0=budget_ms, x1=right, fillcolor=_PALE, line_width=0, layer="below")
    figure.add_vline(
        x=budget_ms, line={"color": _GREY, "width": 1.5, "dash": "dash"},
        annotation={"text": f"budget {budget_ms:g} ms", "font": {"color": _GREY}},
        annotation_position="top right",
    )  # fmt: skip


def _hover(points: Points) -> list[str]:
    """One text a network: key, latency with interval, accuracy, costs."""
    return [
        f"<b>{key}</b><br>{kind}: {latency:.3f} ms{interval}<br>top-1 {accuracy:.2f} %{std}<br>"
        f"{macs}MACs, {parameters}parameters, peak activations {peak}B"
        for key, kind, latency, interval, accuracy, std, macs, parameters, peak in zip(
            points.key.tolist(), map(_kind, points.kind.tolist(), points.holds.tolist()),
            points.latency_ms.tolist(), map(_interval, points.low_ms, points.high_ms),
            points.accuracy.tolist(), map(_deviation, points.accuracy_std),
            map(_amount, points.macs), map(_amount, points.parameters),
            map(_amount, points.peak_bytes), strict=True,
        )
    ]  # fmt: skip


def _kind(kind: str, holds: int) -> str:
    return f"{kind}, {('over the budget', 'holds')[holds]}" if holds >= 0 else kind


def _interval(low: float, high: float) -> str:
    return f" ({low:.3f} – {high:.3f})" if np.isfinite(low) and np.isfinite(high) else ""


def _deviation(std: float) -> str:
    return f" ± {std:.2f}" if np.isfinite(std) else ""


def _amount(value: float) -> str:
    if not np.isfinite(value):
        return "unknown "
    return f"{value / 1e6:.1f} M " if value >= 1e6 else f"{value / 1e3:.0f} k "
