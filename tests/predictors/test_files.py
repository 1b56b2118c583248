from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.errors import InvalidPredictorFileError
from predictors.files import dump_pack, load_pack

ARRAYS = {"block": np.linspace(0.0, 1.0, 50), "measured": np.array([True, False])}
HEADER = {"space": "toy", "noise": 0.02, "provenance": {"networks": 3}}


def packed(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def header(text: bytes) -> bytes:
    return packed(header_json=np.frombuffer(text, dtype=np.uint8))


def test_a_pack_comes_back_as_it_went_in() -> None:
    found, arrays = load_pack(dump_pack("model", HEADER, ARRAYS), "model")

    assert {key: found[key] for key in HEADER} == HEADER
    assert arrays.keys() == ARRAYS.keys()
    assert all((arrays[name] == ARRAYS[name]).all() for name in ARRAYS)
    assert arrays["measured"].dtype == bool


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        packed(block=ARRAYS["block"]),
        header(b"{"),
        header(b"\xff\xfe"),
        header(b"[1, 2]"),
        header(b"7"),
        header(b"null"),
    ],
    ids=["empty", "text", "no header", "cut JSON", "no text", "a list", "a number", "null"],
)
def test_what_is_no_pack_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidPredictorFileError, match="not a predictor file"):
        load_pack(data, "model")


def test_a_single_array_is_refused() -> None:
    buffer = io.BytesIO()
    np.save(buffer, ARRAYS["block"])

    with pytest.raises(InvalidPredictorFileError, match="not a predictor file"):
        load_pack(buffer.getvalue(), "model")


def test_pickled_arrays_are_refused_and_nothing_advises_to_unpickle_them() -> None:
    data = packed(header_json=np.frombuffer(b"{}", dtype=np.uint8), evil=np.array([print]))

    with pytest.raises(InvalidPredictorFileError) as caught:
        load_pack(data, "model")

    assert "pickle" not in str(caught.value)


@given(st.data())
def test_a_damaged_pack_is_refused_or_reads_the_same(data: st.DataObject) -> None:
    """Not every byte matters: some are padding and time stamps of the archive."""
    good = bytearray(dump_pack("model", HEADER, ARRAYS))
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] = data.draw(st.integers(0, 255))

    try:
        found, arrays = load_pack(bytes(good), "model")
    except InvalidPredictorFileError:
        return

    assert found["space"] == "toy"
    assert all((arrays[name] == ARRAYS[name]).all() for name in ARRAYS if name in arrays)


@given(st.floats(0.0, 0.999))
def test_a_pack_cut_short_is_refused(share: float) -> None:
    good = dump_pack("model", HEADER, ARRAYS)

    with pytest.raises(InvalidPredictorFileError):
        load_pack(good[: int(share * len(good))], "model")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"schema": 2, "model": "model"}', "schema 2; this version reads"),
        (b'{"schema": 1, "model": "other"}', "model 'other'"),
        (b"{}", "model None"),
    ],
)
def test_another_model_or_schema_is_refused_with_what_is_read(text: bytes, says: str) -> None:
    with pytest.raises(InvalidPredictorFileError, match=says):
        load_pack(header(text), "model")
