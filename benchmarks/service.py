"""The service under load: how long does a prediction take over HTTP, and what does it cost?

    python benchmarks/service.py [--quick] [--work DIR]

Starts `nas serve` on a store with a calibrated device (the made-up one of the tests), asks it for
one network at a time over kept connections, and reads its CPU time from the kernel. Quick: about 30
seconds; full: about five minutes. Client and server share the machine: latencies and rates are of
both together, CPU time is the server's alone. The last lines are `name value target ok|short`; exit
1 if short.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SERVE = [sys.executable, "-m", "nas.cli.main", "serve", "--port", "0"]
WARM_UP = 50
Row = tuple[str, float, str, bool]


def at_most(name: str, value: float, limit: float) -> Row:
    """A figure that must not exceed its limit."""
    return name, value, f"<={limit:g}", value <= limit


def at_least(name: str, value: float, limit: float) -> Row:
    """A figure that must reach its target."""
    return name, value, f">={limit:g}", value >= limit


@contextmanager
def serving(home: Path) -> Iterator[tuple[int, str, str]]:
    """A server: its process, address and token."""
    env = {**os.environ, "NAS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(SERVE, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            found = re.search(r"http://(\S+)", process.stdout.readline())
            if found is None:
                sys.exit("the server did not start")
            yield process.pid, found[1], (home / "token").read_text(encoding="utf-8").strip()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def cpu_seconds(process: int) -> float:
    """CPU time of a process, user and system."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Asker:
    """One kept connection."""

    def __init__(self, address: str, token: str) -> None:
        parts = urlsplit(f"//{address}")
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.milliseconds: list[float] = []

    def ask(self, keys: list[str]) -> None:
        """One prediction, timed."""
        body = json.dumps({"architectures": keys, "device": "world"})
        start = time.perf_counter()
        self.connection.request("POST", "/v1/predict", body, self.headers)
        response = self.connection.getresponse()
        content = response.read()
        self.milliseconds.append(1e3 * (time.perf_counter() - start))
        if response.status != 200:
            sys.exit(f"answered {response.status}: {content[:300]!r}")

    def health(self) -> None:
        """The smallest request there is, timed."""
        start = time.perf_counter()
        self.connection.request("GET", "/livez")
        self.connection.getresponse().read()
        self.milliseconds.append(1e3 * (time.perf_counter() - start))


def load(
    process: int, askers: list[Asker], keys: list[str], requests: int
) -> tuple[float, float, float, float]:
    """Ask for one network at a time from all connections.

    Returns:
        Median and 99th percentile [ms], requests a second, CPU time of the server a request [ms].
    """
    for asker in askers:
        # The server closes what was idle for five seconds; the next request opens it again.
        asker.connection.close()
        asker.ask(keys[:1])
        asker.milliseconds.clear()
    share = requests // len(askers)

    def work(asker: Asker, first: int) -> None:
        for number in range(share):
            asker.ask([keys[(first + number) % len(keys)]])

    threads = [
        threading.Thread(target=work, args=(asker, number * share))
        for number, asker in enumerate(askers)
    ]
    spent, start = cpu_seconds(process), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, spent = time.perf_counter() - start, cpu_seconds(process) - spent
    times = np.concatenate([asker.milliseconds for asker in askers])
    done = len(times)
    middle, late = np.percentile(times, [50, 99])
    return float(middle), float(late), done / seconds, 1e3 * spent / done


def measure(home: Path, requests: int) -> list[Row]:
    """All figures."""
    # The folder of this script is on the path, the root of the tree is not.
    sys.path.insert(0, str(ROOT))
    from search_spaces import SPACES
    from search_spaces.space import ChainSpace
    from tests.conftest import World
    from tests.nas.api.filled import fill

    space = SPACES.get("mobilenetv3")
    assert isinstance(space, ChainSpace)
    world = World.of(space)
    fill(home, world)
    keys = [arch.key for arch in world.networks(500, seed=1).architectures()]
    with serving(home) as (process, address, token):
        askers = [Asker(address, token) for _ in range(8)]
        start = time.perf_counter()
        askers[0].ask(keys[:1])
        first_ms = 1e3 * (time.perf_counter() - start)
        for _ in range(WARM_UP):
            for asker in askers:
                asker.ask(keys[:1])
        alone = load(process, askers[:1], keys, requests)
        together = load(process, askers, keys, requests)
        askers[0].milliseconds.clear()
        for _ in range(20):
            askers[0].ask(keys)
        batch_ms = float(np.median(askers[0].milliseconds))
        askers[0].milliseconds.clear()
        for _ in range(500):
            askers[0].health()
        health_ms = float(np.median(askers[0].milliseconds))
        memory = re.search(
            r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        )
    return [
        ("first_predict_ms", first_ms, "-", True),
        ("health_p50_ms", health_ms, "-", True),
        at_most("predict_1_connection_p50_ms", alone[0], 5.0),
        at_most("predict_1_connection_p99_ms", alone[1], 50.0),
        at_least("predict_1_connection_per_s", alone[2], 200.0),
        at_most("predict_8_connections_p50_ms", together[0], 30.0),
        at_most("predict_8_connections_p99_ms", together[1], 100.0),
        at_least("predict_8_connections_per_s", together[2], 300.0),
        at_most("predict_cpu_ms", min(alone[3], together[3]), 3.3),
        at_most("predict_500_networks_p50_ms", batch_ms, 500.0),
        ("server_memory_mib", int(memory[1]) / 1024 if memory else float("nan"), "-", True),
    ]


def main() -> int:
    """Measure, and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 50 s")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    work = (options.work or Path(tempfile.mkdtemp(prefix="service-"))).resolve()
    print(f"working in {work}", flush=True)
    rows = measure(work / "home", 1600 if options.quick else 20_000)
    for name, value, target, good in rows:
        print(f"{name} {value:.4g} {target} {'ok' if good else 'short'}")
    return 0 if all(good for *_, good in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
