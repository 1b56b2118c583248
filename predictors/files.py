"""Predictors as files: arrays and a JSON header in one npz, never a pickle."""

from __future__ import annotations

import io
import json
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.errors import InvalidPredictorFileError

SCHEMA = 1
_HEADER = "header_json"
# What NumPy, zip, zlib and JSON raise for bytes that are not what they should be.
_DAMAGED = (
    ValueError, KeyError, OSError, EOFError, TypeError, AttributeError, RuntimeError,
    SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def dump_pack(model: str, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Serialise a model's header (JSON values) and arrays (numeric)."""
    text = json.dumps({"schema": SCHEMA, "model": model, **header}, sort_keys=True)
    columns: dict[str, NDArray[Any]] = {
        **arrays, _HEADER: np.frombuffer(text.encode(), dtype=np.uint8)
    }  # fmt: skip
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **columns)
    return buffer.getvalue()


def load_pack(data: bytes, model: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read `dump_pack` back; nothing in the file is executed.

    Raises:
        InvalidPredictorFileError: If it is damaged, of another model or schema.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = dict(json.loads(arrays.pop(_HEADER).tobytes()))
    except _DAMAGED as error:
        # NumPy's own message advises to unpickle; it stays in the chain.
        msg = "not a predictor file, or a damaged one; calibrate the device again"
        raise InvalidPredictorFileError(msg) from error
    if header.get("schema") != SCHEMA or header.get("model") != model:
        msg = (
            f"predictor file of model {header.get('model')!r}, schema {header.get('schema')!r}; "
            f"this version reads model {model!r}, schema {SCHEMA}; calibrate the device again"
        )
        raise InvalidPredictorFileError(msg)
    return header, arrays
