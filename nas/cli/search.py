"""`nas search`: from a budget to a verified network and its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import (
    DeviceOption,
    Format,
    FormatOption,
    OutputOption,
    QuietOption,
    RayOption,
    SeedOption,
    SpaceOption,
    WeightsOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from nas.result import SearchResult


def search(
    budget: Annotated[str, typer.Option("--budget", help="Latency limit with unit: 5ms.")],
    device: DeviceOption = "local",
    space: SpaceOption = "mobilenetv3",
    risk: Annotated[
        str, typer.Option("--risk", help="Accepted probability of exceeding the budget.")
    ] = "5%",
    strategy: Annotated[str, typer.Option("--strategy", help="Search strategy.")] = "evolution",
    seed: SeedOption = 0,
    batch: Annotated[int, typer.Option("--batch", help="Networks measured per decision.")] = 6,
    max_measurements: Annotated[
        int, typer.Option("--max-measurements", help="Networks measured before verification.")
    ] = 24,
    occasions: Annotated[
        int, typer.Option("--occasions", help="Processes, 10 s apart, that verify the winner.")
    ] = 3,
    evaluations: Annotated[
        int, typer.Option("--evaluations", help="Accuracies evaluated, where a space needs it.")
    ] = 24,
    workers: WorkersOption = 1,
    ray: RayOption = None,
    output: OutputOption = None,
    weights: WeightsOption = None,
    output_format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Find the most accurate network that meets a latency budget on a device, and verify it."""
    from nas.budget import parse_duration_ms, parse_share
    from nas.cli.executor import executor_of
    from nas.cli.progress import reporter, stop_on_terminate
    from nas.request import SearchRequest
    from nas.service import Service
    from nas.settings import Settings

    request = SearchRequest.build(
        space=space, device=device, budget_ms=parse_duration_ms(budget), risk=parse_share(risk),
        strategy=strategy, seed=seed, batch=batch, max_measurements=max_measurements,
        occasions=occasions, evaluations=evaluations,
    )  # fmt: skip
    stop_on_terminate()
    with reporter(quiet=quiet) as progress, executor_of(workers, ray) as executor:
        service = Service.open(Settings.from_environment(), progress)
        result = service.search(request, output, weights, executor)
    finish(result, output or Path("runs") / result.run, output_format)


def finish(result: SearchResult, folder: Path, output_format: Format) -> None:
    """Print the answer and end with its exit code.

    Raises:
        NoFeasibleArchitectureError: If nothing meets the budget.
        VerificationFailedError: If promising networks did not hold.
    """
    from nas.cli.output import print_json, print_result
    from nas.errors import NoFeasibleArchitectureError, VerificationFailedError

    if output_format is Format.json:
        print_json(result.as_json())
    else:
        print_result(result, folder)
    if result.state in ("verified", "predicted"):
        return
    near = result.nearest
    hint = (
        f"; the nearest is {near.key}, {near.kind} at {near.latency_ms:.3g} ms "
        f"(upper bound {near.latency_high_ms:.3g} ms)"
        if near
        else ""
    )
    budget = f"{result.budget_ms:g} ms on {result.target}"
    if result.state == "infeasible":
        msg = f"no network of {result.space} meets {budget}{hint}"
        raise NoFeasibleArchitectureError(msg)
    msg = f"no network was verified within {budget}{hint}; resume on a quieter machine or ask more"
    raise VerificationFailedError(msg)
