"""Strict readers of text that came from outside: one value has one spelling, and anything else is refused."""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from typing import Any, NoReturn

_HEX = re.compile(r"(?:[0-9a-f]{2})*")
# Controls (C0, DEL, C1), ends of lines, overrides of the direction of text, and halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def hex_bytes(text: str, length: int | None = None) -> bytes:
    """Lower-case hexadecimal of exactly ``length`` bytes. ``ValueError`` otherwise."""
    if not _HEX.fullmatch(text):
        raise ValueError("not lower-case hexadecimal")
    value = bytes.fromhex(text)
    if length is not None and len(value) != length:
        raise ValueError(f"{len(value)} bytes in hexadecimal where {length} belong")
    return value


def base64_bytes(text: str) -> bytes:
    """Standard base64 with padding (RFC 4648 §4), canonical. ``ValueError`` otherwise."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError) as error:
        raise ValueError(f"not base64: {error}") from None
    if base64.b64encode(value).decode() != text:
        raise ValueError("not base64 in its one canonical spelling")
    return value


def base64url_bytes(text: str, length: int | None = None) -> bytes:
    """Base64url without padding (RFC 4648 §5), canonical. ``ValueError`` otherwise."""
    value = base64_bytes(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
    if base64url_text(value) != text:
        raise ValueError("not base64url without padding")
    if length is not None and len(value) != length:
        raise ValueError(f"{len(value)} bytes in base64url where {length} belong")
    return value


def base64url_text(value: bytes) -> str:
    """Base64url without padding (RFC 4648 §5)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def timestamp(text: str) -> datetime:
    """A moment as documents write it: RFC 3339 in UTC, whole seconds. ``ValueError`` for any other spelling."""
    try:
        moment = datetime.strptime(text, _TIME).replace(tzinfo=UTC) if len(text) == 20 else None
    except ValueError:
        moment = None
    if moment is None or timestamp_text(moment) != text:
        raise ValueError(f"{text!r} is not a moment written like 2026-11-21T17:00:00Z")
    return moment


def timestamp_text(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime(_TIME).rjust(20, "0")


def printable(text: str, but: str = "") -> str:
    """Text of a peer's for a terminal: what would steer it is escaped (``\\u001b``), all ``but`` these characters."""
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in but else f"\\u{ord(found[0]):04x}", text)


def json_value(text: str | bytes) -> Any:
    """JSON without what only some readers take: a key twice, ``NaN``. ``ValueError`` otherwise."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("JSON nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"the key {key!r} occurs twice in one object")
        members[key] = value
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class Members:
    """The members of one JSON object or TOML table; each is taken once, what is left over is an error."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is not {'a table' if where.startswith('[') else 'an object'}")
        self._members: dict[str, Any] = dict(value)
        self._where = where

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def take(self, key: str) -> Any:
        """The member of that name; ``ValueError`` if it is not there."""
        if key not in self._members:
            raise ValueError(f"{self._where} lacks {key!r}")
        return self._members.pop(key)

    def optional(self, key: str) -> Any:
        """The member of that name, or ``None``."""
        return self._members.pop(key, None)

    def text(self, key: str) -> str:
        """A string; ``ValueError`` if it is anything else."""
        value = self.take(key)
        if not isinstance(value, str):
            raise ValueError(f"{key!r} in {self._where} is not a string")
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        """A whole number in a range; ``ValueError`` if it is anything else."""
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"{key!r} in {self._where} is not a whole number from {least} to {most}")
        return value

    def boolean(self, key: str) -> bool:
        """``true`` or ``false``; ``ValueError`` if it is anything else."""
        value = self.take(key)
        if not isinstance(value, bool):
            raise ValueError(f"{key!r} in {self._where} is neither true nor false")
        return value

    def items(self, key: str) -> list[Any]:
        """An array; ``ValueError`` if it is anything else."""
        value = self.take(key)
        if not isinstance(value, list):
            raise ValueError(f"{key!r} in {self._where} is not an array")
        return value

    def strings(self, key: str) -> list[str]:
        """An array of strings; ``ValueError`` if it is anything else."""
        values = self.items(key)
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"{key!r} in {self._where} is not an array of strings")
        return values

    def hashes(self, key: str, length: int) -> frozenset[bytes]:
        """A non-empty array of hexadecimal values; ``ValueError`` if it is anything else."""
        texts = self.strings(key)
        if not texts:
            raise ValueError(f"{key!r} in {self._where} is empty, and nothing could pass it; leave it out or fill it")
        try:
            return frozenset(hex_bytes(text, length) for text in texts)
        except ValueError as error:
            raise ValueError(f"{key!r} in {self._where}: {error}") from None

    def end(self) -> None:
        """``ValueError`` if a member was not taken: unknown members are never passed over."""
        if self._members:
            raise ValueError(f"{self._where} has the unknown key {sorted(self._members)[0]!r}")
