from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devices.errors import DeviceUnavailableError
from devices.lock import host_lock, lock_path

ROOT = Path(__file__).resolve().parents[2]

# Holds the lock at a path until its input ends.
HOLDER = """
import sys
from pathlib import Path
from devices.lock import host_lock
with host_lock(sys.argv[2], path=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(path: Path, owner: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), owner], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "measuring.lock"


def test_a_free_lock_is_taken_at_once_and_names_its_holder(path: Path) -> None:
    waits: list[str] = []

    with host_lock("run 7", on_wait=waits.append, path=path):
        content = path.read_text()

    assert content == f"run 7 (process {os.getpid()})"
    assert waits == []


def test_a_lock_can_be_taken_again_after_it_was_freed(path: Path) -> None:
    for owner in ("a long name of a first run", "second"):
        with host_lock(owner, timeout_s=0.0, path=path):
            assert path.read_text().startswith(f"{owner} (")


def test_an_exception_frees_the_lock(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), host_lock("first", path=path):
        _ = 1 / 0

    with host_lock("second", timeout_s=0.0, path=path):
        pass


def test_who_waits_is_told_once_for_whom_and_goes_on_when_it_is_free(path: Path) -> None:
    waits: list[str] = []
    with held(path, "run 7") as holder:

        def told(who: str) -> None:
            waits.append(who)
            assert holder.stdin
            holder.stdin.close()

        with host_lock("second", timeout_s=20.0, on_wait=told, path=path):
            assert path.read_text().startswith("second (")

        assert waits == [f"run 7 (process {holder.pid})"]


def test_a_wait_has_an_end_and_says_who_was_in_the_way(path: Path) -> None:
    waits: list[str] = []
    with held(path, "run 7") as holder:
        started = time.monotonic()
        with (
            pytest.raises(DeviceUnavailableError, match=rf"run 7 \(process {holder.pid}\)"),
            host_lock("second", timeout_s=0.3, on_wait=waits.append, path=path),
        ):
            pass

    assert time.monotonic() - started < 3.0
    assert len(waits) == 1


def test_killing_the_holder_frees_the_lock(path: Path) -> None:
    with held(path, "run 7") as holder:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()

        with host_lock("second", timeout_s=0.0, path=path):
            assert path.read_text().startswith("second (")


def test_a_second_lock_in_the_same_process_waits_too(path: Path) -> None:
    with (
        host_lock("first", path=path),
        pytest.raises(DeviceUnavailableError, match="first"),
        host_lock("second", timeout_s=0.0, path=path),
    ):
        pass


def test_a_lock_that_cannot_be_opened_is_no_traceback(tmp_path: Path) -> None:
    with (
        pytest.raises(DeviceUnavailableError, match="cannot open the measuring lock"),
        host_lock("first", path=tmp_path / "absent" / "lock"),
    ):
        pass


def test_a_link_laid_in_the_temporary_folder_is_not_followed(path: Path) -> None:
    """Anybody may write into the temporary folder; the lock must not empty another file."""
    precious = path.with_name("precious")
    precious.write_text("content")
    path.symlink_to(precious)

    with pytest.raises(DeviceUnavailableError), host_lock("first", path=path):
        pass

    assert precious.read_text() == "content"


def test_the_hosts_lock_is_the_users_own(own_lock: Path) -> None:
    with host_lock("first"):
        assert lock_path().parent == own_lock
        assert stat.S_IMODE(lock_path().stat().st_mode) == 0o600
        assert str(os.getuid()) in lock_path().name
