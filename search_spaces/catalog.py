"""A folder is a registry: one file, one plug-in, named as users type it (ADR 0003)."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from search_spaces.errors import UnknownNameError

T = TypeVar("T")


@dataclass(frozen=True)
class Catalog(Generic[T]):
    """Plug-ins of one folder, and those of other distributions' entry points.

    Listing names imports none of them. The file `my_space.py` with the attribute `SPACE` is the
    plug-in `my-space`; an underscore at the end, as in `random_.py`, keeps clear of the standard
    library. Another distribution adds one by an entry point in the group named after the folder,
    such as `[project.entry-points."search_spaces.spaces"]`.

    Attributes:
        package: Dotted name of the folder.
        attribute: What a plug-in file must define.
        what: The word for it in messages.
    """

    package: str
    attribute: str
    what: str

    @cached_property
    def _locations(self) -> dict[str, str]:
        spec = importlib.util.find_spec(self.package)
        folders = spec.submodule_search_locations if spec else None
        found = {
            file.stem.rstrip("_").replace("_", "-"): f"{self.package}.{file.stem}"
            for folder in folders or ()
            for file in sorted(Path(folder).glob("*.py"))
            if not file.stem.startswith("_")
        }
        for point in entry_points(group=self.package):
            found.setdefault(point.name.replace("_", "-"), point.value)
        return dict(sorted(found.items()))

    def names(self) -> list[str]:
        """All names, sorted."""
        return list(self._locations)

    def get(self, name: str) -> T:
        """Import the plug-in of that name.

        Raises:
            UnknownNameError: If there is none; the nearest names are listed.
        """
        location = self._locations.get(name.replace("_", "-"))
        if location is None:
            raise UnknownNameError.of(self.what, name, self._locations)
        module, _, attribute = location.partition(":")
        found: Any = getattr(importlib.import_module(module), attribute or self.attribute)
        return cast("T", found)
