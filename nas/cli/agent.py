"""`nas agent`: measure on this device for a server, or what a pack asks for.

`python -m devices.agent` does the same where only the base libraries are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure on this device for others.", no_args_is_help=True,
                  rich_markup_mode=None)  # fmt: skip


@app.callback()
def agent() -> None:
    """Measure on this device for others."""


@app.command("run")
def run(
    server: Annotated[
        str | None, typer.Option("--server", help="Address, such as https://nas.example.")
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar="NAS_TOKEN", help="The server's token.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when there is nothing to do.")] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="Call the device so, not by its hardware.")
    ] = None,
    accelerator: Annotated[
        bool, typer.Option("--accelerator", help="Measure on the NVIDIA accelerator.")
    ] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Plain http to another host; the token is readable.")
    ] = False,
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder for the agent's id and unsent outcomes.")
    ] = None,
    offline: Annotated[
        Path | None, typer.Option("--offline", help="Instead of a server: a pack to measure.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Results of the pack; gone on with.")
    ] = None,
) -> None:
    """Claim jobs of a server and measure them, or measure a pack; the same command goes on."""
    from devices.agent import door
    from search_spaces.errors import UsageError

    if (server is None) == (offline is None):
        msg = "give --server URL, or --offline PACK without a network"
        raise UsageError(msg)
    if offline is not None:
        if output is None:
            msg = "--offline PACK needs --output RESULTS, the file to carry back"
            raise UsageError(msg)
        code = door.work_through(offline, output, name=name)
    else:
        code = door.work_for(
            server or "", token or "", name=name, accelerator=accelerator, once=once,
            insecure=insecure, state=state,
        )  # fmt: skip
    if code:
        raise typer.Exit(code)
