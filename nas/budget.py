"""Quantities as users write them: `5ms`, `5%`. A number without a unit is refused."""

from __future__ import annotations

import math
import re

from nas.errors import InvalidRequestError

_NUMBER = r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)"
_DURATION = re.compile(_NUMBER + r"\s*(?P<unit>us|µs|\u03bcs|ms|s)?", re.IGNORECASE | re.ASCII)
_SHARE = re.compile(_NUMBER + r"\s*(?P<unit>%)?")
# Keyboards type the micro sign or the Greek letter; they look alike.
_MILLISECONDS = {"us": 1e-3, "µs": 1e-3, "\u03bcs": 1e-3, "ms": 1.0, "s": 1e3}


def parse_duration_ms(text: str) -> float:
    """Read a latency limit.

    Raises:
        InvalidRequestError: If the unit is missing, or the value is not positive.

    Example:
        >>> parse_duration_ms("5ms"), parse_duration_ms("0.005 s")
        (5.0, 5.0)
    """
    if "=" in text:
        msg = (
            f"budget {text!r}: percentile budgets are not supported yet; "
            "write the unloaded latency, such as 5ms"
        )
        raise InvalidRequestError(msg)
    match = _DURATION.fullmatch(text.strip())
    if match is None or match["unit"] is None:
        msg = f"budget {text!r} needs a number and a unit: us, ms or s, such as 5ms"
        raise InvalidRequestError(msg)
    value = float(match["number"]) * _MILLISECONDS[match["unit"].lower()]
    if not (math.isfinite(value) and value > 0):
        msg = f"budget {text!r} must be more than 0"
        raise InvalidRequestError(msg)
    return value


def parse_share(text: str) -> float:
    """Read a probability: `5%` or `0.05`.

    Raises:
        InvalidRequestError: If it is not strictly between 0 and 50 %.

    Example:
        >>> parse_share("5%")
        0.05
    """
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        msg = f"risk {text!r} needs a share, such as 5%"
        raise InvalidRequestError(msg)
    value = float(match["number"]) / (100.0 if match["unit"] else 1.0)
    if not 0.0 < value < 0.5:
        msg = f"risk {text!r} must lie between 0 and 50 %"
        raise InvalidRequestError(msg)
    return value
