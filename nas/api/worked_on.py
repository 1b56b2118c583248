"""Whether a process works on a run, and which: told by the run's lock, which it holds."""

from __future__ import annotations

import fcntl
import os
import re
import sys
from pathlib import Path

from nas.settings import Settings


def is_worked_on(settings: Settings, run_id: str) -> bool:
    """Whether some process of this host holds the lock of a run."""
    return _look(_lock(settings, run_id)) is not None


def worker_of(settings: Settings, run_id: str) -> int | None:
    """The process that works on a run; None if there is none, or if it cannot be told."""
    file = _lock(settings, run_id)
    match = re.search(r"\(process (\d+)\)", _look(file) or "")
    return int(match[1]) if match and _has_open(int(match[1]), file) else None


def _lock(settings: Settings, run_id: str) -> Path:
    """The file that `Service` locks while it works on a run."""
    return settings.home / "locks" / f"{run_id}.lock"


def _look(file: Path) -> str | None:
    """What the holder of a lock wrote into it; None if nobody holds it."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        # Shared and for an instant: enough to know, and others may look at the same time.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(handle, 200, 0).decode(errors="replace")
    else:
        return None
    finally:
        os.close(handle)


def _has_open(process: int, file: Path) -> bool:
    """Whether the process has the file open: a number read too early may be another's by now."""
    if sys.platform != "linux":
        return True
    try:
        opened = [os.path.realpath(link) for link in Path(f"/proc/{process}/fd").iterdir()]
    except OSError:
        return False
    return os.path.realpath(file) in opened
