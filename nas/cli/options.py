"""Options that several commands share."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer


class Format(enum.StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


FormatOption = Annotated[
    Format, typer.Option("--format", "-o", help="Print results as a table or as JSON.")
]
SpaceOption = Annotated[str, typer.Option("--space", help="Search space.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="Device or target, such as local or local:ort-fp32-t1.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", help="Folder for the result [runs/RUN].")
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="npz with the largest network's tensors; without it the file is untrained.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of all randomness.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, help="Processes that evaluate accuracies.")
]
RayOption = Annotated[
    str | None,
    typer.Option("--ray", help="Evaluate on Ray: 'auto', 'local', or the address of a cluster."),
]
