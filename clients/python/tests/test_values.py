"""Native values and their JSON form. The whole way through a component is in the live tests."""

from __future__ import annotations

import math
import unittest
from dataclasses import dataclass
from typing import Any

from enclave_os import Err, Ok, ProtocolError, Some, Variant
from enclave_os.values import WitType, from_json, functions, to_json

POINT: WitType = {"record": [{"name": "x-axis", "type": "s32"}, {"name": "note", "type": {"option": "string"}}]}
SHAPE: WitType = {"variant": [{"name": "circle", "type": "f64"}, {"name": "nothing"}]}


@dataclass
class Point:
    x_axis: int
    note: str | None = None


class Values(unittest.TestCase):
    def test_there_and_back(self) -> None:
        cases: list[tuple[WitType, Any, Any]] = [
            ("bool", True, True),
            ("u8", 255, 255),
            ("s64", -(2**53 - 1), -(2**53 - 1)),
            ("u64", 2**64 - 1, "18446744073709551615"),
            ("f64", math.inf, "Infinity"),
            ("f64", 0.5, 0.5),
            ("char", "é", "é"),
            ({"list": "u8"}, b"\1\2\xff", "AQL/"),
            ({"list": "string"}, ["a"], ["a"]),
            ({"tuple": ["bool", "u64"]}, (True, 2**60), [True, str(2**60)]),
            (POINT, {"x-axis": 1, "note": None}, {"x-axis": 1, "note": None}),
            (SHAPE, Variant("circle", 1.5), {"circle": 1.5}),
            (SHAPE, Variant("nothing"), {"nothing": None}),
            ({"enum": ["red"]}, "red", "red"),
            ({"flags": ["a", "b"]}, frozenset({"b"}), ["b"]),
            ({"option": "u8"}, None, None),
            ({"option": {"option": "u8"}}, Some(None), {"some": None}),
            ({"option": {"option": "u8"}}, Some(7), {"some": 7}),
            ({"result": {"ok": "u8", "err": "string"}}, Ok(1), {"ok": 1}),
            ({"result": {"err": "string"}}, Ok(), {"ok": None}),
            ({"result": {}}, Err(), {"err": None}),
        ]
        for wit, native, json in cases:
            with self.subTest(wit=wit, native=native):
                self.assertEqual(to_json(native, wit), json)
                self.assertEqual(from_json(json, wit), native)
        self.assertEqual(to_json(math.nan, "f32"), "NaN")
        self.assertTrue(math.isnan(from_json("NaN", "f32")))

    def test_what_is_also_taken(self) -> None:
        self.assertEqual(to_json(Point(3), POINT), {"x-axis": 3, "note": None})
        self.assertEqual(to_json({"x-axis": 3}, POINT), {"x-axis": 3})
        self.assertEqual(to_json("nothing", SHAPE), {"nothing": None})
        self.assertEqual(to_json([1, 2], {"list": "u8"}), [1, 2])
        self.assertEqual(to_json(Some(1), {"option": "u8"}), 1)
        # An object with exactly these fields would be read as the typed form.
        typed: WitType = {"record": [{"name": "type", "type": "string"}, {"name": "value", "type": "u8"}]}
        record = {"type": "a", "value": 1}
        self.assertEqual(to_json(record, typed), {"type": "record", "value": record})

    def test_a_value_of_another_type_is_refused_before_it_is_sent(self) -> None:
        cases: list[tuple[WitType, Any]] = [
            ("bool", 1),
            ("u8", True),
            ("u8", 256),
            ("s8", -129),
            ("u8", 1.0),
            ("f64", "1"),
            ("f64", True),
            ("string", b"x"),
            ({"list": "string"}, "text"),
            ({"list": "string"}, {"a": 1}),
            ({"tuple": ["bool"]}, (True, True)),
            (POINT, {}),
            (POINT, {"x-axis": 1, "y": 2}),
            (POINT, 1),
            (SHAPE, Variant("square")),
            (SHAPE, {"circle": 1.0}),
            ({"enum": ["red"]}, "blue"),
            ({"flags": ["a"]}, {"b"}),
            ({"flags": ["a"]}, "a"),
            ({"option": {"option": "u8"}}, 7),
            ({"result": {}}, None),
            ("resource", 1),
        ]
        for wit, bad in cases:
            with self.subTest(wit=wit, bad=bad), self.assertRaises((TypeError, ValueError)):
                to_json(bad, wit)

    def test_an_answer_of_another_type_is_the_peers_fault(self) -> None:
        cases: list[tuple[WitType, Any]] = [
            ("u64", "x"),
            ("u8", None),
            ("f64", "big"),
            ("bool", 1),
            ({"list": "u8"}, "A"),
            ({"list": "string"}, {}),
            ({"tuple": ["u8"]}, []),
            (POINT, {"note": None}),
            (SHAPE, {"square": 1}),
            (SHAPE, "circle"),
            ({"option": {"option": "u8"}}, 7),
            ({"result": {}}, {"maybe": 1}),
            ({"result": {}}, {"ok": 1, "err": 2}),
            ("resource", 1),
        ]
        for wit, bad in cases:
            with self.subTest(wit=wit, bad=bad), self.assertRaises(ProtocolError):
                from_json(bad, wit)
        schemas: list[dict[str, Any]] = [
            {},
            {"exports": [{}]},
            {"exports": [{"name": "f", "params": [1], "results": []}]},
        ]
        for schema in schemas:
            with self.assertRaises(ProtocolError):
                functions(schema)


if __name__ == "__main__":
    unittest.main()
