"""Is this machine fit to measure, and what disturbs it?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from devices.device import Target
from devices.environment import cpu_pressure, load_snapshot, local_device, steal_ticks
from devices.errors import DeviceError
from devices.lock import host_lock
from devices.runtime import RUNTIMES
from nas.settings import Settings

State = Literal["good", "note", "bad"]

# Waiting for a processor more than this share of the time is a disturbed machine [%].
_PRESSURE = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its state, and what to do if it is not good."""

    check: str
    state: State
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Run all checks; none changes anything but the user's own folder."""
    return [*_device(), *_runtime(), *_disturbance(), *_folder(settings)]


def _device() -> Iterator[Finding]:
    device = local_device()
    yield Finding("device", "good", device.name)
    if device.facts.get("virtual_machine"):
        detail = "virtual: neighbours on the host may slow it down unseen; ratios allow for it"
        yield Finding("machine", "note", detail)
    governor = device.facts.get("governor")
    if governor and governor != "performance":
        yield Finding("governor", "note", f"{governor}; 'performance' gives steadier times")


def _runtime() -> Iterator[Finding]:
    try:
        RUNTIMES.get("ort").check(Target("local"))
        yield Finding("onnxruntime", "good", version("onnxruntime"))
    except (DeviceError, ImportError, PackageNotFoundError) as error:
        yield Finding("onnxruntime", "bad", f"{error}; run: pip install onnxruntime")
    try:
        gpu = version("onnxruntime-gpu")
    except PackageNotFoundError:
        return
    detail = (
        f"onnxruntime-gpu {gpu} overwrites the files of onnxruntime; keep one: "
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime"
    )
    yield Finding("onnxruntime-gpu", "bad", detail)


def _disturbance() -> Iterator[Finding]:
    load = load_snapshot()
    pressure = cpu_pressure()
    if pressure is None:
        yield Finding("pressure", "note", "the kernel does not tell (no /proc/pressure/cpu)")
    else:
        state: State = "good" if pressure < _PRESSURE else "note"
        yield Finding("pressure", state, f"{pressure:.1f} % of the last 10 s some task waited")
    if "load_1min" in load:
        cores = os.cpu_count() or 1
        busy = load["load_1min"] > 0.5 * cores
        yield Finding("load", "note" if busy else "good", f"{load['load_1min']:.2f} of {cores}")
    steal = steal_ticks()
    if steal and steal[1]:
        share = 100.0 * steal[0] / steal[1]
        yield Finding("steal", "note" if share > 2.0 else "good", f"{share:.1f} % since boot")


def _folder(settings: Settings) -> Iterator[Finding]:
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = Path(home) / ".doctor"
        probe.write_text("")
        probe.unlink()
        yield Finding("folder", "good", str(home))
    except OSError as error:
        yield Finding("folder", "bad", f"{home}: {error.strerror}; set NAS_HOME to a writable one")
    try:
        with host_lock("doctor", timeout_s=0.0):
            yield Finding("measuring lock", "good", "free")
    except DeviceError as error:
        yield Finding("measuring lock", "note", str(error))
