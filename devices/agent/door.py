"""What both command lines call: `python -m devices.agent` and `nas agent`.

Only here are signals caught, logs formatted and the environment read.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from devices.agent import loop
from devices.agent.client import Client
from devices.agent.describe import markdown, provenance
from devices.agent.identity import identify, only_one, state_folder
from devices.agent.offline import read_results, run_pack
from devices.errors import InvalidPackError

# As the command line's: a measurement failed.
_FAILED = 4


def work_for(
    url: str, token: str, *, name: str | None = None, accelerator: bool = False,
    once: bool = False, insecure: bool = False, state: Path | None = None,
) -> int:  # fmt: skip
    """Work for a server; returns the exit code.

    Args:
        url: Address of the server.
        token: The server's token.
        name: Call the device so.
        accelerator: Measure on the accelerator.
        once: End when there is nothing to do.
        insecure: Allow plain HTTP to another host.
        state: Folder for the agent's state.

    Raises:
        UsageError: If address, token, name or folder cannot be used.
        DeviceError: If the device or the server is not available.
    """
    _prepare()
    client = Client(url, token, insecure=insecure)
    agent = identify(
        state or state_folder(os.environ), name=name, accelerator=accelerator
    )  # fmt: skip
    with only_one(agent):
        tally = loop.run(client, agent, once=once)
    sys.stderr.write(
        f"{tally.jobs} jobs, {tally.measured} measured, {tally.failed} failed, "
        f"{tally.kept} kept to be sent\n"
    )
    return _FAILED if tally.failed or tally.kept else 0


def work_through(pack: Path, output: Path, *, name: str | None = None) -> int:
    """Measure a pack; returns the exit code.

    Raises:
        InvalidPackError: If the pack or the results cannot be used.
        DeviceError: If this is not the device.
    """
    _prepare()
    tally = run_pack(
        pack, output, name=name,
        on_step=lambda done, total, text: _say(f"{done}/{total} {text}"),
        on_wait=lambda holder: _say(f"waiting for {holder}, which is measuring on this host"),
    )  # fmt: skip
    _say(
        f"{output}: {tally.total} items, {tally.before} were there, {tally.measured} measured, "
        f"{tally.failed} failed"
    )
    return _FAILED if tally.failed else 0


def describe(results: Path) -> int:
    """Print where results come from.

    Raises:
        InvalidPackError: If the file cannot be read.
    """
    try:
        data = results.read_bytes()
    except OSError as error:
        msg = f"cannot read the results {results}: {error.strerror}"
        raise InvalidPackError(msg) from error
    sys.stdout.write(markdown(provenance(read_results(data))))
    return 0


def _prepare() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
