"""A tour through every room, on real input with the real components.

    python benchmarks/tour.py [--only STAGE ...] [--work DIR]

Each stage runs commands that README shows. Prints a table of stage, seconds and result; ends with 1
if a stage failed. About eight minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAS = [sys.executable, "-m", "nas.cli.main"]
SECOND = "second-device"
HELD_OUT = "raspi4"


class StageError(Exception):
    """A stage did not do what it should."""


@dataclass
class Tour:
    """Folders of one tour.

    Attributes:
        work: Everything is written below it.
        data: Public data.
    """

    work: Path
    data: Path

    def environment(self, home: str = "home") -> dict[str, str]:
        """A store of the tour's own."""
        return {
            **os.environ, "NAS_HOME": str(self.work / home), "PYTHONPATH": str(ROOT),
            "NAS_DATA": str(self.data),
        }  # fmt: skip

    def nas(self, *arguments: str, home: str = "home") -> str:
        """Run the command line; what it printed.

        Raises:
            StageError: If it ends with another code than 0.
        """
        done = subprocess.run(
            [*NAS, *arguments], cwd=self.work, env=self.environment(home), text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            msg = f"nas {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-800:]}"
            raise StageError(msg)
        return done.stdout

    def json(self, *arguments: str, home: str = "home") -> Any:
        """The same, as JSON."""
        return json.loads(self.nas(*arguments, "-o", "json", home=home))

    @contextlib.contextmanager
    def background(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that runs beside the stage and is ended with it."""
        log = (self.work / f"{arguments[0]}.log").open("ab")
        with (
            log,
            subprocess.Popen(
                [*NAS, *arguments], cwd=self.work, env=self.environment(), stdout=log, stderr=log
            ) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()

    @contextlib.contextmanager
    def served(self) -> Iterator[tuple[str, str]]:
        """The service on a free port; its address and token."""
        port = free_port()
        token = self.work / "token"
        token.write_text("tour-" + os.urandom(16).hex())
        token.chmod(0o600)
        with self.background("serve", "--port", str(port), "--token-file", str(token)) as process:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/readyz", process)
            yield url, token.read_text()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    """Wait until an address answers.

    Raises:
        StageError: If the process ends or the time runs out.
    """
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if process.poll() is not None:
            msg = f"the server ended with {process.returncode}"
            raise StageError(msg)
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.3)
    msg = f"{url} did not answer within {seconds:.0f} s"
    raise StageError(msg)


def calibrate(tour: Tour) -> str:
    """Measure blocks and networks of this machine."""
    found = tour.json("device", "calibrate", "local", "--quiet")
    return f"{found['blocks']} blocks, {found['networks']} networks"


def search_local(tour: Tour) -> str:
    """The main job."""
    found = tour.json("search", "--device", "local", "--budget", "6ms", "--output", "local", "-q")
    verdict = found["verification"]
    return f"verified <= {verdict['upper_ms']:.2f} of 6 ms, {found['winner']['top1_percent']:.1f} %"


def search_predicted(tour: Tour) -> str:
    """A device that nobody has here."""
    found = tour.json(
        "search", "--device", "jetson-orin", "--budget", "5ms", "--output", "orin", "-q"
    )
    winner = found["winner"]
    if found["state"] != "predicted" or found["verification"] is not None:
        raise StageError("a device out of reach must be answered by prediction only")
    return (
        f"predicted {winner['latency_ms']:.2f} ms ({winner['latency_low_ms']:.2f} to "
        f"{winner['latency_high_ms']:.2f}), {found['predictor']['measured_networks']} measurements"
    )


def adapt(tour: Tour) -> str:
    """Public tables, and ten samples of a device that is held out."""
    table = str(tour.data / "latency_nasbench201.npz")
    tour.nas("import", "latency-table", table, "--space", "nasbench201", "--all-devices")
    found = tour.json(
        "device", "calibrate", HELD_OUT, "--space", "nasbench201", "--samples", "10", "--quiet"
    )
    if not found["spearman"] > 0.8:
        raise StageError(f"rank correlation {found['spearman']:.3f} on {HELD_OUT}")
    return f"{HELD_OUT}: Spearman {found['spearman']:.3f} from {found['networks']} samples"


def serve(tour: Tour) -> str:
    """Predict by curl."""
    key = "mobilenetv3:3" + "1" * 45
    body = json.dumps({"architectures": [key], "device": "local"})
    with tour.served() as (url, token):
        config = "\n".join(
            f'url = "{url}/v1/predict"\ndata = @body.json\noutput = /dev/null\n'
            f'header = "Authorization: Bearer {token}"\nheader = "Content-Type: application/json"\n'
            'write-out = "%{http_code} %{time_total}\\n"\nnext'
            for _ in range(200)
        ).removesuffix("next")
        (tour.work / "body.json").write_text(body)
        (tour.work / "curl.cfg").write_text(config)
        done = subprocess.run(
            ["curl", "-s", "-K", "curl.cfg"], cwd=tour.work, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    answers = [line.split() for line in done.stdout.splitlines()]
    good = [1e3 * float(seconds) for code, seconds in answers if code == "200"]
    if len(good) != 200:
        raise StageError(f"{len(good)} of 200 requests answered: {done.stdout[:200]}")
    return f"p50 {statistics.median(good):.1f} ms of 200 requests"


def agent(tour: Tour) -> str:
    """A second device, measured through an agent on loopback."""
    with (
        tour.served() as (url, token),
        tour.background("agent", "run", "--server", url, "--token", token, "--name", SECOND),
    ):
        limit = time.monotonic() + 60
        while not any(
            row["device"] == SECOND and row["reach"] == "agent"
            for row in tour.json("device", "list")
        ):
            if time.monotonic() > limit:
                raise StageError("the agent did not come")
            time.sleep(0.5)
        found = tour.json("device", "calibrate", SECOND, "--samples", "10", "--quiet")
    return f"{found['networks']} networks of {found['target']} measured"


def same_everywhere(tour: Tour) -> str:
    """One search, serial and on Ray."""
    common = ["search", "--space", "mobilenetv3-cifar", "--device", "jetson-orin", "--budget",
              "3ms", "--evaluations", "8", "-q"]  # fmt: skip
    seconds, slots, winners = [], [], []
    for home, extra in (("serial", []), ("ray", ["--ray", "local", "--workers", "2"])):
        start = time.monotonic()
        found = tour.json(*common, *extra, "--output", f"cifar-{home}", home=home)
        seconds.append(time.monotonic() - start)
        run = tour.json("run", "show", found["run"], home=home)
        slots.append(
            [(s["batch"], s["slot"], s["architecture"], s.get("accuracy")) for s in run["slots"]]
        )
        winners.append(found["winner"]["key"])
    if slots[0] != slots[1] or winners[0] != winners[1]:
        raise StageError("serial and Ray decided differently")
    return f"{len(slots[0])} evaluations identical, {seconds[0]:.0f} s and {seconds[1]:.0f} s"


def dnas(tour: Tour) -> str:
    """Differentiable search on a small subset."""
    found = tour.json(
        "train", "dnas", "--space", "fbnet", "--device", "jetson-orin", "--subset", "64",
        "--epochs", "2", "--output", "dnas",
    )  # fmt: skip
    return f"{found['architecture']}, expected {found['expected_cost']:.2f} {found['unit']}"


def trained(tour: Tour) -> str:
    """The CIFAR network of the search, as exported, on test images."""
    found = tour.json("evaluate", "cifar-serial/best.onnx", "--images", "1000")
    if not found["top1_percent"] > 60.0:
        raise StageError(f"only {found['top1_percent']:.1f} % right")
    return f"{found['top1_percent']:.1f} % of {found['images']} test images right"


def explorer(tour: Tour) -> str:
    """The picture, by a real browser."""
    port = free_port()
    with tour.background("ui", "--port", str(port)) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/_stcore/health", process)
        picture = tour.work / "explorer.png"
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks/screenshot.py"), url, str(picture)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode or not picture.stat().st_size:
            raise StageError(done.stdout[-400:] + done.stderr[-400:])
    return f"{picture} ({picture.stat().st_size // 1024} kB)"


STAGES: dict[str, Callable[[Tour], str]] = {
    "calibrate local": calibrate,
    "search local": search_local,
    "search jetson-orin": search_predicted,
    "import and adapt": adapt,
    "serve and curl": serve,
    "agent": agent,
    "serial = Ray": same_everywhere,
    "dnas": dnas,
    "CIFAR network": trained,
    "explorer": explorer,
}


def main() -> int:
    """Run the stages and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=STAGES, default=[])
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    if "NAS_DATA" not in os.environ:
        sys.exit("set NAS_DATA to the folder of public data, or run: make tour")
    work = (options.work or Path(tempfile.mkdtemp(prefix="nas-tour-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    tour = Tour(work, (ROOT / os.environ["NAS_DATA"]).resolve())
    rows, failed, start = [], False, time.monotonic()
    for name in options.only or STAGES:
        print(f"... {name}", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            result = STAGES[name](tour)
        except Exception as error:
            failed = True
            reason = re.sub(r"\s+", " ", str(error))
            result = f"FAILED: {reason}"
            if not isinstance(error, StageError):
                traceback.print_exc()
        rows.append((name, time.monotonic() - began, result))
        print(f"    {rows[-1][1]:.1f} s  {result}", file=sys.stderr, flush=True)
    width = max(len(name) for name, *_ in rows)
    print(f"{'stage':{width}}  seconds  result")
    for name, seconds, result in rows:
        print(f"{name:{width}}  {seconds:7.1f}  {result}")
    print(f"{'in all':{width}}  {time.monotonic() - start:7.1f}  {'FAILED' if failed else 'ok'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
