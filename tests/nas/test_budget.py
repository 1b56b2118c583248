from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.budget import parse_duration_ms, parse_share
from nas.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("5ms", 5.0),
        (" 5 ms ", 5.0),
        ("5MS", 5.0),
        ("0.005s", 5.0),
        ("2 s", 2000.0),
        ("5000us", 5.0),
        ("5000µs", 5.0),
        ("5000\u03bcs", 5.0),
        (".5ms", 0.5),
        ("5.ms", 5.0),
        ("+5ms", 5.0),
        ("1e1ms", 10.0),
        ("1E-3s", 1.0),
    ],
)
def test_durations_are_read_in_their_unit(text: str, milliseconds: float) -> None:
    assert parse_duration_ms(text) == pytest.approx(milliseconds)


@given(st.floats(1e-6, 1e6))
def test_every_positive_duration_is_read(value: float) -> None:
    assert parse_duration_ms(f"{value!r}ms") == value


@pytest.mark.parametrize(
    "text", ["5", "", "ms", "five ms", "5 m s", "5 min", "5m\u017f", "nanms", "infms"]
)
def test_a_number_without_a_known_unit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"needs a number and a unit.*such as 5ms"):
        parse_duration_ms(text)


@pytest.mark.parametrize("text", ["-3ms", "0ms", "0.0 s", "1e-400ms"])
def test_a_duration_that_is_not_positive_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="must be more than 0"):
        parse_duration_ms(text)


def test_an_endless_duration_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="1e400ms"):
        parse_duration_ms("1e400ms")


@pytest.mark.parametrize("text", ["p99=5ms", "p50 = 5ms"])
def test_percentile_budgets_are_refused_as_not_yet_supported(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="percentile budgets are not supported yet"):
        parse_duration_ms(text)


@pytest.mark.parametrize("text", ["5", "-3ms", "0ms", "nanms", "p99=5ms"])
def test_refusals_quote_what_was_written(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_duration_ms(text)

    assert repr(text) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), (" 1 % ", 0.01), ("49.9%", 0.499)]
)
def test_shares_are_per_cent_or_numbers(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "0%", "50%", "0.5", "-5%", "5", "100%"])
def test_a_share_outside_its_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="between 0 and 50 %"):
        parse_share(text)


@pytest.mark.parametrize("text", ["", "%", "five", "nan", "5 percent"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"needs a share, such as 5%"):
        parse_share(text)
