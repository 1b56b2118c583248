"""`nas device`: what can be measured on, and whether it is fit to be."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import Format, FormatOption, QuietOption, SpaceOption

app = typer.Typer(help="Devices: list, show, check, calibrate.", no_args_is_help=True,
                  rich_markup_mode=None)  # fmt: skip


@app.command("list")
def list_devices(output_format: FormatOption = Format.table) -> None:
    """List this machine, every device in the store, and the catalogue."""
    from nas.cli.output import print_json, print_rows
    from nas.service import Service
    from nas.settings import Settings

    rows = [
        {
            "device": row["device"],
            "local": row["reach"] == "local",
            "reach": row["reach"],
            "processor": row["facts"].get("cpu_model") or row["facts"].get("title", ""),
            "cores": row["facts"].get("logical_cores", ""),
        }
        for row in Service.open(Settings.from_environment()).device_rows()
    ]
    if output_format is Format.json:
        print_json(rows)
    else:
        print_rows(rows, ["device", "reach", "processor", "cores"], "devices")


@app.command("show")
def show_device(
    device: Annotated[str, typer.Argument(help="Device name, or local.")] = "local",
    output_format: FormatOption = Format.table,
) -> None:
    """Show what is known of a device, and what was measured on it."""
    from nas.cli.output import print_json, print_rows
    from nas.service import Service
    from nas.settings import Settings

    service = Service.open(Settings.from_environment())
    found = service.device(device)
    facts = {"name": found.name, **found.facts, "measured": service.measured_on(found.name)}
    if output_format is Format.json:
        print_json(facts)
    else:
        rows = [{"fact": key, "value": _plain(value)} for key, value in facts.items()]
        print_rows(rows, ["fact", "value"], found.name)


@app.command("doctor")
def doctor(output_format: FormatOption = Format.table) -> None:
    """Check that this machine can measure, and say what disturbs it."""
    from nas.cli.output import print_json, print_rows
    from nas.doctor import examine
    from nas.settings import Settings

    findings = examine(Settings.from_environment())
    rows = [{"check": f.check, "state": f.state, "detail": f.detail} for f in findings]
    if output_format is Format.json:
        print_json(rows)
    else:
        print_rows(rows, ["check", "state", "detail"], "this machine")
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(4)


@app.command("calibrate")
def calibrate(
    device: Annotated[str, typer.Argument(help="Device or target.")] = "local",
    space: SpaceOption = "mobilenetv3",
    samples: Annotated[int, typer.Option("--samples", help="Whole networks to measure.")] = 12,
    output_format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Measure what a latency predictor needs; search does this by itself."""
    from nas.cli.output import print_json, print_rows
    from nas.cli.progress import reporter, stop_on_terminate
    from nas.service import Service
    from nas.settings import Settings

    stop_on_terminate()
    with reporter(quiet=quiet) as progress:
        service = Service.open(Settings.from_environment(), progress)
        summary = service.calibrate(space, device, samples)
    if output_format is Format.json:
        print_json(summary)
    else:
        rows = [{"figure": key, "value": _plain(value)} for key, value in summary.items()]
        print_rows(rows, ["figure", "value"], "calibrated")


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "nothing"
    return str(value)
