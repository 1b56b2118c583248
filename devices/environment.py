"""What this machine is, and what it is like right now; what cannot be read is absent."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from devices.catalog import DEVICES
from devices.device import Device
from devices.errors import DeviceUnavailableError

_INSTRUCTION_SETS = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16",
    "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "fphp", "sve", "i8mm", "bf16",
)  # fmt: skip


def local_device() -> Device:
    """This machine; the name depends on its hardware only, so it survives reboots and hosts names.

    Raises:
        DeviceUnavailableError: On a system where nothing can be found out (neither /proc nor
            a processor name).
    """
    facts = _hardware_facts()
    model = str(facts.get("cpu_model") or platform.processor() or platform.machine())
    if not model:
        msg = "this machine tells nothing about its processor; local cannot be identified"
        raise DeviceUnavailableError(msg)
    stable = {key: facts[key] for key in sorted(facts) if key not in ("memory_bytes", "governor")}
    digest = hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()[:6]
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(.*?\)|@.*", "", model.lower())).strip("-")
    return Device(f"{slug[:32].strip('-')}-{facts['logical_cores']}c-{digest}", facts)


def _hardware_facts() -> dict[str, Any]:
    facts: dict[str, Any] = {
        "architecture": platform.machine(),
        "system": platform.system(),
        "logical_cores": os.cpu_count() or 1,
    }
    fields = dict(
        line.split(":", 1) for line in _read("/proc/cpuinfo").split("\n\n")[0].splitlines()
        if ":" in line
    )  # fmt: skip
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    for source, name in (("model name", "cpu_model"), ("cpu family", "cpu_family"),
                         ("model", "cpu_model_number"), ("stepping", "cpu_stepping")):  # fmt: skip
        if source in fields:
            facts[name] = fields[source]
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    if flags:
        facts["instruction_sets"] = [name for name in _INSTRUCTION_SETS if name in flags]
    if "hypervisor" in flags:
        facts["virtual_machine"] = True
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(index / name).strip() for name in ("level", "type", "size"))
        if level and size:
            letter = {"Data": "d", "Instruction": "i"}.get(kind, "")
            facts[f"cache_l{level}{letter}"] = size
    memory = re.search(r"MemTotal:\s+(\d+) kB", _read("/proc/meminfo"))
    if memory:
        facts["memory_bytes"] = int(memory[1]) * 1024
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    if governor:
        facts["governor"] = governor
    return facts


# Fields of `nvidia-smi --query-gpu`, what each is called here, and its unit's factor.
_ACCELERATOR_FACTS = (
    ("name", "accelerator", 0),
    ("memory.total", "accelerator_memory_bytes", 2**20),
    ("clocks.max.sm", "accelerator_clock_mhz", 1),
    ("clocks.max.memory", "accelerator_memory_clock_mhz", 1),
    ("power.limit", "accelerator_power_limit_w", 1),
    ("compute_cap", "compute_capability", 0),
    ("driver_version", "driver", 0),
)


def accelerator_device() -> Device | None:
    """The first visible NVIDIA accelerator of this machine; None where none can be found.

    The name is the catalogue's, or else the model's own, so that machines with equal accelerators
    share it: their processors play no part in what is timed on the device.
    """
    facts = _accelerator_facts()
    slug = re.sub(r"[^a-z0-9]+", "-", str(facts.get("accelerator", "")).lower()).strip("-")
    if not slug:
        return None
    host = {f"host_{name}": value for name, value in _hardware_facts().items()
            if name in ("cpu_model", "logical_cores")}  # fmt: skip
    return Device(DEVICES.aliases().get(slug, slug), {**facts, **host})


def _accelerator_facts() -> dict[str, Any]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = (visible or "0").split(",")[0].strip()
    if visible == "" or first == "-1":
        return {}
    command = [
        "nvidia-smi", f"--id={first}", "--format=csv,noheader,nounits",
        f"--query-gpu={','.join(field for field, _, _ in _ACCELERATOR_FACTS)}",
    ]  # fmt: skip
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        values = [value.strip() for value in told.stdout.splitlines()[0].split(",")]
    except (OSError, subprocess.SubprocessError, IndexError):
        return _accelerator_in_proc() or _accelerator_by_torch()
    facts: dict[str, Any] = {}
    for value, (_, name, factor) in zip(values, _ACCELERATOR_FACTS, strict=False):
        number = re.fullmatch(r"\d+(\.\d+)?", value)
        if not factor and value and not value.startswith("["):
            facts[name] = value
        elif factor and number:
            facts[name] = int(float(value) * factor)
    return facts


def _accelerator_in_proc() -> dict[str, Any]:
    """What the driver itself tells, where its tool is not installed."""
    facts: dict[str, Any] = {}
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))[:1]:
        model = re.search(r"Model:\s*(\S.*)", _read(file))
        if model:
            facts["accelerator"] = model[1].strip()
    driver = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", _read("/proc/driver/nvidia/version"))
    if facts and driver:
        facts["driver"] = driver[1]
    return facts


def _accelerator_by_torch() -> dict[str, Any]:
    """What torch tells, asked in another process; containers may hide tool and driver alike."""
    if not Path("/dev/nvidiactl").exists():
        return {}
    code = (
        "import torch; p = torch.cuda.get_device_properties(0); "
        "print(p.name, p.total_memory, f'{p.major}.{p.minor}', sep='|')"
    )
    command = [sys.executable, "-c", code]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        name, memory, capability = told.stdout.strip().split("|")
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return {
        "accelerator": name,
        "accelerator_memory_bytes": int(memory),
        "compute_capability": capability,
    }


def software_versions() -> dict[str, str]:
    """Versions that change latency, runtime's own left out."""
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip(),
    }


def cpu_pressure() -> float | None:
    """Share of the last ten seconds in which some task waited for a processor [%]; PSI some avg10.

    None where the kernel does not tell.
    """
    match = re.search(r"some avg10=([\d.]+)", _read("/proc/pressure/cpu"))
    return float(match[1]) if match else None


def steal_ticks() -> tuple[int, int] | None:
    """(stolen by the hypervisor, all) clock ticks since boot; None where unknown."""
    fields = _read("/proc/stat").split("\n", 1)[0].split()[1:]
    return (int(fields[7]), sum(map(int, fields[:8]))) if len(fields) >= 8 else None


def load_snapshot() -> dict[str, Any]:
    """Load, pressure, clock rate and temperature right now, each absent if unreadable."""
    snapshot: dict[str, Any] = {}
    load = _read("/proc/loadavg").split()
    if load:
        snapshot["load_1min"] = float(load[0])
    pressure = cpu_pressure()
    if pressure is not None:
        snapshot["cpu_pressure_percent"] = pressure
    clock = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").strip()
    if clock.isdigit():
        snapshot["clock_mhz"] = int(clock) / 1000
    zones = [_read(z).strip() for z in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    celsius = [int(zone) / 1000 for zone in zones if zone.lstrip("-").isdigit()]
    if celsius:
        snapshot["temperature_celsius"] = max(celsius)
    if hasattr(os, "sched_getaffinity"):
        snapshot["affinity"] = sorted(os.sched_getaffinity(0))
    snapshot["nice"] = os.nice(0) if sys.platform != "win32" else 0
    return snapshot


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
