"""`nas run`: what was searched before; resume what was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import (
    Format,
    FormatOption,
    OutputOption,
    QuietOption,
    RayOption,
    WeightsOption,
    WorkersOption,
)

app = typer.Typer(help="Runs: list, show, resume, replay.", no_args_is_help=True,
                  rich_markup_mode=None)  # fmt: skip
RunArgument = Annotated[str, typer.Argument(help="Run, or the beginning of its name.")]


@app.command("list")
def list_runs(output_format: FormatOption = Format.table) -> None:
    """List runs, newest first."""
    from nas.cli.output import print_json, print_rows
    from nas.service import Service
    from nas.settings import Settings

    rows = []
    for record in Service.open(Settings.from_environment()).store.runs():
        request = json.loads(record.request)
        rows.append(
            {
                "run": record.id,
                "state": record.state,
                "space": request["space"],
                "device": request["device"],
                "budget_ms": request["budget_ms"],
                "created_at": record.created_at,
            }
        )
    if output_format is Format.json:
        print_json(rows)
    else:
        columns = ["run", "state", "space", "device", "budget_ms", "created_at"]
        print_rows(rows, columns, "runs")


@app.command("show")
def show_run(run: RunArgument, output_format: FormatOption = Format.table) -> None:
    """Show a run: its state, every batch and slot, and its result."""
    from nas.cli.output import print_json, print_rows
    from nas.service import Service
    from nas.settings import Settings

    content = Service.open(Settings.from_environment()).describe_run(run)
    if output_format is Format.json:
        print_json(content)
        return
    title = f"run {content['run']}: {content['state']}, request {json.dumps(content['request'])}"
    columns = [
        "batch", "stage", "slot", "architecture", "kind", "latency_ms", "accuracy", "failure",
    ]  # fmt: skip
    print_rows(content["slots"], columns, title)


@app.command("resume")
def resume(
    run: RunArgument,
    workers: WorkersOption = 1,
    ray: RayOption = None,
    output: OutputOption = None,
    weights: WeightsOption = None,
    output_format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Go on with a run that was stopped or killed."""
    from nas.cli.executor import executor_of
    from nas.cli.progress import reporter, stop_on_terminate
    from nas.cli.search import finish
    from nas.service import Service
    from nas.settings import Settings

    stop_on_terminate()
    with reporter(quiet=quiet) as progress, executor_of(workers, ray) as executor:
        service = Service.open(Settings.from_environment(), progress)
        result = service.resume(run, output, weights, executor)
    finish(result, output or Path("runs") / result.run, output_format)


@app.command("replay")
def replay(run: RunArgument, output_format: FormatOption = Format.table) -> None:
    """Decide a run again from its stored outcomes, and say whether the decisions agree."""
    from nas.cli.output import print_json, print_rows
    from nas.decide import Step
    from nas.service import Service
    from nas.settings import Settings

    rows = [
        {
            "batch": batch.number,
            "stage": batch.stage,
            "slots": len(batch.subjects),
            "same": isinstance(step, Step)
            and (step.stage, step.subjects) == (batch.stage, batch.subjects),
        }
        for batch, step in Service.open(Settings.from_environment()).replay(run)
    ]
    if output_format is Format.json:
        print_json(rows)
    else:
        print_rows(rows, ["batch", "stage", "slots", "same"], f"replay of {run}")
    if not all(row["same"] for row in rows):
        raise typer.Exit(1)
