"""Devices we know by their data sheets: one TOML file each, published figures with their sources.

A figure that is not published is absent. The file's name is the device's name; `aliases` lists
others that users may type.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from devices.device import Device
from devices.errors import InvalidDeviceFileError
from search_spaces.errors import UnknownNameError

_TEXTS = ("gpu", "cpu", "architecture", "power_mode")
_COUNTS = ("gpu_cuda_cores", "gpu_tensor_cores", "cpu_cores", "memory_bytes")
_FIGURES = (
    "gpu_clock_ghz", "cpu_clock_ghz", "cpu_fp32_flops_per_cycle", "peak_gflops_fp32",
    "peak_gflops_fp16", "peak_gops_int8", "memory_bandwidth_gb_s", "kernel_overhead_us",
    "power_watts_max",
)  # fmt: skip
FACTS = (*_TEXTS, *_COUNTS, *_FIGURES)
"""Facts that a file may state; units end the names."""

_KINDS = ("cpu", "gpu", "npu")
_TOP = ("vendor", "kind", "default_runtime", "default_precision")


@dataclass(frozen=True)
class DeviceCatalog:
    """Devices of one folder of TOML files.

    Attributes:
        folder: Where the files lie.
    """

    folder: Path

    def names(self) -> list[str]:
        """All names, sorted; aliases left out."""
        return list(self._files)

    def aliases(self) -> dict[str, str]:
        """Other names that users may type, each with the name it stands for."""
        return dict(self._aliases)

    def get(self, name: str) -> Device:
        """The device of that name or alias, under its own name.

        Its facts hold all figures, `vendor`, `kind`, `default_runtime`, `default_precision` and
        `sources`, a list of titles with their addresses.

        Raises:
            UnknownNameError: If there is none; the nearest names are listed.
            InvalidDeviceFileError: If its file is not as it should be.
        """
        wanted = name.strip().lower().replace("_", "-")
        wanted = self._aliases.get(wanted, wanted)
        if wanted not in self._files:
            raise UnknownNameError.of("device", name, [*self._files, *self._aliases])
        return _device(self._files[wanted])

    @cached_property
    def _files(self) -> dict[str, Path]:
        return {file.stem: file for file in sorted(self.folder.glob("*.toml"))}

    @cached_property
    def _aliases(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, file in self._files.items():
            for alias in _read(file).get("aliases", []):
                if alias in found or alias in self._files:
                    msg = f"{file.name}: alias {alias!r} is taken; choose another"
                    raise InvalidDeviceFileError(msg)
                found[alias] = name
        return found


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{file.name} is no device file: {error}"
        raise InvalidDeviceFileError(msg) from error


def _device(file: Path) -> Device:
    content = _read(file)
    unknown = sorted(content.keys() - {*_TOP, "aliases", "facts", "sources"})
    if unknown:
        known = ", ".join((*_TOP, "aliases", "facts", "sources"))
        msg = f"{file.name}: unknown entry {unknown[0]!r}; known: {known}"
        raise InvalidDeviceFileError(msg)
    top = {name: _text(file, content, name) for name in _TOP}
    if top["kind"] not in _KINDS:
        msg = f"{file.name}: kind is {top['kind']!r}; allowed: {', '.join(_KINDS)}"
        raise InvalidDeviceFileError(msg)
    facts = content.get("facts")
    if not isinstance(facts, Mapping):
        msg = f"{file.name}: a table [facts] with published figures is missing"
        raise InvalidDeviceFileError(msg)
    checked = {name: _fact(file, str(name), value) for name, value in facts.items()}
    return Device(file.stem, {**top, **checked, "sources": _sources(file, content)})


def _text(file: Path, content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        msg = f"{file.name}: {name} is {value!r}; it must be a text"
        raise InvalidDeviceFileError(msg)
    return value


def _fact(file: Path, name: str, value: Any) -> Any:
    if name not in FACTS:
        msg = f"{file.name}: unknown fact {name!r}; units end the names, known: {', '.join(FACTS)}"
        raise InvalidDeviceFileError(msg)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _TEXTS:
        fits = isinstance(value, str) and bool(value)
    elif name in _COUNTS:
        fits = isinstance(value, int) and number and value > 0
    else:
        fits = number and 0 < value < float("inf")
    if not fits:
        kind = "a text" if name in _TEXTS else "a positive number"
        msg = f"{file.name}: {name} is {value!r}; it must be {kind}, or absent if unknown"
        raise InvalidDeviceFileError(msg)
    return value


def _sources(file: Path, content: Mapping[str, Any]) -> list[str]:
    found = content.get("sources")
    if not isinstance(found, list) or not found:
        msg = f"{file.name}: [[sources]] with title and url are missing; figures need a source"
        raise InvalidDeviceFileError(msg)
    lines = []
    for source in found:
        title, url = (source.get(key) if isinstance(source, dict) else None
                      for key in ("title", "url"))  # fmt: skip
        if not isinstance(title, str) or not str(url).startswith("https://") or not title:
            msg = f"{file.name}: source {source!r} needs a title and a url that begins https://"
            raise InvalidDeviceFileError(msg)
        lines.append(f"{title}: {url}")
    return lines


DEVICES = DeviceCatalog(Path(__file__).parent / "catalog")
