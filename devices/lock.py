"""One measuring process on a host: whoever waits is told for whom."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from devices.errors import DeviceUnavailableError

_POLL_S = 0.2


def lock_path() -> Path:
    """The lock file, one for each user and host: another user's file may not be writable."""
    return Path(tempfile.gettempdir()) / f"nas-measuring-{os.getuid()}.lock"


@contextmanager
def host_lock(
    owner: str,
    *,
    timeout_s: float = 600.0,
    on_wait: Callable[[str], None] | None = None,
    path: Path | None = None,
) -> Iterator[None]:
    """Hold the host's measuring lock; the kernel frees it when the process ends, however.

    Args:
        owner: Who measures, for those who wait.
        timeout_s: How long to wait at most.
        on_wait: Called once with the present owner if there is a wait.
        path: Another lock file, for tests.

    Raises:
        DeviceUnavailableError: If the lock is not free in time, or cannot be opened.
    """
    file = path or lock_path()
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        msg = f"cannot open the measuring lock {file}: {error.strerror}; check the folder's rights"
        raise DeviceUnavailableError(msg) from error
    try:
        deadline, told = time.monotonic() + timeout_s, False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "unknown"
                if not told and on_wait:
                    on_wait(holder)
                told = True
                if time.monotonic() > deadline:
                    msg = (
                        f"{holder} has been measuring on this host for over {timeout_s:.0f} s; "
                        "try again when it has ended"
                    )
                    raise DeviceUnavailableError(msg) from None
                time.sleep(_POLL_S)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{owner} (process {os.getpid()})".encode(), 0)
        yield
    finally:
        os.close(handle)
