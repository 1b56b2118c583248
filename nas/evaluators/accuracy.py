"""Where accuracies come from: for each space, a source whose weights are named.

`nas/evaluators/sources/<space>.py` defines `create(data) -> AccuracySource`; a space without such
a file has no source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from nas.accuracy import AccuracySource
from nas.errors import InvalidRequestError
from nas.settings import Settings
from search_spaces.catalog import Catalog


class SourceFactory(Protocol):
    """The `create` of a file in `nas/evaluators/sources`."""

    def __call__(self, data: Path | None = None) -> AccuracySource:
        """Open the source of the space that the file is named after.

        Args:
            data: Folder of published tables and images, `NAS_DATA`, if there is one.

        Raises:
            NasError: If something that it reads is missing or damaged.
        """


SOURCES: Catalog[SourceFactory] = Catalog("nas.evaluators.sources", "create", "accuracy source")


def accuracy_source(space: str, data: Path | None = None) -> AccuracySource:
    """The accuracy source of a space.

    Args:
        space: Its name.
        data: Folder of published tables and images; `NAS_DATA` if not given.

    Raises:
        InvalidRequestError: If the space has none; searching it would have no objective.
        NasError: If something that the source reads is missing or damaged.
    """
    if space not in SOURCES.names():
        msg = (
            f"space {space!r} has no accuracy source; spaces with one: "
            f"{', '.join(SOURCES.names())}. To add one, define `create(data) -> AccuracySource` in "
            f"nas/evaluators/sources/{space.replace('-', '_')}.py, or in a distribution of your "
            "own under the entry point group nas.evaluators.sources"
        )
        raise InvalidRequestError(msg)
    return SOURCES.get(space)(data or Settings.from_environment().data)
