from __future__ import annotations

from pathlib import Path

import pytest

from devices.catalog import DEVICES, FACTS, DeviceCatalog
from devices.errors import InvalidDeviceFileError
from devices.runtime import RUNTIMES
from search_spaces.errors import UnknownNameError

GOOD = """
aliases = ["toy-board"]
vendor = "Toys"
kind = "cpu"
default_runtime = "ort"
default_precision = "fp32"
[facts]
cpu_cores = 4
memory_bandwidth_gb_s = 12.5
[[sources]]
title = "Toy, data sheet"
url = "https://example.org/toy"
"""


def catalog(folder: Path, **files: str) -> DeviceCatalog:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return DeviceCatalog(folder)


def test_the_promised_devices_are_there() -> None:
    assert {
        "jetson-agx-orin", "jetson-orin-nx", "jetson-orin-nano", "raspberry-pi-4",
        "raspberry-pi-5", "h100", "h200",
    } <= set(DEVICES.names())  # fmt: skip


@pytest.mark.parametrize("name", DEVICES.names())
def test_every_file_is_valid_has_figures_and_says_where_they_are_from(name: str) -> None:
    device = DEVICES.get(name)

    assert device.name == name
    assert device.facts["sources"]
    assert device.facts["memory_bandwidth_gb_s"] > 0
    assert device.facts["default_runtime"] in RUNTIMES.names()
    assert len(set(device.facts) & set(FACTS)) >= 4


def test_jetson_orin_means_the_agx_module() -> None:
    assert DEVICES.get("jetson-orin").name == "jetson-agx-orin"
    assert DEVICES.get("Jetson_Orin").name == "jetson-agx-orin"
    assert DEVICES.aliases()["jetson-orin"] == "jetson-agx-orin"


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    with pytest.raises(UnknownNameError, match="jetson-orin-nano"):
        DEVICES.get("jetson-orin-nani")


def test_a_good_file_is_read_with_its_sources(tmp_path: Path) -> None:
    found = catalog(tmp_path, toy=GOOD).get("toy-board")

    assert (found.name, found.facts["cpu_cores"]) == ("toy", 4)
    assert found.facts["sources"] == ["Toy, data sheet: https://example.org/toy"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cpu_cores = 4", "cpu_cores = -4", "cpu_cores is -4"),
        ("cpu_cores = 4", "cpu_cores = 4.5", "cpu_cores is 4.5"),
        ("cpu_cores = 4", "cpu_cores = true", "cpu_cores is True"),
        ("cpu_cores = 4", "cores = 4", "unknown fact 'cores'"),
        ("12.5", '"fast"', "memory_bandwidth_gb_s is 'fast'"),
        ("12.5", "inf", "memory_bandwidth_gb_s is inf"),
        ("12.5", "nan", "memory_bandwidth_gb_s is nan"),
        ('kind = "cpu"', 'kind = "abacus"', "kind is 'abacus'; allowed: cpu, gpu, npu"),
        ('vendor = "Toys"', "", "vendor is None"),
        ("[[sources]]", "[[notes]]", "unknown entry 'notes'"),
        ("https://example.org/toy", "a friend", "needs a title and a url"),
        ("[facts]", "[facts", "is no device file"),
    ],
)
def test_a_bad_file_is_refused_by_name_with_what_is_wrong(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    bad = catalog(tmp_path, toy=GOOD.replace(old, new))

    with pytest.raises(InvalidDeviceFileError, match=r"toy\.toml") as caught:
        bad.get("toy")

    assert message in str(caught.value)


def test_figures_without_a_source_are_refused(tmp_path: Path) -> None:
    bad = catalog(tmp_path, toy=GOOD.split("[[sources]]")[0])

    with pytest.raises(InvalidDeviceFileError, match="figures need a source"):
        bad.get("toy")


def test_an_alias_cannot_be_taken_twice(tmp_path: Path) -> None:
    bad = catalog(tmp_path, toy=GOOD, other=GOOD)

    with pytest.raises(InvalidDeviceFileError, match="alias 'toy-board' is taken"):
        bad.names() and bad.get("toy")
