"""Who an agent is: an id of its own, made once and kept, and the device that it measures on."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path

from devices.device import Device, Target
from devices.environment import accelerator_device, local_device
from devices.errors import DeviceUnavailableError
from devices.lock import host_lock
from devices.runtime import RUNTIMES
from search_spaces.errors import UsageError

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Identity:
    """An agent as it introduces itself.

    Attributes:
        id: Unique; kept in the state folder.
        device: What it measures on.
        runtimes: Runtimes that measure on such a device.
        version: Of our software, or `source` where it is not installed.
        folder: Where its id and what it could not send yet lie.
    """

    id: str
    device: Device
    runtimes: tuple[str, ...]
    version: str
    folder: Path


def state_folder(environment: Mapping[str, str]) -> Path:
    """Where agents keep their state: `NAS_HOME`, else the user's data folder, and `agent`."""
    if environment.get("NAS_HOME"):
        return Path(environment["NAS_HOME"]).expanduser() / "agent"
    data = environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "hardware-aware-nas" / "agent"


def identify(state: Path, *, name: str | None = None, accelerator: bool = False) -> Identity:
    """This agent; its id is made when it first starts for a device.

    Args:
        state: Folder for the state of all agents of this user.
        name: Call the device so, instead of by its hardware.
        accelerator: Measure on this machine's accelerator, not on its processor.

    Raises:
        UsageError: If the name cannot be that of a device, or the folder cannot be written.
        DeviceUnavailableError: If an accelerator is asked for and there is none.
    """
    device = measured_device(name, accelerator=accelerator)
    folder = state / device.name
    place = "accelerator" if accelerator else "processor"
    runtimes = (known for known in RUNTIMES.names() if RUNTIMES.get(known).runs_on == place)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        agent_id = _kept_id(folder / "id")
    except OSError as error:
        msg = f"cannot keep state in {folder}: {error.strerror}; give another folder with --state"
        raise UsageError(msg) from error
    return Identity(agent_id, device, tuple(runtimes), software_version(), folder)


def measured_device(name: str | None, *, accelerator: bool) -> Device:
    """The device by its hardware, called `name` if one is given; see `identify`."""
    found = accelerator_device() if accelerator else local_device()
    if found is None:
        msg = "this machine shows no NVIDIA accelerator; check that nvidia-smi lists one"
        raise DeviceUnavailableError(msg)
    if name is None:
        return found
    if Target.parse(name).key != Target(name).key:
        msg = f"{name!r} is a target, not a device; give the part before the colon"
        raise UsageError(msg)
    return Device(name, {**found.facts, "hardware": found.name})


@contextmanager
def only_one(agent: Identity) -> Iterator[None]:
    """One process an identity: two would send each other's outcomes.

    Raises:
        DeviceUnavailableError: If another one is running.
    """
    with ExitStack() as stack:
        try:
            lock = host_lock("agent", timeout_s=0.0, path=agent.folder / "lock")
            stack.enter_context(lock)
        except DeviceUnavailableError as error:
            msg = (
                f"an agent for {agent.device.name} is running already; stop it, or give this one "
                "another device with --name"
            )
            raise DeviceUnavailableError(msg) from error
        yield


def software_version() -> str:
    """Of the installed distribution; `source` where the tree itself runs."""
    try:
        return installed_version("hardware-aware-nas")
    except PackageNotFoundError:
        return "source"


def _kept_id(file: Path) -> str:
    """The id in the file; a new one if there is none, or a damaged one."""
    if file.is_file():
        kept = file.read_text(encoding="utf-8", errors="replace").strip()
        if _ID.fullmatch(kept):
            return kept
    made = uuid.uuid4().hex
    draft = file.with_name(f"id.{os.getpid()}")
    draft.write_text(made + "\n", encoding="utf-8")
    draft.replace(file)
    return made
