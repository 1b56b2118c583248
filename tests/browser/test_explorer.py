"""The explorer in a real browser: what is drawn, what a click does, what a download holds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from benchmarks import screenshot
from tests.dashboard import stored
from tests.dashboard.stored import Made

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
START_S = 60

# Number of shapes that the browser drew for each trace of points.
COUNTS = """() => {
    const plot = document.querySelector('.js-plotly-plot');
    if (!plot || !plot._fullData) return {};
    const found = plot._fullData.filter(trace => trace.mode === 'markers').map(trace => [
        trace.name, plot.querySelectorAll(`.trace${trace.uid} .points path.point`).length]);
    return Object.fromEntries(found);
}"""
# Middle of one point of a trace, in the window.
PLACE = """([name, number]) => {
    const plot = document.querySelector('.js-plotly-plot');
    const trace = plot._fullData.find(trace => trace.name === name);
    const box = plot.querySelectorAll(`.trace${trace.uid} .points path.point`)[number]
        .getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return stored.make(tmp_path_factory.mktemp("explorer") / "home")


@pytest.fixture(scope="module")
def browser() -> str:
    """A browser, without which this cannot be tested."""
    executable = screenshot.chromium()
    if executable is None:
        reason = f"no chromium on the PATH; run: {screenshot.INSTALL}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return executable


@pytest.fixture(scope="module")
def address(made: Made, browser: str) -> Iterator[str]:
    """Address of an explorer on that store."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = f"from nas.cli.ui import ui; ui(port={port})"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NAS_HOME": str(made.home)}
    log = made.home.parent / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, cwd=made.home.parent, stdout=out,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            _wait(f"http://127.0.0.1:{port}/_stcore/health", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=20)


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the explorer did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def page(address: str, browser: str) -> Iterator[Page]:
    asked: list[str] = []
    with screenshot.browser_page(browser) as opened:
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(address)
        opened.wait_for_function(screenshot.DRAWN)
        yield opened
    # Stored runs are nobody else's business, and the explorer works without the internet.
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def counts(page: Page) -> dict[str, int]:
    found: dict[str, int] = page.evaluate(COUNTS)
    return {name: count for name, count in found.items() if name not in ("winner", "selected")}


def wait_for_counts(page: Page, wanted: dict[str, int]) -> None:
    """Until the picture has these points, and the page is at rest."""
    page.wait_for_function(
        f"wanted => {{ const found = ({COUNTS})(); "
        "return Object.keys(wanted).every(name => found[name] === wanted[name]); }",
        arg=wanted,
    )
    settle(page)


def settle(page: Page) -> None:
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")


def chosen(page: Page) -> str:
    """The key of the network that is described."""
    return str(page.locator("[data-testid=stCode] code").first.inner_text()).strip()


ALL = {
    "imported": 14, "predicted": 30, "measured": 12, "verified": 3, "verified, over the budget": 1,
}  # fmt: skip


def test_every_network_is_drawn_in_the_shape_of_its_kind(page: Page) -> None:
    wait_for_counts(page, ALL)

    assert counts(page) == ALL
    assert page.evaluate(COUNTS)["winner"] == 1
    assert page.locator("[data-testid=stException]").count() == 0


def test_a_filter_takes_points_away_and_gives_them_back(page: Page, made: Made) -> None:
    front = {
        kind: sum(c["on_front"] for c in made.result["candidates"] if c["kind"] == kind)
        for kind in ("imported", "predicted", "measured")
    }
    box = page.get_by_text("Only fronts", exact=True)

    box.click()
    wait_for_counts(page, front)
    assert counts(page)["predicted"] == front["predicted"] < 30
    box.click()
    wait_for_counts(page, ALL)


def test_a_clicked_point_is_described(page: Page, made: Made) -> None:
    wait_for_counts(page, ALL)
    wanted = made.keys("verified")[1]
    page.mouse.move(*page.evaluate(PLACE, ["verified", 1]))
    hover = page.locator(".hoverlayer .hovertext").first
    hover.wait_for()
    assert wanted in (hover.text_content() or "")
    page.mouse.click(*page.evaluate(PLACE, ["verified", 1]))

    page.get_by_text(wanted, exact=True).first.wait_for()
    page.wait_for_function(
        "key => document.querySelector('[data-testid=stCode] code').innerText.trim() === key",
        arg=wanted,
    )
    settle(page)
    assert f"network={wanted.replace(':', '%3A')}" in page.url
    assert counts(page) == ALL


def test_the_downloaded_network_runs(page: Page, tmp_path: Path) -> None:
    key = chosen(page)
    with page.expect_download() as started:
        page.get_by_role("button", name="ONNX, untrained").click()
    file = tmp_path / started.value.suggested_filename
    started.value.save_as(file)

    assert file.name == f"{key.replace(':', '-')}.untrained.onnx"
    session = onnxruntime.InferenceSession(str(file))
    assert session.get_modelmeta().custom_metadata_map["architecture"] == key
    (given,) = session.get_inputs()
    (answer,) = session.run(None, {given.name: np.zeros(given.shape, dtype=np.float32)})
    assert np.isfinite(np.asarray(answer)).all()


def test_other_pages_are_a_click_away(page: Page) -> None:
    page.get_by_role("link", name="Devices").click()
    page.get_by_role("heading", name="Devices").wait_for()
    settle(page)
    assert page.locator("[data-testid=stException]").count() == 0

    page.get_by_role("link", name="Runs").click()
    page.get_by_role("heading", name="Runs").wait_for()
    settle(page)
    table = page.locator("[data-testid=stDataFrame] canvas").first
    table.wait_for()
    page.wait_for_timeout(500)
    # The box before the first row, which is drawn and no element.
    place = table.bounding_box()
    assert place is not None
    page.mouse.click(place["x"] + 15, place["y"] + 53)
    page.wait_for_function(screenshot.DRAWN)
    assert f"run={stored.RUN}" in page.url
    wait_for_counts(page, ALL)


def test_a_picture_is_taken(page: Page, address: str, tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "explorer.png"

    # 60 networks and two rings.
    assert screenshot.take(page, address, picture) == 62
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 50_000


def test_a_page_without_a_plot_is_told_from_one_with(
    page: Page, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page.set_default_timeout(2000)

    assert screenshot.take(page, f"{address}/devices", tmp_path / "none.png") == 0
    assert "no plot at" in capsys.readouterr().err


def test_without_a_browser_the_script_says_how_to_get_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.screenshot", "http://127.0.0.1:1", "none.png"],
        cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert screenshot.INSTALL in done.stderr
