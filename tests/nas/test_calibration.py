from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.errors import DeviceUnavailableError
from nas.calibration import calibrate, measure_networks
from nas.places import find_place
from nas.progress import Silent
from nas.service import Service
from nas.settings import Settings
from nas.store import SqlStore
from nas.tables import import_latency_table
from search_spaces import SPACES
from search_spaces.architecture import Architecture

DEVICES = ("titan_rtx_256", "gold_6226", "fpga", "eyeriss", "pixel2")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, nas_data: Path) -> Iterator[SqlStore]:
    """Five devices of the public table of NAS-Bench-201."""
    opened = SqlStore(Settings(tmp_path_factory.mktemp("home")).database)
    for device in DEVICES:
        import_latency_table(
            opened, nas_data / "latency_nasbench201.npz", space="nasbench201", device=device,
            column=None, provenance={},
        )  # fmt: skip
    yield opened
    opened.close()


@pytest.mark.slow
def test_ten_rows_of_a_table_rank_the_others(store: SqlStore) -> None:
    place = find_place(store, "nasbench201", "fpga")

    _, summary = calibrate(store, place, 10, Silent())

    assert summary["kind"] == "imported"
    assert summary["networks"] == 10
    assert summary["source_devices"] == 4
    assert summary["spearman"] > 0.95
    assert summary["coverage_of_90_percent"] > 0.8


@pytest.mark.slow
def test_more_rows_tell_more(store: SqlStore) -> None:
    place = find_place(store, "nasbench201", "eyeriss")

    few, many = (calibrate(store, place, count, Silent())[1] for count in (3, 40))

    assert many["mape_percent"] < few["mape_percent"]


def test_a_device_out_of_reach_without_a_table_names_the_agent(store: SqlStore) -> None:
    place = find_place(store, "vit", "jetson-orin-nano")

    with pytest.raises(DeviceUnavailableError, match=r"nas agent run .* --name jetson-orin-nano"):
        calibrate(store, place, 10, Silent())


def test_networks_of_a_device_out_of_reach_are_not_measured(store: SqlStore) -> None:
    place = find_place(store, "mobilenetv3", "h100")
    arch = Architecture("mobilenetv3", (0,) * 46)

    with pytest.raises(DeviceUnavailableError, match="within reach"):
        measure_networks(store, place, [arch], None, "test", Silent())  # type: ignore[arg-type]  # not reached


@pytest.mark.slow
def test_a_table_is_searched_and_its_own_rows_are_called_imported(
    tmp_path: Path, store: SqlStore, nas_data: Path
) -> None:
    from nas.request import SearchRequest

    service = Service(store, Settings(tmp_path, nas_data), Silent())
    request = SearchRequest.build(space="nasbench201", device="gold_6226", budget_ms=40.0, seed=1)

    result = service.search(request, tmp_path / "out")

    assert result.state == "predicted"
    assert result.winner is not None
    assert result.winner.kind == "imported"
    assert result.winner.latency_ms <= 40.0
    assert result.winner.within_budget is None
    assert result.winner.top1_percent > 90.0
    assert "NATS-Bench" in result.accuracy_of
    assert {c.kind for c in result.candidates} <= {"imported", "predicted"}
    assert SPACES.get("nasbench201").population([Architecture.parse(result.winner.key)])
