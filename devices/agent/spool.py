"""Outcomes that could not be sent yet, kept in a file: a network cut or a kill loses none.

A spooled outcome is sent with the token of its own claim first. If that lease has run out, it waits
until the agent holds the job again, and is then sent instead of being measured a second time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from devices.agent.work import Claim, Item

# Nobody asks for a job again after a week.
_KEPT_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Kept:
    """One outcome and where it belongs.

    Attributes:
        job_id: The server's number of the job.
        token: Secret of the claim under which it was measured.
        position: In the job.
        target: Key of the target.
        digest: Of the layer graph that was run.
        outcome: As it travels.
        kept_at_s: When it was kept [s since 1970].
    """

    job_id: int
    token: str
    position: int
    target: str
    digest: str
    outcome: Mapping[str, Any]
    kept_at_s: float

    @classmethod
    def of(cls, claim: Claim, item: Item, outcome: Mapping[str, Any], now_s: float) -> Kept:
        """The outcome of an item of a claim."""
        target = claim.work.target.key
        return cls(
            claim.job_id, claim.token, item.position, target, item.digest, outcome, now_s
        )  # fmt: skip

    def answers(self, claim: Claim, item: Item) -> bool:
        """Whether this is the outcome of that very item, whatever its claim was."""
        wanted = (claim.job_id, item.position, claim.work.target.key, item.digest)
        return wanted == (self.job_id, self.position, self.target, self.digest)


class Spool:
    """The file of one agent and one server.

    Args:
        folder: The agent's state folder.
        server: Address of the server: another server's jobs have other numbers.
        now_s: The present time [s since 1970]; what is older than a week is forgotten.
    """

    def __init__(self, folder: Path, server: str, now_s: float) -> None:
        name = hashlib.sha256(server.encode()).hexdigest()[:12]
        self.path = folder / f"unsent-{name}.jsonl"
        self._kept = [kept for kept in _read(self.path) if now_s - kept.kept_at_s < _KEPT_S]
        if self.path.exists():
            # Without what is too old, and the half line that a kill may have left.
            self._write()

    def __len__(self) -> int:
        """Number of outcomes kept."""
        return len(self._kept)

    def entries(self) -> Sequence[Kept]:
        """All outcomes kept, oldest first."""
        return tuple(self._kept)

    def find(self, claim: Claim, item: Item) -> Kept | None:
        """The outcome of an item that was measured under an earlier claim, if there is one."""
        return next((kept for kept in self._kept if kept.answers(claim, item)), None)

    def add(self, kept: Kept) -> None:
        """Keep an outcome; it is on the disk when this returns."""
        self._kept.append(kept)
        with _opened(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as handle:
            handle.write(_line(kept))
            handle.flush()
            os.fsync(handle.fileno())

    def remove(self, kept: Kept) -> None:
        """Forget one that was sent, or that nobody wants any more."""
        self._kept.remove(kept)
        self._write()

    def _write(self) -> None:
        if not self._kept:
            self.path.unlink(missing_ok=True)
            return
        draft = self.path.with_suffix(".draft")
        with _opened(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as handle:
            handle.write("".join(map(_line, self._kept)))
            handle.flush()
            os.fsync(handle.fileno())
        draft.replace(self.path)


def _opened(path: Path, flags: int) -> Any:
    # The tokens of claims are nobody else's business.
    return os.fdopen(os.open(path, flags | os.O_CLOEXEC, 0o600), "a", encoding="utf-8")


def _line(kept: Kept) -> str:
    return json.dumps(asdict(kept), allow_nan=False) + "\n"


def _read(path: Path) -> list[Kept]:
    """The lines that are whole."""
    found: list[Kept] = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            found.append(Kept(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found
