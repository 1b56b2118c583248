"""Tables for people, JSON for programs; data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.result import Candidate, SearchResult

# Keys of 46 genes do not fit a narrow terminal beside anything else; JSON and files hold them.
_PLAIN_WIDTH = 160
_WEIGHTS = {
    "super-network": "the packaged super-network's, cut out and recalibrated; not fine-tuned",
    "seeded": "seeded: random numbers, the classes it answers mean nothing",
}


def print_json(content: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str) -> None:
    """A table on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for column in columns:
        numeric = any(isinstance(row.get(column), int | float) for row in rows)
        table.add_column(
            column, justify="right" if numeric else "left", overflow="fold", no_wrap=False
        )
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def print_result(result: SearchResult, folder: Path) -> None:
    """The answer of a search, winner first."""
    from devices.quiet import NOTEWORTHY, QUIET_PRESSURE

    timed = ("measured", "verified")
    shown = [c for c in result.candidates if c.on_front and c.kind in timed]
    others = [c for c in result.candidates if c.on_front and c.kind not in timed]
    shown += others[:: max(len(others) // 6, 1)]
    if result.winner and result.winner.key not in {c.key for c in shown}:
        shown.append(result.winner)
    rows = [_row(candidate, result) for candidate in sorted(shown, key=lambda c: c.latency_ms)]
    columns = [
        "",
        "latency ms",
        "90 % interval",
        "kind",
        "top-1 %",
        "accuracy",
        "MMACs",
        "M params",
    ]
    print_rows(rows, columns, f"{result.space} on {result.target}, budget {result.budget_ms:g} ms")
    write = sys.stdout.write
    write(f"\naccuracy: top-1 of {result.accuracy_of}\n")
    if result.state == "predicted" and result.winner:
        write(_predicted(result))
    if result.winner and result.verification:
        verdict = result.verification
        write(
            f"winner:   {result.winner.key}\n"
            f"verified: {verdict['latency_ms']:.3f} ms unloaded, <= {verdict['upper_ms']:.3f} ms "
            f"with {100 * verdict['confidence']:.0f} % confidence, {verdict['occasions']} "
            f"processes; meets the budget of {result.budget_ms:g} ms\n"
            f"wall:     {verdict['wall_ms']:.3f} ms median elapsed, load and all\n"
            f"weights:  {_WEIGHTS.get(result.weights, result.weights)}\n"
        )
    change, pressure = result.quiet_change_percent, result.quiet_pressure_percent
    if change is not None and abs(change) > 100 * NOTEWORTHY:
        write(
            f"note:     this machine is {abs(change):.0f} % {'slower' if change > 0 else 'faster'} "
            "than when it was last measured; latencies are by its present speed\n"
        )
    if pressure is not None and pressure > QUIET_PRESSURE:
        write(
            f"note:     the machine was never quiet (CPU pressure up to {pressure:.0f} %); "
            "latencies are rather too long than too short\n"
        )
    write(f"files:    {folder}\n")


def _predicted(result: SearchResult) -> str:
    """An answer that nobody measured says so before anything else."""
    winner, basis = result.winner, result.predictor
    assert winner is not None  # the caller looked
    how = (
        f"imported: {winner.latency_ms:.3f} ms by others' measurement"
        if winner.kind == "imported"
        else f"predicted: {winner.latency_ms:.3f} ms, 90 % interval {winner.latency_low_ms:.3f} to "
        f"{winner.latency_high_ms:.3f} ms, by {basis['model']}"
    )
    return (
        f"answer:   {winner.key}\n{how}\n"
        f"basis:    {basis['measured_networks']} measurements; nothing was verified, so this is no "
        f"promise that {result.budget_ms:g} ms hold\n"
        f"advice:   {result.advice}\n"
        f"weights:  {_WEIGHTS.get(result.weights, result.weights)}\n"
    )


def _row(candidate: Candidate, result: SearchResult) -> dict[str, Any]:
    notes = []
    if candidate.accuracy_estimated:
        notes.append(f"-{candidate.drop_percent:.1f} estimated for resolution")
    if candidate.accuracy_extrapolated:
        notes.append("extrapolated")
    won = result.winner is not None and candidate.key == result.winner.key
    kind = candidate.kind
    if candidate.within_budget is not None:
        kind += ", holds" if candidate.within_budget else ", does not hold"  # type: ignore[assignment]
    return {
        "": "*" if won else "",
        "latency ms": f"{candidate.latency_ms:.3f}",
        "90 % interval": f"{candidate.latency_low_ms:.3f} - {candidate.latency_high_ms:.3f}",
        "kind": kind,
        "top-1 %": f"{candidate.top1_percent:.2f} ± {candidate.top1_std_percent:.2f}",
        "accuracy": ", ".join(notes),
        "MMACs": f"{candidate.macs / 1e6:.0f}",
        "M params": f"{candidate.parameters / 1e6:.2f}",
    }
