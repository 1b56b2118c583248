"""`nas profile`: measure networks on this machine, or pack them for another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from nas.cli.options import (
    DeviceOption,
    Format,
    FormatOption,
    QuietOption,
    SeedOption,
    SpaceOption,
)

if TYPE_CHECKING:
    from search_spaces.architecture import Architecture

KeysArgument = Annotated[
    list[str] | None, typer.Argument(help="Architecture keys, as search prints them.")
]
SamplesOption = Annotated[int, typer.Option("--samples", help="Or: so many random networks.")]


class _KeysFirst(TyperGroup):
    """`nas profile KEY…` and `nas profile --samples N` mean `nas profile run …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_KeysFirst,
    help="Measure networks here, or pack them for another machine. KEY… alone means run KEY….",
    rich_markup_mode=None,
)


@app.command("run")
def profile(
    architectures: KeysArgument = None,
    samples: SamplesOption = 0,
    space: SpaceOption = "mobilenetv3",
    device: DeviceOption = "local",
    seed: SeedOption = 0,
    output_format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Measure networks with the paired protocol; every sample is stored."""
    from devices.measurement import Measurement
    from nas.cli.output import print_json, print_rows
    from nas.cli.progress import reporter, stop_on_terminate
    from nas.service import Service
    from nas.settings import Settings

    archs = _chosen(architectures, samples, space, seed)
    stop_on_terminate()
    with reporter(quiet=quiet) as progress:
        service = Service.open(Settings.from_environment(), progress)
        progress.stage(1, 1, "measure networks")
        outcomes = service.profile(archs, device)
        rows = service.profile_rows(archs, outcomes)
    failed = sum(not isinstance(outcome, Measurement) for outcome in outcomes)
    if output_format is Format.json:
        print_json(rows)
    else:
        columns = [
            "architecture",
            "kind",
            "latency_ms",
            "error_percent",
            "wall_ms",
            "runs",
            "failure",
        ]
        print_rows(rows, columns, "unloaded latency: paired ratio x the reference's quiet time")
    if failed:
        raise typer.Exit(4)


@app.command("pack")
def pack(
    device: Annotated[
        str,
        typer.Option("--device", help="Target there, such as raspberry-pi-5:ort-fp32-t1."),
    ],
    output: Annotated[Path, typer.Option("--output", help="The pack, a file to carry there.")],
    architectures: KeysArgument = None,
    samples: SamplesOption = 0,
    space: SpaceOption = "mobilenetv3",
    seed: SeedOption = 0,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=3, help="Samples of each network at least [10].")
    ] = None,
) -> None:
    """Pack networks to be measured on a machine without a network.

    There: nas agent run --offline PACK --output RESULTS. Here again: nas profile import RESULTS.
    """
    import json
    import sys
    from dataclasses import replace

    from devices.benchmark import NETWORK_PLAN
    from devices.device import Target
    from nas.export.files import write_file
    from nas.fleet import Fleet
    from nas.service import Service
    from nas.settings import Settings
    from search_spaces import SPACES

    archs = _chosen(architectures, samples, space, seed)
    plan = NETWORK_PLAN
    if rounds is not None:
        plan = replace(plan, min_rounds=rounds, max_rounds=max(rounds, plan.max_rounds))
    fleet = Fleet(Service.open(Settings.from_environment()).store)
    target = Target.parse(device)
    document = fleet.pack(SPACES.get(archs[0].space), archs, target, plan)
    write_file(output, json.dumps(document, separators=(",", ":")) + "\n")
    sys.stderr.write(
        f"{len(archs)} networks for {target.key} in {output}; there: "
        f"nas agent run --offline {output.name} --output RESULTS\n"
    )


@app.command("import")
def import_results(
    results: Annotated[list[Path], typer.Argument(help="Files of results, as agents write them.")],
    output_format: FormatOption = Format.table,
) -> None:
    """Store what was measured elsewhere; the same file again changes nothing."""
    from dataclasses import asdict

    from nas.cli.output import print_json, print_rows
    from nas.fleet import Fleet
    from nas.service import Service
    from nas.settings import Settings
    from search_spaces.errors import UsageError

    fleet = Fleet(Service.open(Settings.from_environment()).store)
    rows: list[dict[str, Any]] = []
    for path in results:
        try:
            with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
                report = fleet.import_results(lines)
        except OSError as error:
            msg = f"cannot read the results {path}: {error.strerror}"
            raise UsageError(msg) from error
        except UsageError as error:
            msg = f"{path}: {error}"
            raise UsageError(msg) from error
        rows.append({"file": str(path), **asdict(report)})
    if output_format is Format.json:
        print_json(rows)
    else:
        print_rows(rows, list(rows[0]), "measurements stored")


def _chosen(keys: list[str] | None, samples: int, space: str, seed: int) -> list[Architecture]:
    """The networks that were named, and random ones; at least one, all of one space."""
    import numpy as np

    from nas.errors import InvalidRequestError
    from search_spaces import SPACES, Architecture
    from search_spaces.moves import sample

    archs = [Architecture.parse(key) for key in keys or []]
    if samples > 0:
        archs += sample(SPACES.get(space), samples, np.random.default_rng(seed)).architectures()
    if not archs:
        msg = "nothing to measure: give architecture keys or --samples N"
        raise InvalidRequestError(msg)
    if len({arch.space for arch in archs}) > 1:
        msg = "architectures of one space at a time, please"
        raise InvalidRequestError(msg)
    return archs
