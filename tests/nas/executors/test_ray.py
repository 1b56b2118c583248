from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from nas.evaluator import EXECUTORS
from nas.trial import Estimate
from tests.nas.executors.looks import Surroundings

HANDLED = """
import signal, sys
from nas.evaluator import EXECUTORS
from tests.nas.executors.looks import Look
def stop(number, frame):
    sys.exit("stopped in order")
signal.signal(signal.SIGTERM, stop)
executor = EXECUTORS.get("ray")(workers=1, address={!r})
print(signal.getsignal(signal.SIGTERM) is stop)
print(dict(executor.run(Look(), ["a"], [0])) == {{0: Look().evaluate_one("a")}})
executor.close()
"""

WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from nas.evaluator import EXECUTORS
from search_spaces.errors import NasError
try:
    EXECUTORS.get("ray")(workers=2, address="auto")
except NasError as error:
    print(error)
"""

CONNECT = """
from nas.evaluator import EXECUTORS
from search_spaces.errors import NasError
try:
    EXECUTORS.get("ray")(address={!r})
except NasError as error:
    print(error)
"""


def test_without_ray_the_extra_to_install_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip

    assert "pip install 'hardware-aware-nas[ray]'" in done.stdout
    assert "--workers" in done.stdout


def test_naming_the_executor_does_not_import_ray() -> None:
    code = (
        "import sys; from nas.evaluator import EXECUTORS; "
        "EXECUTORS.get('ray'); print('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


@pytest.mark.slow
@pytest.mark.ray
def test_workers_import_from_where_we_import(ray_session: None) -> None:
    executor = EXECUTORS.get("ray")()
    ((_, outcome),) = executor.run(Surroundings(), ["a"], [0])

    assert isinstance(outcome, Estimate)
    ours = {os.path.realpath(folder) for folder in sys.path if folder}
    theirs = {os.path.realpath(folder) for folder in outcome.facts["path"] if folder}
    assert ours <= theirs | {os.path.realpath(".")}


@pytest.mark.slow
@pytest.mark.ray
def test_somebody_elses_connection_is_left_open(ray_session: None) -> None:
    import ray

    EXECUTORS.get("ray")().close()

    assert ray.is_initialized()


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("address", [None, "auto"])
def test_joining_is_quiet_and_leaves_our_signals_alone(
    address: str | None, ray_session: None
) -> None:
    """A Ray of its own, and the one that runs already."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", HANDLED.format(address)],
        capture_output=True, text=True, check=True, timeout=100, env=environment,
    )  # fmt: skip

    assert done.stdout.split() == ["True", "True"]
    assert done.stderr == ""


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_does_not_answer_is_named_at_once(address: str) -> None:
    code = CONNECT.format(address)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert f"no Ray cluster answers at '{address}'" in done.stdout
    assert "ray start --head" in done.stdout
