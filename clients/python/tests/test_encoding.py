"""Strict text, canonical JSON, the Merkle tree, manifests and proofs, report data."""

from __future__ import annotations

import base64
import json
import unittest
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from enclave_os import canonical_json, encoding, merkle, report_data
from enclave_os.encoding import base64_bytes, base64url_bytes, hex_bytes, json_value, timestamp
from enclave_os.manifest import Leaf, Manifest, Proof, salted_hash


class Text(unittest.TestCase):
    def test_one_value_has_one_spelling(self) -> None:
        self.assertEqual(hex_bytes("00ff", 2), b"\x00\xff")
        self.assertEqual(base64_bytes("AQ=="), b"\x01")
        self.assertEqual(base64url_bytes("-_8"), b"\xfb\xff")
        for read, bad in [
            (hex_bytes, "0"),
            (hex_bytes, "FF"),
            (hex_bytes, "0x00"),
            (hex_bytes, "00\n"),
            (base64_bytes, "AQ"),
            (base64_bytes, "AR=="),
            (base64_bytes, "A Q=="),
            (base64_bytes, "AQ==\n"),
            (base64_bytes, "é"),
            (base64url_bytes, "AQ=="),
            (base64url_bytes, "AR"),
            (base64url_bytes, "+/8"),
        ]:
            with self.subTest(bad=bad), self.assertRaises(ValueError):
                read(bad)
        with self.assertRaises(ValueError):
            hex_bytes("00", 2)
        with self.assertRaises(ValueError):
            base64url_bytes("AQ", 2)

    def test_a_moment_is_written_one_way(self) -> None:
        self.assertEqual(timestamp("2027-01-01T00:00:00Z"), datetime(2027, 1, 1, tzinfo=UTC))
        for bad in [
            "2027-01-01",
            "2027-01-01T00:00:00",
            "2027-01-01t00:00:00Z",
            "2027-01-01T00:00:00+00:00",
            "2027-01-01T00:00:00.0Z",
            "2027-02-29T00:00:00Z",
            "2027-1-01T00:00:000Z",
        ]:
            with self.subTest(bad=bad), self.assertRaises(ValueError):
                timestamp(bad)

    def test_json_that_readers_read_differently_is_refused(self) -> None:
        for bad in ['{"a":1,"a":2}', "NaN", "[Infinity]", "{", "[" * 100_000]:
            with self.subTest(bad=bad[:20]), self.assertRaises(ValueError):
                json_value(bad)

    def test_a_key_that_occurs_twice_is_found_in_one_pass(self) -> None:
        class Counted(str):
            compared = 0
            __hash__ = str.__hash__

            def __eq__(self, other: object) -> bool:
                Counted.compared += 1
                return str.__eq__(self, other)

        count = 10_000
        pairs: list[tuple[str, Any]] = [(Counted(at), None) for at in range(count)]
        with self.assertRaisesRegex(ValueError, "'9999' occurs twice"):
            encoding._once([*pairs, (Counted(count - 1), None)])
        self.assertLess(Counted.compared, 2 * count)
        self.assertEqual(encoding._once([("b", 1), ("a", 2)]), {"b": 1, "a": 2})


