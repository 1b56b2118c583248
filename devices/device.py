"""What is measured on: a device, and a target (device, runtime, precision, batch, threads)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.errors import UsageError

_TARGET = re.compile(
    r"(?P<device>[a-z0-9][a-z0-9._-]*)"
    r"(?::(?P<runtime>[a-z]+)-(?P<precision>[a-z0-9]+)-t(?P<threads>\d+)(?:-b(?P<batch>\d+))?)?"
)


@dataclass(frozen=True, slots=True)
class Device:
    """A machine, by what can be said of it.

    Attributes:
        name: Unique name; machines with equal hardware share it.
        facts: What is known (JSON values); what is unknown is absent, never guessed.
    """

    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how a network runs; a latency without one means nothing.

    Example:
        >>> Target.parse("local").key
        'local:ort-fp32-t1'
        >>> Target.parse("local:ort-fp32-t2-b8").batch
        8
    """

    device: str
    runtime: str = "ort"
    precision: str = "fp32"
    threads: int = 1
    batch: int = 1

    @property
    def key(self) -> str:
        """The name used everywhere: `device:runtime-precision-tTHREADS[-bBATCH]`."""
        batch = f"-b{self.batch}" if self.batch != 1 else ""
        return f"{self.device}:{self.runtime}-{self.precision}-t{self.threads}{batch}"

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read a target; the device alone means ONNX Runtime, fp32, one thread, batch 1.

        Raises:
            UsageError: If the text has another form.
        """
        match = _TARGET.fullmatch(text.strip().lower())
        if match is None:
            msg = (
                f"{text!r} is not a target; write DEVICE or DEVICE:RUNTIME-PRECISION-tTHREADS, "
                "such as local or local:ort-fp32-t1"
            )
            raise UsageError(msg)
        device, runtime, precision, threads, batch = match.groups()
        if runtime is None:
            return cls(device)
        if int(threads) < 1 or int(batch or 1) < 1:
            msg = f"{text!r}: threads and batch must be 1 or more"
            raise UsageError(msg)
        return cls(device, runtime, precision, int(threads), int(batch or 1))
