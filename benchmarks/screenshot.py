"""A picture of the explorer, taken by a real browser; exit code 1 if the plot did not appear.

nas ui &
python benchmarks/screenshot.py http://127.0.0.1:8501 explorer.png
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

INSTALL = "apt-get update && apt-get install -y --no-install-recommends chromium"
FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
WIDTH, HEIGHT = 1440, 1900

# Number of points that the browser drew, over all traces; large pictures are drawn on a canvas.
DRAWN = """() => {
    const plot = document.querySelector('.js-plotly-plot');
    if (!plot || !plot.calcdata) return 0;
    const canvas = plot.querySelector('.gl-container canvas');
    if (canvas) return plot.calcdata.reduce((sum, trace) => sum + trace.length, 0);
    return plot.querySelectorAll('.scatterlayer .trace .points path').length;
}"""


def chromium() -> str | None:
    """The browser of this machine; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def browser_page(executable: str, timeout_s: float = 120.0) -> Iterator[Page]:
    """A page in a headless browser of its own."""
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox refuses to run as root.
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        try:
            page = browser.new_page(
                viewport={"width": WIDTH, "height": HEIGHT}, accept_downloads=True
            )
            page.set_default_timeout(1000.0 * timeout_s)
            yield page
        finally:
            browser.close()


def take(page: Page, url: str, picture: Path) -> int:
    """Write a picture of the explorer at an address, plot or not; returns how many points it has.

    0 means that the plot did not appear.
    """
    from playwright.sync_api import Error

    picture.parent.mkdir(parents=True, exist_ok=True)
    try:
        page.goto(url)
        page.wait_for_function(DRAWN)
        # Tables and the rest of the page come a moment after the plot.
        page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
        page.wait_for_timeout(1000)
    except Error as error:
        sys.stderr.write(f"screenshot: no plot at {url}: {str(error).splitlines()[0]}\n")
    with contextlib.suppress(Error):
        page.screenshot(path=str(picture))
        return int(page.evaluate(DRAWN))
    return 0


def main() -> int:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds")
    wanted = parser.parse_args()
    executable = chromium()
    if executable is None:
        sys.stderr.write(f"screenshot: no chromium on the PATH; run: {INSTALL}\n")
        return 1
    with browser_page(executable, wanted.timeout) as page:
        points = take(page, wanted.url, wanted.picture)
    sys.stdout.write(f"{wanted.picture}: {points} points\n")
    return 0 if points else 1


if __name__ == "__main__":
    sys.exit(main())
