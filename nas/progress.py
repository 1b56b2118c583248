"""How a long job tells where it is; doors decide what becomes of it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what happens; must be quick and must not raise."""

    def stage(self, number: int, count: int, name: str) -> None:
        """Stage `number` of `count` begins."""

    def step(self, done: int, total: int, seconds_left: float | None = None) -> None:
        """`done` of `total` pieces of this stage are finished."""

    def best(self, text: str) -> None:
        """The best answer so far."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class Silent:
    """Tells nobody."""

    def stage(self, number: int, count: int, name: str) -> None:
        """See `Progress`."""

    def step(self, done: int, total: int, seconds_left: float | None = None) -> None:
        """See `Progress`."""

    def best(self, text: str) -> None:
        """See `Progress`."""

    def note(self, text: str) -> None:
        """See `Progress`."""
