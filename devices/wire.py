"""What crosses the pipe between a parent and the process that measures.

The parent sends one `Job`, a line of JSON, then each model as eight bytes of length and its bytes;
the worker reads a model when it is its turn, so neither side holds them all. The worker answers
with one event a line: `{"event": "waiting", "holder": …}`, `{"event": "measured", "index": …, …}`,
`{"event": "failed", "index": …, "reason": …}` and at last `{"event": "done"}`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import IO

from devices.benchmark import Plan
from devices.device import Target
from search_spaces.errors import UsageError

# Far above any network of the spaces; a length beyond it means a damaged stream.
_LARGEST_MODEL = 2**31


@dataclass(frozen=True, slots=True)
class Job:
    """Models to measure in one process on one occasion.

    Attributes:
        target: Where; its device must be this machine.
        plan: How long.
        count: How many models follow.
        group: Models interleaved at a time.
        owner: Who asks, for those who wait for the lock.
        lock_timeout_s: How long to wait for the lock.
    """

    target: Target
    plan: Plan
    count: int = 0
    group: int = 1
    owner: str = "nas"
    lock_timeout_s: float = 600.0

    def write(self, stream: IO[bytes]) -> None:
        """Send the job; the models follow."""
        header = {**asdict(self), "target": self.target.key}
        stream.write(json.dumps(header).encode() + b"\n")
        stream.flush()

    @classmethod
    def read(cls, stream: IO[bytes]) -> Job:
        """Receive what `write` sent.

        Raises:
            UsageError: If a field is missing or of a wrong form.
        """
        try:
            data = json.loads(stream.readline())
            return cls(
                target=Target.parse(data["target"]),
                plan=Plan(**data["plan"]),
                count=int(data["count"]),
                group=int(data["group"]),
                owner=str(data["owner"]),
                lock_timeout_s=float(data["lock_timeout_s"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            msg = f"not a measuring job: {error}"
            raise UsageError(msg) from error


def write_model(stream: IO[bytes], model: bytes) -> None:
    """Send one model; an empty one stands for one that could not be built."""
    stream.write(len(model).to_bytes(8, "little"))
    stream.write(model)
    stream.flush()


def read_model(stream: IO[bytes]) -> bytes:
    """Receive one model.

    Raises:
        UsageError: If the stream ends within it.
    """
    header = stream.read(8)
    size = int.from_bytes(header, "little")
    model = stream.read(size) if size < _LARGEST_MODEL else b""
    if len(header) != 8 or len(model) != size:
        msg = "not a measuring job: the stream ended within a model"
        raise UsageError(msg)
    return model
