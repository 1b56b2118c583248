"""Finding an accelerator, by its tool or by what its driver tells, and measuring on it by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from devices import environment
from devices.device import Target
from devices.environment import accelerator_device, local_device
from devices.errors import DeviceUnavailableError
from devices.local import resolve

Tool = Callable[[str], None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Put an `nvidia-smi` first on the path that prints this, whatever it is asked."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(answer: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\necho \"$@\" > '{tmp_path}/asked'\n{answer}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return install


H100 = "echo 'NVIDIA H100 80GB HBM3, 81559, 1980, 2619, 700.00, 9.0, 570.86.15'"


def test_an_accelerator_is_called_after_its_model(tool: Tool) -> None:
    tool(H100.replace("H100 80GB HBM3", "Thing 5 (tm)"))

    device = accelerator_device()

    assert device is not None
    assert device.name == "nvidia-thing-5-tm"


def test_an_accelerator_of_the_catalogue_is_called_as_there(tool: Tool) -> None:
    tool(H100)

    device = accelerator_device()

    assert device is not None
    assert device.name == "h100"
    assert Target.parse(f"{device.name}:cudagraph-fp16-t1-b32").device == device.name
    assert device.facts["accelerator_memory_bytes"] == 81559 * 2**20
    assert device.facts["accelerator_clock_mhz"] == 1980
    assert device.facts["accelerator_power_limit_w"] == 700
    assert device.facts["compute_capability"] == "9.0"
    assert device.facts["driver"] == "570.86.15"
    assert device.facts["host_logical_cores"] == local_device().facts["logical_cores"]


def test_what_the_tool_does_not_know_is_absent(tool: Tool) -> None:
    tool("echo 'NVIDIA Thing, [N/A], [Not Supported], , 30.00, [N/A], 1.2'")

    device = accelerator_device()

    assert device is not None
    known = {name for name in device.facts if not name.startswith("host_")}
    assert known == {"accelerator", "accelerator_power_limit_w", "driver"}


def test_the_accelerator_that_programs_see_is_asked_for(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(H100)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")

    accelerator_device()

    assert "--id=3" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_hidden_accelerator_is_none(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    tool(H100)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert accelerator_device() is None


def test_without_the_tool_the_driver_is_asked(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("exit 9")
    folder = tmp_path / "0000:1b:00.0"
    folder.mkdir()
    (folder / "information").write_text("Model: \t\t NVIDIA A10G\nIRQ:   \t\t 16\n")
    real, real_glob = environment._read, Path.glob
    version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n"
    monkeypatch.setattr(
        environment, "_read", lambda p: version if str(p).endswith("nvidia/version") else real(p)
    )

    def glob(self: Path, pattern: str) -> object:
        return real_glob(tmp_path if "nvidia" in str(self) else self, pattern)

    monkeypatch.setattr(Path, "glob", glob)

    device = accelerator_device()

    assert device is not None
    assert device.name == "nvidia-a10g"
    assert device.facts["driver"] == "550.54.15"


def test_local_means_the_accelerator_for_a_runtime_that_runs_on_it(tool: Tool) -> None:
    tool(H100)

    assert resolve(Target.parse("local:cudagraph-fp32-t1")).device == "h100"
    assert resolve(Target.parse("local")).device == local_device().name


def test_a_processor_is_no_device_of_an_accelerators_runtime(tool: Tool) -> None:
    tool(H100)

    with pytest.raises(DeviceUnavailableError, match="this machine is 'h100'"):
        resolve(Target(local_device().name, "cudagraph"))


def test_without_an_accelerator_its_runtime_is_refused(tool: Tool) -> None:
    tool("exit 9")

    with pytest.raises(DeviceUnavailableError, match="nvidia-smi"):
        resolve(Target.parse("local:cudagraph-fp32-t1"))
