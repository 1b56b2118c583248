"""Progress on stderr: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nas.progress import Progress, Silent

_PLAIN_INTERVAL_S = 10.0


class Lines:
    """Writes to stderr; on a terminal the last line is rewritten in place."""

    def __init__(self, *, live: bool) -> None:
        """`live` rewrites the line; otherwise a line is written every ten seconds."""
        self._live = live
        self._stage = ""
        self._best = ""
        self._last = 0.0
        self._width = 0

    def stage(self, number: int, count: int, name: str) -> None:
        """See `Progress`."""
        text = f"[{number}/{count}] {name}"
        if text != self._stage:
            self._stage = text
            self._line(text)

    def step(self, done: int, total: int, seconds_left: float | None = None) -> None:
        """See `Progress`."""
        now = time.monotonic()
        if not self._live and now - self._last < _PLAIN_INTERVAL_S:
            return
        self._last = now
        left = "" if seconds_left is None else f", {seconds_left:.0f} s left"
        best = f"; best {self._best}" if self._best else ""
        self._write(f"{self._stage}: {done}/{total}{left}{best}")

    def best(self, text: str) -> None:
        """See `Progress`."""
        if text != self._best:
            self._best = text
            self._line(f"best so far: {text}")

    def note(self, text: str) -> None:
        """See `Progress`."""
        self._line(text)

    def close(self) -> None:
        """Leave no half line behind."""
        if self._live and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()

    def _line(self, text: str) -> None:
        self.close()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
        self._width = 0

    def _write(self, text: str) -> None:
        if not self._live:
            self._line(text)
            return
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)


@contextmanager
def reporter(*, quiet: bool) -> Iterator[Progress]:
    """Progress for the length of a command."""
    if quiet:
        yield Silent()
        return
    lines = Lines(live=sys.stderr.isatty())
    try:
        yield lines
    finally:
        lines.close()


def stop_on_terminate() -> None:
    """SIGTERM ends a run as Ctrl-C does: saved, and with the command to go on."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
