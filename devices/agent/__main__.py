"""`python -m devices.agent`: the agent on a bare machine, without Typer or a database.

    python -m devices.agent run --server https://nas.example --token T
    python -m devices.agent offline PACK --output RESULTS
    python -m devices.agent describe RESULTS

Exit codes are those of `nas`: 0 done, 2 the request is wrong, 4 device or server not available or
something failed, 130 interrupted with everything saved.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from search_spaces.errors import NasError


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, work, and say in one sentence what went wrong."""
    options = _parser().parse_args(arguments)
    # After parsing: help and refusals need no NumPy.
    from devices.agent import door

    try:
        match options.command:
            case "run":
                return door.work_for(
                    options.server, options.token or os.environ.get("NAS_TOKEN", ""),
                    name=options.name, accelerator=options.accelerator, once=options.once,
                    insecure=options.insecure, state=options.state,
                )  # fmt: skip
            case "offline":
                return door.work_through(options.pack, options.output, name=options.name)
            case _:
                return door.describe(options.results)
    except NasError as error:
        sys.stderr.write(f"agent: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("agent: stopped; the same command goes on\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devices.agent", description="Measure networks on this device for a server."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="claim jobs of a server and measure them")
    run.add_argument("--server", required=True, help="address, such as https://nas.example")
    run.add_argument("--token", help="the server's token [NAS_TOKEN]")
    run.add_argument("--once", action="store_true", help="end when there is nothing to do")
    run.add_argument("--accelerator", action="store_true", help="measure on the NVIDIA accelerator")
    run.add_argument(
        "--insecure", action="store_true", help="plain http to another host, token readable"
    )
    run.add_argument("--state", type=Path, help="folder for the agent's id and unsent outcomes")
    offline = commands.add_parser("offline", help="measure a pack, without a network")
    offline.add_argument("pack", type=Path)
    offline.add_argument("--output", type=Path, required=True, help="results; gone on with")
    for command in (run, offline):
        command.add_argument("--name", help="call the device so, not by its hardware")
    describe = commands.add_parser("describe", help="where results come from, as Markdown")
    describe.add_argument("results", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
