"""Searches that came over HTTP: one at a time, in order of arrival, each in a process of its own.

The event loop never measures. What is to be done is known from the store alone: a run in state
`running` that bears the mark of this door. So a server that was killed goes on after a restart, and
a run whose lock is held is being worked on, be it by a process that outlived the server.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from nas.api.worked_on import is_worked_on, worker_of
from nas.settings import Settings
from nas.store import Store
from search_spaces.errors import NasError

logger = logging.getLogger(__name__)

MARK = "submitted.json"
"""Name of the artefact that says a run came over HTTP."""

ATTEMPTS = 3
_POLL_S, _PAUSE_S = 0.5, 5.0
_PATIENCE_S = 20.0
_TAIL_BYTES = 2000
Command = Callable[[str, Path], list[str]]


def resume_command(run_id: str, output: Path) -> list[str]:
    """The command line that works on a run."""
    return [
        sys.executable, "-m", "nas.cli.main", "run", "resume", run_id, "-q",
        "--output", str(output),
    ]  # fmt: skip


class Runner:
    """Supervises searches from a thread of its own.

    Attributes:
        store: Where runs are.
        settings: Folders; results go to `runs/RUN` in `home`.
        command: What works on a run, given its name and output folder.
    """

    def __init__(self, store: Store, settings: Settings, command: Command = resume_command) -> None:
        self.store = store
        self.settings = settings
        self.command = command
        self._changed = threading.Condition()
        self._queue: deque[str] = deque()
        self._unwanted: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._supervise, name="searches", daemon=True)

    def start(self) -> None:
        """Take up the unfinished searches of earlier servers, then wait for new ones."""
        for record in reversed(self.store.runs()):
            if record.state == "running" and MARK in self.store.run_artefacts(record.id):
                self._queue.append(record.id)
        if self._queue:
            logger.info("unfinished searches: %s", ", ".join(self._queue))
        self._thread.start()

    def close(self) -> None:
        """Stop the process in work, keeping its run unfinished for the next server."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            if self._process is not None:
                self._process.terminate()
        self._thread.join(_PATIENCE_S)
        process = self._process
        if process is not None and process.poll() is None:
            # Nothing is lost: every outcome is stored as it ends.
            process.kill()
            self._thread.join(_PATIENCE_S)

    def submit(self, run_id: str) -> None:
        """Queue a run that was opened but not begun."""
        mark = json.dumps({"door": "http", "run": run_id}).encode()
        digest = self.store.add_artefact(mark, "application/json")
        self.store.name_artefact(run_id, MARK, digest)
        with self._changed:
            self._queue.append(run_id)
            self._changed.notify_all()

    def waits(self, run_id: str) -> bool:
        """Whether a run is queued behind another one."""
        with self._changed:
            return run_id in self._queue and self._queue[0] != run_id

    def stop(self, run_id: str) -> None:
        """Stop a run, whoever on this host works on it; all that was found is kept.

        Raises:
            NasError: If somebody works on it who cannot be told, or may not be stopped.
        """
        if self.store.run(run_id).state != "running":
            return
        with self._changed:
            is_next = bool(self._queue) and self._queue[0] == run_id
            if is_next:
                # The thread marks it as stopped when nobody works on it any more.
                self._unwanted.add(run_id)
                self._changed.notify_all()
                if self._process is not None:
                    self._process.terminate()
                    return
            elif run_id in self._queue:
                self._queue.remove(run_id)
        if is_worked_on(self.settings, run_id):
            self._stop_other(run_id)
        elif not is_next:
            self.store.finish_run(run_id, "stopped", None, None)

    def _stop_other(self, run_id: str) -> None:
        """Stop a process that is not ours, such as one that outlived an earlier server."""
        worker = worker_of(self.settings, run_id)
        try:
            if worker is not None:
                os.kill(worker, signal.SIGTERM)
        except ProcessLookupError:
            pass  # it has ended by itself
        except PermissionError as error:
            msg = f"run {run_id} is worked on by process {worker} of another user; stop it there"
            raise NasError(msg) from error

    # --- The thread ----------------------------------------------------------------------------

    def _supervise(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                run_id = self._queue[0]
            try:
                self._finish(run_id)
                done = True
            except Exception:
                # Such as a store that did not answer: the others first, then this one again.
                logger.exception("run %s cannot be worked on now", run_id)
                done = False
            with self._changed:
                if self._closing:
                    return
                self._queue.popleft()
                if done:
                    self._unwanted.discard(run_id)
                else:
                    self._queue.append(run_id)
                    self._changed.wait(_PAUSE_S)

    def _finish(self, run_id: str) -> None:
        """Work on a run until it is not in state `running` any more."""
        attempts = 0
        while self.store.run(run_id).state == "running":
            if is_worked_on(self.settings, run_id):
                with self._changed:
                    self._changed.wait(_POLL_S)
            elif run_id in self._unwanted:
                self.store.finish_run(run_id, "stopped", None, None)
            elif attempts == ATTEMPTS:
                self._give_up(run_id)
            else:
                attempts += 1
                self._attempt(run_id)
            if self._closing:
                self._reopen(run_id)
                return

    def _attempt(self, run_id: str) -> None:
        """One process that works on the run, from start to end."""
        output = self.settings.home / "runs" / run_id
        output.parent.mkdir(parents=True, exist_ok=True)
        with self._log(run_id).open("ab") as stream, self._changed:
            if self._closing or run_id in self._unwanted:
                return
            # A session of its own: Ctrl-C at the server's terminal is for the server, which
            # decides; and a server that is killed leaves the search at work.
            process = subprocess.Popen(
                self.command(run_id, output), env=_environment(self.settings),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stream,
                start_new_session=True,
            )  # fmt: skip
            self._process = process
        logger.info("run %s: process %d", run_id, process.pid)
        code = process.wait()
        with self._changed:
            self._process = None
        logger.info("run %s: process ended with %d", run_id, code)

    def _give_up(self, run_id: str) -> None:
        reason = f"its process ended {ATTEMPTS} times without an answer: {self._last_words(run_id)}"
        now = datetime.now(UTC).isoformat()
        self.store.finish_run(run_id, "failed", json.dumps({"error": reason}), now)

    def _reopen(self, run_id: str) -> None:
        """A run that stopped only because the server ends is for the next server."""
        if self.store.run(run_id).state == "stopped" and run_id not in self._unwanted:
            self.store.finish_run(run_id, "running", None, None)

    def _log(self, run_id: str) -> Path:
        return self.settings.home / "runs" / f"{run_id}.log"

    def _last_words(self, run_id: str) -> str:
        try:
            text = self._log(run_id).read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            text = ""
        return text.splitlines()[-1] if text else "no message"


def _environment(settings: Settings) -> Mapping[str, str]:
    """The server's, with its folder, and without its secret."""
    kept = {name: value for name, value in os.environ.items() if name != "NAS_TOKEN"}
    return {**kept, "NAS_HOME": str(settings.home.absolute())}