class CanonicalJson(unittest.TestCase):
    def test_numbers_are_written_as_in_rfc_8785(self) -> None:
        # RFC 8785 appendix B, and values around the borders of the notations.
        for value, text in [
            (0.0, "0"),
            (-0.0, "0"),
            (5e-324, "5e-324"),
            (-5e-324, "-5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (9007199254740992.0, "9007199254740992"),
            (295147905179352830000.0, "295147905179352830000"),
            (9.999999999999997e22, "9.999999999999997e+22"),
            (1e23, "1e+23"),
            (999999999999999700000.0, "999999999999999700000"),
            (1e21, "1e+21"),
            (9.999999999999997e-7, "9.999999999999997e-7"),
            (0.000001, "0.000001"),
            (333333333.33333329, "333333333.3333333"),
            (1424953923781206.2, "1424953923781206.2"),
            (2.5, "2.5"),
            (1.0, "1"),
            (-7, "-7"),
        ]:
            self.assertEqual(canonical_json.encode(value).decode(), text)

    def test_members_are_ordered_by_utf_16(self) -> None:
        # RFC 8785 §3.2.3: a surrogate pair comes before U+FB33.
        value = {"\ufb33": 1, "\U0001f600": 2, "\u20ac": 3, "\r": 4, "1": 5, "ö": 6, "\x80": 7}
        order = json.loads(canonical_json.encode(value))
        self.assertEqual(list(order.values()), [4, 5, 7, 6, 3, 2, 1])
        self.assertEqual(
            canonical_json.encode({"a": [None, True, False, '"\x1f\n']}), b'{"a":[null,true,false,"\\"\\u001f\\n"]}'
        )

    def test_what_would_be_rounded_is_refused(self) -> None:
        self.assertEqual(canonical_json.encode(2**53 - 1), b"9007199254740991")
        for bad in [2**53, -(2**53), float("nan"), float("inf"), "\ud800", object()]:
            with self.subTest(bad=repr(bad)), self.assertRaises(ValueError):
                canonical_json.encode(bad)


class Merkle(unittest.TestCase):
    def test_known_answers(self) -> None:
        # The test vectors of the Certificate Transparency reference implementation.
        inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
        leaves = [merkle.leaf_hash(bytes.fromhex(text)) for text in inputs]
        self.assertEqual(merkle.root([]), sha256().digest())
        for size, wanted in [
            (1, "6e340b9c"),
            (2, "fac54203"),
            (3, "aeb6bcfe"),
            (5, "4e3bbb1f"),
            (7, "ddb89be4"),
            (8, "5dc9da79"),
        ]:
            self.assertEqual(merkle.root(leaves[:size]).hex()[:8], wanted)

    def test_every_leaf_of_every_small_tree_is_proved_and_no_other(self) -> None:
        for size in range(1, 40):
            leaves = [merkle.leaf_hash(bytes([at])) for at in range(size)]
            root = merkle.root(leaves)
            for index, leaf in enumerate(leaves):
                path = _path(index, leaves)
                proof = merkle.InclusionProof(index, size, path)
                self.assertEqual(proof.root(leaf), root)
                self.assertNotEqual(proof.root(merkle.leaf_hash(b"another")), root)
                self.assertNotEqual(merkle.InclusionProof(index, size, (*path, leaf)).root(leaf), root)
                self.assertNotEqual(merkle.InclusionProof(index, size, path[:-1]).root(leaf), root if path else None)
                self.assertIsNone(merkle.InclusionProof(size, size, path).root(leaf))


def _path(index: int, leaves: list[bytes]) -> tuple[bytes, ...]:
    """PATH of RFC 9162 §2.1.3.1."""
    if len(leaves) == 1:
        return ()
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < split:
        return (*_path(index, leaves[:split]), merkle.root(leaves[split:]))
    return (*_path(index - split, leaves[split:]), merkle.root(leaves[:split]))


def manifest_json() -> dict[str, Any]:
    """The manifest whose roots ``attestation`` has as known answers too."""
    limits = {"memory_bytes": 67108864, "fuel": 10000000}
    return {
        "version": 1,
        "root": "6bb5e737920803c8080644e533df03cf5807327e54de4e0f9f3ac81f5feda17e",
        "leaves": [
            {"name": "app.notes.code_hash", "value_hash": sha256(b"\7" * 32).hexdigest(), "bytes": _b64(b"\7" * 32)},
            {
                "name": "app.notes.limits",
                "value_hash": sha256(canonical_json.encode(limits)).hexdigest(),
                "json": limits,
            },
            {"name": "app.notes.secrets", "value_hash": salted_hash(b"\t" * 32, {"TOKEN": "hunter2"}).hex()},
            {"name": "core.ca_key", "value_hash": sha256(b"spki").hexdigest(), "bytes": _b64(b"spki")},
            {"name": "core.version", "value_hash": sha256(b"null").hexdigest(), "json": None},
        ],
    }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Manifests(unittest.TestCase):
    def test_known_answer(self) -> None:
        manifest = Manifest.from_json(manifest_json())
        self.assertEqual(manifest.root.hex()[:8], "6bb5e737")
        app = manifest.of_app("notes")
        self.assertEqual(app.root.hex(), "eb3dcaa2063ff4017247abec65981a849c6f6f8e64368c7516de3f647e57cec6")
        self.assertEqual([leaf.name for leaf in app.leaves], ["code_hash", "limits", "secrets"])
        secrets, version = manifest.leaf("app.notes.secrets"), manifest.leaf("core.version")
        assert secrets is not None and version is not None
        self.assertTrue(secrets.withheld and not version.withheld)
        self.assertIsNone(manifest.leaf("core.nothing"))

    def test_a_changed_manifest_is_refused(self) -> None:
        def changed(change: Any) -> None:
            value = manifest_json()
            change(value)
            with self.assertRaises(ValueError):
                Manifest.from_json(value)

        changed(lambda m: m["leaves"][1]["json"].update(fuel=1))
        changed(lambda m: m["leaves"].reverse())
        changed(lambda m: m["leaves"].pop())
        changed(lambda m: m["leaves"].insert(0, m["leaves"][0]))
        changed(lambda m: m.update(version=2))
        changed(lambda m: m.update(more=1))
        changed(lambda m: m["leaves"][0].update(more=1))
        changed(lambda m: m["leaves"][0].update(json=1))
        changed(lambda m: m["leaves"][0].update(name="a b"))
        changed(lambda m: m["leaves"][0].update(name="x" * 256))
        changed(lambda m: m["leaves"][1].update(json={"big": 2**53}))

    def test_a_proof_holds_for_its_leaf_and_its_root_alone(self) -> None:
        manifest = Manifest.from_json(manifest_json())
        hashes = [merkle.leaf_hash(leaf.entry) for leaf in manifest.leaves]
        value = {
            "leaf": manifest_json()["leaves"][1],
            "index": 1,
            "tree_size": 5,
            "path": [node.hex() for node in _path(1, hashes)],
            "root": "00" * 32,
        }
        proof = Proof.from_json(value)
        self.assertTrue(proof.holds(manifest.root))
        self.assertFalse(proof.holds(bytes(32)), "what the prover says of the root counts for nothing")
        self.assertFalse(Proof.from_json(value | {"index": 2}).holds(manifest.root))
        changes: list[dict[str, Any]] = [
            {"index": -1},
            {"index": True},
            {"tree_size": "5"},
            {"path": ["00"]},
            {"more": 1},
            {"root": "0"},
        ]
        for bad in changes:
            with self.subTest(bad=bad), self.assertRaises(ValueError):
                Proof.from_json(value | bad)

    def test_a_leaf_has_one_value(self) -> None:
        with self.assertRaises(ValueError):
            Leaf.from_json({"name": "a", "value_hash": "00" * 32, "bytes": "", "json": 1})
        with self.assertRaises(ValueError):
            Leaf.from_json([])


class ReportData(unittest.TestCase):
    def test_known_answers(self) -> None:
        # Those of the crate `attestation`.
        at = datetime.fromtimestamp(1_795_180_440, UTC)
        nonce, exporter = b"\1" * 32, b"\2" * 32
        self.assertEqual(report_data.certificate(b"spki", at).hex()[:16], "5c30ca2b08e4c0ec")
        self.assertEqual(report_data.challenge(b"spki", nonce).hex()[:16], "43ba17f29e513dd9")
        self.assertEqual(report_data.channel(b"spki", nonce, exporter).hex()[:16], "a7ddf3af798e3c1a")


if __name__ == "__main__":
    unittest.main()
