"""The `nas` command: parses, calls `nas.service`, prints; errors become one sentence and a code.

Exit codes: 0 ok; 1 other error; 2 usage; 3 nothing meets the budget; 4 device or predictor not
available; 5 verification failed; 130 interrupted, everything saved.
"""

from __future__ import annotations

import os
import sys

import typer

from nas.cli import (
    agent,
    device,
    evaluate,
    importing,
    predict,
    profiling,
    run,
    search,
    serve,
    train,
    ui,
)
from search_spaces.errors import NasError

app = typer.Typer(
    name="nas",
    help="Search for networks that really meet a latency budget on your device.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("search")(search.search)
app.add_typer(profiling.app, name="profile")
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(device.app, name="device")
app.add_typer(importing.app, name="import")
app.add_typer(agent.app, name="agent")
app.add_typer(run.app, name="run")
app.command("serve")(serve.serve)
app.command("ui")(ui.ui)
app.add_typer(train.app, name="train")


def main() -> None:
    """Entry point of the `nas` script."""
    try:
        app()
    except NasError as error:
        sys.stderr.write(f"nas: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("nas: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does: not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
