"""Values of the component model as Python's own, by the types of a function's signature.

==================  ==========================================================================
WIT                 Python
==================  ==========================================================================
bool, string, char  ``bool``, ``str``, ``str`` of one character
s8 … u64            ``int``
f32, f64            ``float``, with ``nan`` and ``inf``
list<u8>            ``bytes`` (also taken: ``bytearray``, ``memoryview``, a list of ``int``)
list<T>, tuple<…>   ``list``, ``tuple``
record              ``dict`` by field (also taken: a dataclass)
variant             :class:`Variant`
enum                ``str``
flags               ``frozenset`` of ``str``
option<T>           ``None`` or the value; where the value is an option itself, :class:`Some` around it
result<T, E>        :class:`Ok` or :class:`Err`
==================  ==========================================================================

``docs/formats/values.md`` has the JSON form.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .encoding import base64_bytes
from .errors import ProtocolError

WitType = str | Mapping[str, Any]
"""A type as ``wasm_schema`` writes it."""

_EXACT = (1 << 53) - 1
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_INTEGERS = {f"{sign}{bits}" for sign in "su" for bits in (8, 16, 32, 64)}


@dataclass(frozen=True)
class Ok:
    """The good side of a ``result``."""

    value: Any = None


@dataclass(frozen=True)
class Err:
    """The bad side of a ``result``: an answer of the app, not an exception."""

    value: Any = None


@dataclass(frozen=True)
class Some:
    """An ``option`` that is there, where the value is an ``option`` again."""

    value: Any = None


@dataclass(frozen=True)
class Variant:
    """One case of a ``variant``."""

    case: str
    value: Any = None


@dataclass(frozen=True)
class Function:
    """The signature of an export."""

    name: str
    parameters: tuple[tuple[str, WitType], ...]
    results: tuple[WitType, ...]


def functions(schema: Mapping[str, Any]) -> list[Function]:
    """The exports of a schema."""
    try:
        return [
            Function(
                export["name"],
                tuple((parameter["name"], parameter["type"]) for parameter in export["params"]),
                tuple(export["results"]),
            )
            for export in schema["exports"]
        ]
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"the peer sent a schema that is none: {error!r}") from None


def to_json(value: Any, wit: WitType) -> Any:
    """A native value as JSON. ``TypeError`` or ``ValueError`` if it is none of this type."""
    kind, inner = _kind(wit)
    if kind in _WRITERS:
        return _WRITERS[kind](value, inner)
    if kind in _INTEGERS:
        return _integer(value, kind)
    if kind in ("f32", "f64"):
        return _float(value)
    if kind == "bool":
        return _expect(value, bool, "bool")
    if kind in ("string", "char", "enum"):
        return _expect(value, str, kind)
    raise TypeError(f"a value of type {kind} cannot be sent")


def from_json(value: Any, wit: WitType) -> Any:
    """A native value from what the enclave answered. :class:`ProtocolError` if it is none of this type."""
    try:
        return _read(value, wit)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProtocolError(f"the peer answered {str(value)[:80]!r} as a value of type {wit}: {error}") from None


def _kind(wit: WitType) -> tuple[str, Any]:
    if isinstance(wit, str):
        return wit, None
    ((kind, inner),) = wit.items()
    return kind, inner


def _is_option(wit: WitType) -> bool:
    return _kind(wit)[0] == "option"


def _expect(value: Any, kind: type, wit: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{wit} takes {kind.__name__}, not {type(value).__name__}")
    return value


def _integer(value: Any, kind: str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{kind} takes int, not {type(value).__name__}")
    bits = int(kind[1:])
    least, most = (0, (1 << bits) - 1) if kind[0] == "u" else (-(1 << bits - 1), (1 << bits - 1) - 1)
    if not least <= value <= most:
        raise ValueError(f"{value} does not fit {kind}, which goes from {least} to {most}")
    return value if abs(value) <= _EXACT else str(value)


def _float(value: Any) -> float | str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"a float takes float, not {type(value).__name__}")
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _write_list(value: Any, element: WitType) -> Any:
    if element == "u8" and isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"a list takes a list, not {type(value).__name__}")
    return [to_json(item, element) for item in value]


def _write_tuple(value: Any, elements: list[WitType]) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != len(elements):
        raise TypeError(f"a tuple of {len(elements)} takes a tuple of so many")
    return [to_json(item, element) for item, element in zip(value, elements, strict=True)]


def _write_record(value: Any, fields: list[Mapping[str, Any]]) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # Fields of WIT have hyphens where Python's have underscores.
        names = [field.name for field in dataclasses.fields(value)]
        value = {name.replace("_", "-"): getattr(value, name) for name in names}
    _expect(value, Mapping, "a record")
    known = {field["name"]: field["type"] for field in fields}
    unknown = value.keys() - known.keys()
    if unknown:
        raise ValueError(f"the record has no field {sorted(unknown)[0]!r}; it has {', '.join(known)}")
    missing = [name for name in known if name not in value and not _is_option(known[name])]
    if missing:
        raise ValueError(f"the record's field {missing[0]!r} is missing")
    members = {name: to_json(value[name], wit) for name, wit in known.items() if name in value}
    # An object with exactly these two fields is always read as the typed form.
    return {"type": "record", "value": members} if members.keys() == {"type", "value"} else members


def _write_variant(value: Any, cases: list[Mapping[str, Any]]) -> Any:
    if isinstance(value, str):
        value = Variant(value)
    _expect(value, Variant, "a variant")
    for case in cases:
        if case["name"] == value.case:
            payload = case.get("type")
            return {value.case: None if payload is None else to_json(value.value, payload)}
    raise ValueError(f"the variant has no case {value.case!r}; it has {', '.join(c['name'] for c in cases)}")


def _write_flags(value: Any, names: list[str]) -> Any:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"flags take a set of names, not {type(value).__name__}")
    found = set(value)
    if found - set(names):
        raise ValueError(f"there is no flag {sorted(found - set(names))[0]!r}; there are {', '.join(names)}")
    return [name for name in names if name in found]


def _write_enum(value: Any, names: list[str]) -> Any:
    if _expect(value, str, "an enum") not in names:
        raise ValueError(f"the enum has no {value!r}; it has {', '.join(names)}")
    return value


def _write_option(value: Any, inner: WitType) -> Any:
    if value is None:
        return None
    if _is_option(inner):
        return {"some": to_json(_expect(value, Some, "an option of an option").value, inner)}
    return to_json(value.value if isinstance(value, Some) else value, inner)


def _write_result(value: Any, sides: Mapping[str, WitType]) -> Any:
    if not isinstance(value, (Ok, Err)):
        raise TypeError(f"a result takes Ok or Err, not {type(value).__name__}")
    side = "ok" if isinstance(value, Ok) else "err"
    return {side: to_json(value.value, sides[side]) if side in sides else None}


_WRITERS: dict[str, Callable[[Any, Any], Any]] = {
    "list": _write_list,
    "tuple": _write_tuple,
    "record": _write_record,
    "variant": _write_variant,
    "flags": _write_flags,
    "enum": _write_enum,
    "option": _write_option,
    "result": _write_result,
}


def _read(value: Any, wit: WitType) -> Any:
    kind, inner = _kind(wit)
    if kind in _INTEGERS:
        return int(value) if isinstance(value, str) else _expect(value, int, kind)
    if kind in ("f32", "f64"):
        return _NUMBERS[value] if isinstance(value, str) else float(value)
    if kind in ("bool", "string", "char"):
        return _expect(value, bool if kind == "bool" else str, kind)
    return _READERS[kind](value, inner)


def _read_list(value: Any, element: WitType) -> Any:
    if element == "u8":
        return base64_bytes(value)
    return [_read(item, element) for item in _expect(value, list, "a list")]


def _read_variant(value: Any, cases: list[Mapping[str, Any]]) -> Variant:
    ((name, payload),) = value.items()
    (case,) = [case for case in cases if case["name"] == name]
    return Variant(name, _read(payload, case["type"]) if "type" in case else None)


def _read_option(value: Any, inner: WitType) -> Any:
    if value is None:
        return None
    return Some(_read(value["some"], inner)) if _is_option(inner) else _read(value, inner)


def _read_result(value: Any, sides: Mapping[str, WitType]) -> Ok | Err:
    ((side, payload),) = value.items()
    found = _read(payload, sides[side]) if side in sides else None
    if side == "ok":
        return Ok(found)
    if side == "err":
        return Err(found)
    raise ValueError(f"a result has no side {side!r}")


_READERS: dict[str, Callable[[Any, Any], Any]] = {
    "list": _read_list,
    "tuple": lambda value, inner: tuple(_read(v, t) for v, t in zip(value, inner, strict=True)),
    "record": lambda value, inner: {f["name"]: _read(value[f["name"]], f["type"]) for f in inner},
    "variant": _read_variant,
    "flags": lambda value, inner: frozenset(_expect(value, list, "flags")),
    "enum": lambda value, inner: _expect(value, str, "an enum"),
    "option": _read_option,
    "result": _read_result,
}
