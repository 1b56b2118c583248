from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.times import uniform_time
from search_spaces.errors import UsageError

_zones = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
_times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=_zones)


@given(first=_times, second=_times)
def test_texts_compare_as_times_do(first: datetime, second: datetime) -> None:
    texts = uniform_time(first), uniform_time(second.isoformat())

    assert (texts[0] < texts[1]) == (first < second)
    assert datetime.fromisoformat(texts[0]) == first
    assert uniform_time(texts[0]) == texts[0]


def test_z_and_whole_seconds_are_written_alike() -> None:
    same = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    assert {uniform_time("2026-01-02T03:04:05Z"), uniform_time(same)} == {
        "2026-01-02T03:04:05.000000+00:00"
    }


@pytest.mark.parametrize(
    "time", ["", "now", "2026-01-02", "2026-01-02T03:04:05", "0001-01-01T00:00:00+14:00", "x" * 99]
)
def test_what_is_no_time_with_a_zone_is_refused(time: str) -> None:
    with pytest.raises(UsageError, match="is no time in ISO 8601 with its zone"):
        uniform_time(time)
