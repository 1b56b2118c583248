from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from dashboard import figures
from dashboard.points import KINDS, Points
from tests.dashboard import stored


@pytest.fixture(scope="module")
def points() -> Points:
    return Points.read(stored.candidates())


def named(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.name}


def test_each_kind_has_all_its_networks_at_their_place(points: Points) -> None:
    traces = named(figures.pareto(points, 5.0))

    assert {name: len(trace.x) for name, trace in traces.items()} == {
        "imported": 14, "predicted": 30, "measured": 12, "verified": 3,
        "verified, over the budget": 1,
    }  # fmt: skip
    measured = points.take(points.kind == "measured")
    trace = traces["measured"]
    assert [row[0] for row in trace.customdata] == measured.key.tolist()
    assert list(trace.x) == measured.latency_ms.tolist()
    assert list(trace.y) == measured.accuracy.tolist()


def test_kinds_differ_in_shape_and_in_colour() -> None:
    marks = [figures.MARKS[kind] for kind in KINDS]

    assert len({mark.symbol.removesuffix("-open") for mark in marks}) == len(KINDS)
    assert len({mark.colour for mark in marks}) == len(KINDS)


def test_colours_differ_in_lightness_too() -> None:
    """Told apart in grey, as by somebody who sees no colours; shapes do the rest."""
    lightness = sorted(
        sum(w * int(mark.colour[i : i + 2], 16) for w, i in ((0.299, 1), (0.587, 3), (0.114, 5)))
        for mark in (figures.MARKS[kind] for kind in ("predicted", "measured", "verified"))
    )

    assert min(np.diff(lightness)) > 10


def test_the_budget_is_a_line_with_its_number(points: Points) -> None:
    figure = figures.pareto(points, 5.25)
    lines = [shape for shape in figure.layout.shapes if shape.type == "line"]

    assert [line.x0 for line in lines] == [5.25]
    assert "budget 5.25 ms" in figure.layout.annotations[0].text


def test_intervals_are_bars_from_low_to_high(points: Points) -> None:
    bars = named(figures.pareto(points, 5.0))["predicted"]
    rows = points.take(points.kind == "predicted")

    assert np.allclose(np.array(bars.x) + np.array(bars.error_x.array), rows.high_ms)
    assert np.allclose(np.array(bars.x) - np.array(bars.error_x.arrayminus), rows.low_ms)
    without = named(figures.pareto(points, 5.0, intervals=False))["predicted"]
    assert without.error_x.array is None


def test_winner_and_choice_are_ringed_where_they_are(points: Points) -> None:
    winner, chosen = str(points.key[-1]), str(points.key[3])
    traces = named(figures.pareto(points, 5.0, winner=winner, chosen=chosen))

    assert list(traces["winner"].x) == [points.latency_ms[-1]]
    assert list(traces["selected"].y) == [points.accuracy[3]]
    hidden = points.take(points.key != winner)
    assert "winner" not in named(figures.pareto(hidden, 5.0, winner=winner))


def test_hovering_tells_key_interval_and_costs(points: Points) -> None:
    trace = named(figures.pareto(points, 5.0))["verified, over the budget"]
    row = points.row(trace.customdata[0][0])
    assert row is not None
    text = trace.hovertext[0]

    assert str(points.key[row]) in text
    assert f"{points.low_ms[row]:.3f} – {points.high_ms[row]:.3f}" in text
    assert f"{points.macs[row] / 1e6:.1f} M MACs" in text
    assert "verified, over the budget" in text


def test_unknown_numbers_are_called_unknown() -> None:
    bare = {"key": "toy:0", "kind": "guessed", "latency_ms": 1.0, "top1_percent": 70.0}
    (trace,) = figures.pareto(Points.read([bare]), None).data

    assert trace.name == "guessed"
    assert "unknown MACs" in trace.hovertext[0]
    assert not re.search("nan", trace.hovertext[0])


def test_a_front_rises_with_latency(points: Points) -> None:
    lines = [trace for trace in figures.pareto(points, 5.0).data if trace.mode == "lines"]

    assert len(lines) == 2
    for line in lines:
        assert list(line.x) == sorted(line.x)
        assert list(line.y) == sorted(line.y)


def test_many_networks_are_drawn_by_webgl(points: Points) -> None:
    many = points.take(np.arange(figures.MOST_SVG + 1) % len(points))

    assert {trace.type for trace in figures.pareto(many, 5.0).data if trace.mode == "markers"} == {
        "scattergl"
    }


def test_an_empty_picture_still_shows_the_budget() -> None:
    figure = figures.pareto(Points.read([]), 5.0)

    assert not figure.data
    assert len(figure.layout.shapes) == 2


def test_blocks_show_times_if_known_else_macs() -> None:
    rows = [{"block": "stem", "macs_m": 3.0}, {"block": "head", "macs_m": 9.0}]
    plain = figures.blocks(rows)
    timed = figures.blocks(
        [row | {"latency_ms": ms} for row, ms in zip(rows, [0.3, 0.9], strict=True)]
    )

    assert list(plain.data[0].x) == [3.0, 9.0]
    assert list(timed.data[0].x) == [0.3, 0.9]
    assert "[ms]" in timed.layout.xaxis.title.text


@pytest.mark.parametrize(
    ("event", "key"),
    [
        ({"selection": {"points": [{"customdata": ["toy:1"]}]}}, "toy:1"),
        ({"selection": {"points": [{"customdata": {"0": "toy:2"}}]}}, "toy:2"),
        ({"selection": {"points": [{"customdata": "toy:3"}]}}, "toy:3"),
        ({"selection": {"points": [{"x": 1.0}, {"customdata": ["toy:4"]}]}}, "toy:4"),
        ({"selection": {"points": []}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_click_names_its_network(event: object, key: str | None) -> None:
    assert figures.selected_key(event) == key
