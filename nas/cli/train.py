"""`nas train`: super-networks and differentiable search, on this machine's CPU or accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import DeviceOption, Format, FormatOption

app = typer.Typer(help="Train: shared weights of a space, or an architecture by gradients.",
                  no_args_is_help=True, rich_markup_mode=None)  # fmt: skip

OutOption = Annotated[Path, typer.Option("--output", help="Folder of the state and the results.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", envvar="NAS_DATA", help="Folder of CIFAR-10's Parquet files."),
]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="File (npz) or folder of decoded images.")
]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the training images.")
]
MinutesOption = Annotated[
    float | None, typer.Option("--minutes", help="Stop and save after so long.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the state in --output.")]
OnOption = Annotated[str, typer.Option("--on", help="Train on auto, cpu or cuda.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of all randomness.")]
SubsetOption = Annotated[
    int | None, typer.Option("--subset", help="Only so many images of each part, for trials.")
]


@app.command("supernet")
def supernet(
    output: OutOption,
    space: Annotated[str, typer.Option("--space", help="Search space.")] = "mobilenetv3-cifar",
    data: DataOption = None,
    cache: CacheOption = None,
    epochs: EpochsOption = None,
    minutes: MinutesOption = None,
    resume: ResumeOption = False,
    on: OnOption = "auto",
    seed: SeedOption = 0,
    subset: SubsetOption = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Train the shared weights of all networks of a space on CIFAR-10."""
    from nas.cli.output import print_json, print_rows
    from nas.supernet.recipe import Recipe
    from nas.supernet.train import train_supernet

    _log_to_stderr()
    recipe = Recipe(seed=seed) if epochs is None else Recipe(seed=seed, epochs=epochs)
    metrics = train_supernet(
        output, space=space, data=data, cache=cache, recipe=recipe, device=on, minutes=minutes,
        resume=resume, subset=subset,
    )  # fmt: skip
    if output_format is Format.json:
        print_json(metrics)
        return
    rows = [{"network": name, **metrics[name]} for name in ("largest", "smallest")]
    columns = ["network", "macs", "parameters", "validation_percent", "test_percent"]
    print_rows(rows, columns, f"{output} ({metrics['epochs']} epochs)")


@app.command("dnas")
def dnas(
    output: OutOption,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Latency limit with unit: 5ms.")
    ] = None,
    device: DeviceOption = "local",
    space: Annotated[str, typer.Option("--space", help="Search space.")] = "fbnet",
    data: DataOption = None,
    cache: CacheOption = None,
    epochs: EpochsOption = None,
    minutes: MinutesOption = None,
    resume: ResumeOption = False,
    on: OnOption = "auto",
    seed: SeedOption = 0,
    subset: SubsetOption = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Search for an architecture by gradients; the latency is that predicted for the device."""
    from nas.budget import parse_duration_ms
    from nas.cli.output import print_json, print_rows
    from nas.service import Service
    from nas.settings import Settings
    from nas.supernet.dnas_recipe import SearchRecipe
    from nas.supernet.extras import require
    from nas.supernet.latency_term import block_latencies
    from nas.supernet.train import search_differentiably
    from search_spaces import SPACES

    _log_to_stderr()
    require("torch", "train")
    limit = None if budget is None else parse_duration_ms(budget)
    length = {} if epochs is None else {"epochs": epochs, "postponed_epochs": epochs // 10}
    recipe = SearchRecipe(budget=limit, seed=seed, **length)
    table = None
    if not resume:
        service = Service.open(Settings.from_environment())
        table = block_latencies(SPACES.get(space), service.latency_predictor(space, device))
    result = search_differentiably(
        output, space=space, table=table, unit=f"ms on {device}", data=data, cache=cache,
        recipe=recipe, device=on, minutes=minutes, resume=resume, subset=subset,
    )  # fmt: skip
    if output_format is Format.json:
        print_json(result)
        return
    columns = ["architecture", "cost", "expected_cost", "budget", "unit", "validation_percent"]
    print_rows([result], columns, f"{output} ({result['epochs']} epochs); predicted, not measured")


def _log_to_stderr() -> None:
    """One line an epoch."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
