"""`nas profile`: measure networks on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import (
    DeviceOption,
    Format,
    FormatOption,
    QuietOption,
    SeedOption,
    SpaceOption,
)


def profile(
    architectures: Annotated[
        list[str] | None, typer.Argument(help="Architecture keys, as search prints them.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="Or: so many random networks.")] = 0,
    space: SpaceOption = "mobilenetv3",
    device: DeviceOption = "local",
    seed: SeedOption = 0,
    output_format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Measure networks with the paired protocol; every sample is stored."""
    import numpy as np

    from devices.measurement import Measurement
    from nas.cli.output import print_json, print_rows
    from nas.cli.progress import reporter, stop_on_terminate
    from nas.errors import InvalidRequestError
    from nas.service import Service
    from nas.settings import Settings
    from search_spaces import SPACES, Architecture
    from search_spaces.moves import sample

    archs = [Architecture.parse(key) for key in architectures or []]
    if samples > 0:
        archs += sample(SPACES.get(space), samples, np.random.default_rng(seed)).architectures()
    if not archs:
        msg = "nothing to measure: give architecture keys or --samples N"
        raise InvalidRequestError(msg)
    if len({arch.space for arch in archs}) > 1:
        msg = "architectures of one space at a time, please"
        raise InvalidRequestError(msg)
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
