"""`nas import`: what others measured, or what was measured on a machine without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Format, FormatOption

app = typer.Typer(help="Import latencies that were measured elsewhere.", no_args_is_help=True,
                  rich_markup_mode=None)  # fmt: skip


@app.callback()
def _group() -> None:
    """Import latencies that were measured elsewhere."""


@app.command("latency-table")
def latency_table(
    file: Annotated[Path, typer.Argument(help="CSV with a header, or npz.")],
    space: Annotated[str, typer.Option("--space", help="Search space of its networks.")],
    device: Annotated[
        str | None, typer.Option("--device", help="Device that was measured, such as pixel3.")
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--column", help="Column of the latencies [the device's, or latency_ms]."),
    ] = None,
    all_devices: Annotated[
        bool, typer.Option("--all-devices", help="Every column of the file is a device.")
    ] = False,
    skip_bad_rows: Annotated[
        bool,
        typer.Option("--skip-bad-rows", help="Leave wrong rows out and report their number."),
    ] = False,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Where the file is from: paper, address, licence."),
    ] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Import a table of latencies that others measured.

    A CSV has a header: architecture (or a column for each choice of the space) and latency_ms. An
    npz has arch, devices and latency_ms. Wrong rows are refused, and nothing is stored then.
    """
    from nas.cli.output import print_json, print_rows
    from nas.settings import Settings
    from nas.store import SqlStore
    from nas.tables import import_all_latency_tables, import_latency_table
    from search_spaces.errors import UsageError

    if all_devices == (device is not None) or (all_devices and column):
        msg = "name one device with --device (and its --column), or take all with --all-devices"
        raise UsageError(msg)
    provenance = {} if source is None else {"source": source}
    with SqlStore(Settings.from_environment().database) as store:
        if device is None:
            tables = import_all_latency_tables(
                store, file, space=space, provenance=provenance, skip_bad_rows=skip_bad_rows
            )
        else:
            tables = [
                import_latency_table(
                    store, file, space=space, device=device, column=column,
                    provenance=provenance, skip_bad_rows=skip_bad_rows,
                )
            ]  # fmt: skip
    rows = [
        {
            "device": table.provenance["device"],
            "target": table.target,
            "space": table.space,
            "kind": table.kind,
            "networks": len(table),
            "skipped_rows": table.provenance["skipped_rows"],
            "lowest_ms": float(table.latency_ms.min()),
            "highest_ms": float(table.latency_ms.max()),
        }
        for table in tables
    ]
    if output_format is Format.json:
        print_json(rows)
    else:
        print_rows(rows, list(rows[0]), f"imported from {file.name}")
