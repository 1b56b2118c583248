"""Where things lie on this machine; environment variables are read here, once, for doors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Folders of one user.

    Attributes:
        home: Database and predictors.
        data: Published tables and images, if there are any.
    """

    home: Path
    data: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """`NAS_HOME`, else the user's data folder; `NAS_DATA`, else no data."""
        named = environment.get("NAS_DATA")
        published = Path(named).expanduser() if named else None
        if environment.get("NAS_HOME"):
            return cls(Path(environment["NAS_HOME"]).expanduser(), published)
        data = environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return cls(Path(data) / "hardware-aware-nas", published)

    @property
    def database(self) -> Path:
        """The SQLite store."""
        return self.home / "nas.db"

    def predictor(self, target: str, space: str) -> Path:
        """The current predictor of a target and space; a copy of what the store holds."""
        return self.home / "predictors" / f"{target.replace(':', '_')}__{space}.npz"
