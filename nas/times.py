"""One way to write a time: texts of it compare as the times do, in every database."""

from __future__ import annotations

from datetime import UTC, datetime

from search_spaces.errors import UsageError


def uniform_time(time: datetime | str) -> str:
    """ISO 8601 in UTC, always with microseconds.

    Raises:
        UsageError: If the text is no ISO 8601 time or the time has no zone.

    Example:
        >>> uniform_time("2026-01-02T04:04:05+01:00")
        '2026-01-02T03:04:05.000000+00:00'
    """
    try:
        moment = datetime.fromisoformat(time) if isinstance(time, str) else time
        if moment.tzinfo is not None:
            return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        pass
    msg = f"{time!s:.60} is no time in ISO 8601 with its zone, such as 2026-01-02T03:04:05+00:00"
    raise UsageError(msg)
