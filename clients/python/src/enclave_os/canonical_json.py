"""Canonical JSON (RFC 8785), for values whose numbers it keeps exactly."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_EXACT = (1 << 53) - 1
"""Largest whole number that every JSON reader reads exactly (RFC 7493 §2.2)."""


def encode(value: Any) -> bytes:
    """The one spelling of a JSON value; ``ValueError`` where two values would have the same."""
    try:
        return _text(value).encode()
    except RecursionError:
        raise ValueError("JSON nested too deep") from None


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        if abs(value) > MAX_EXACT:
            raise ValueError(f"the number {value} is beyond 2^53 and not exact in canonical JSON")
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, dict):
        # §3.2.3: ordered by UTF-16 code units.
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{_text(key)}:{_text(value[key])}" for key in keys) + "}"
    raise ValueError(f"{type(value).__name__} is not a JSON type")


def _number(value: float) -> str:
    """As ECMAScript's ``Number::toString`` (§3.2.2.3); the shortest digits are those of ``repr``."""
    if not math.isfinite(value):
        raise ValueError("a number that is not finite is not JSON")
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"
