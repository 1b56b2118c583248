"""Where a search is for: the space, the device under any of its names, and how it is reached.

A device is *local* (this machine), behind an *agent* that is alive, or out of reach: then answers
are predicted from what is known of it, be it measurements, imported tables or a data sheet.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from devices.catalog import DEVICES
from devices.device import Device, Target
from devices.environment import local_device
from devices.local import LOCAL
from devices.runtime import RUNTIMES
from nas.errors import InvalidRequestError
from nas.fleet import Fleet
from nas.request import Reach
from nas.store import Store
from search_spaces import SPACES
from search_spaces.errors import UnknownNameError, UsageError
from search_spaces.space import SearchSpace

IMPORTED = "imported:"


@dataclass(frozen=True, slots=True)
class Place:
    """One space on one target.

    Attributes:
        space: The search space.
        key: Key of the target; `imported:NAME` for a published table of unknown conditions.
        device: What is known of the device.
        reach: How it can be measured, if at all.
        target: The target; None for imported tables.
    """

    space: SearchSpace
    key: str
    device: Device
    reach: Reach
    target: Target | None

    def measuring(self) -> Target:
        """The target, where something is to be measured on it.

        Raises:
            InvalidRequestError: If it is an imported table.
        """
        if self.target is None:
            msg = f"{self.key} is an imported table; nothing can be measured on it"
            raise InvalidRequestError(msg)
        return self.target


def find_place(
    store: Store, space_name: str, name: str, reach: Reach = "auto",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Place:  # fmt: skip
    """Look a device up: this machine, an agent's, the catalogue's, or an imported table's.

    Args:
        store: Where agents, devices and tables are known.
        space_name: Name of the space.
        name: Device or target as the user wrote it.
        reach: As decided when the run was opened; `auto` decides now.
        now: The present time, UTC.

    Raises:
        UnknownNameError: If nothing has that name; the nearest are listed.
        UnsupportedTargetError: If it is this machine and cannot run so.
    """
    space = SPACES.get(space_name)
    if name.startswith(IMPORTED):
        return _imported(store, space, name.removeprefix(IMPORTED))
    try:
        target = Target.parse(name)
    except UsageError:
        target = None
    if target is not None:
        here = local_device()
        if target.device in (LOCAL, here.name):
            target = replace(target, device=here.name)
            RUNTIMES.get(target.runtime).check(target)
            return Place(space, target.key, here, "local", target)
        found = _remote(store, target, explicit=":" in name)
        if found is not None:
            target, device = found
            if reach == "auto":
                reach = "agent" if Fleet(store, now).alive(device.name) else "none"
            return Place(space, target.key, device, reach, target)
    try:
        return _imported(store, space, slug(name))
    except UnknownNameError:
        if target is None:
            Target.parse(name)  # says what a target looks like
        raise


def slug(text: str) -> str:
    """A name as targets have it.

    Example:
        >>> slug("Titan_RTX_256")
        'titan-rtx-256'
    """
    return re.sub(r"[^a-z0-9.]+", "-", text.strip().lower()).strip("-")


def known_names(store: Store, space: str | None = None) -> list[str]:
    """Every name that `find_place` answers to."""
    imported = {table.target.removeprefix(IMPORTED) for table in store.latency_tables(space)}
    stored = {device.name for device in store.devices()}
    listed = {*DEVICES.names(), *DEVICES.aliases()}
    return sorted({LOCAL, local_device().name, *listed, *stored, *imported})


def _imported(store: Store, space: SearchSpace, name: str) -> Place:
    key = IMPORTED + slug(name)
    tables = store.latency_tables(space.name, key)
    if not tables:
        raise UnknownNameError.of("device", name, known_names(store, space.name))
    return Place(space, key, Device(slug(name), dict(tables[-1].provenance)), "none", None)


def _remote(store: Store, target: Target, *, explicit: bool) -> tuple[Target, Device] | None:
    """A device of the catalogue or the store, and the target on it."""
    device = next((d for d in store.devices() if d.name == target.device), None)
    if target.device in {*DEVICES.names(), *DEVICES.aliases()}:
        listed = DEVICES.get(target.device)
        stored = next((d for d in store.devices() if d.name == listed.name), device)
        # What an agent found out on the spot goes before the data sheet.
        device = Device(listed.name, {**listed.facts, **(stored.facts if stored else {})})
    if device is None:
        return None
    if not explicit and "default_runtime" in device.facts:
        target = replace(
            target, runtime=str(device.facts["default_runtime"]).replace("-", ""),
            precision=str(device.facts.get("default_precision", target.precision)),
        )  # fmt: skip
    return replace(target, device=device.name), device
