"""Pages: a cursor says where the next one begins, so that new rows do not shift old pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from nas.api.models import MOST_ROWS
from nas.errors import InvalidRequestError

Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="Rows of a page.")]
Cursor = Annotated[
    str | None, Query(max_length=200, description="`next_cursor` of the page before.")
]


def number_in(cursor: str | None) -> int | None:
    """The number that a cursor holds.

    Raises:
        InvalidRequestError: If it is no cursor of ours.
    """
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise no_cursor(cursor)
    return int(cursor)


def no_cursor(cursor: str) -> InvalidRequestError:
    """The error for what is no cursor."""
    msg = f"cursor {cursor[:60]!r} is none of ours; leave it out for the first page"
    return InvalidRequestError(msg)
