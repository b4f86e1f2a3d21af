"""Settings of the configuration: what is fetched of them, and what is believed."""

from __future__ import annotations

import json
import unittest
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from enclave_os import Client, EnclaveOsError, ProtocolError, Tier, Verdict, danger
from enclave_os import leaf_certificate as oid
from enclave_os.framing import Framed
from enclave_os.http import Http
from enclave_os.leaf_certificate import LeafCertificate
from enclave_os.manifest import Leaf, Manifest
from enclave_os.transport import connect

from .pki import Issued, extensions
from .server import Server, framed, http

CA = Issued.authority("Enclave OS CA")
LEAF = CA.leaf(extensions())


def manifest_of(settings: Mapping[str, int]) -> dict[str, Any]:
    """The manifest of these settings, as a server answers it."""
    leaves = [Leaf(name, sha256(str(value).encode()).digest(), json=value) for name, value in sorted(settings.items())]
    shown = [{"name": leaf.name, "value_hash": leaf.value_hash.hex(), "json": leaf.json} for leaf in leaves]
    return {"version": 1, "root": Manifest(tuple(leaves)).root.hex(), "leaves": shown}


def app_leaf(whole: Mapping[str, Any], own: Mapping[str, Any]) -> Issued:
    """The certificate of the app ``notes`` alone."""
    code = bytes(32)
    of_app = {
        oid.CONFIGURATION_ROOT: bytes.fromhex(whole["root"]),
        oid.APP_CONFIGURATION_ROOT: bytes.fromhex(own["root"]),
        oid.APP_CODE_HASH: code,
        oid.APP_KEY_SOURCE: b"generated",
    }
    return CA.leaf(extensions([("notes", "/notes", code)]) | of_app, names=["notes.example"])


def answer(value: Any) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


class _Found:
    """Makes connections of which it says that this certificate was verified, or that none was."""

    server_name = "x"

    def __init__(self, server: Server, leaf: Issued | None) -> None:
        self._address = ("127.0.0.1", server.port)
        self._leaf = leaf

    def framed(self) -> tuple[Framed, Verdict | None]:
        raise AssertionError("nobody asks for frames")

    def http(self) -> tuple[Http, Verdict | None]:
        transport = connect(self._address, "x", ["http/1.1"], 30)
        verdict = Verdict(Tier.CERTIFICATE, leaf=LeafCertificate.from_der(self._leaf.der)) if self._leaf else None
        return Http(transport, "x"), verdict


class Vouched(unittest.TestCase):
    """Settings are given only if a verified certificate vouches for them."""

    ONE = manifest_of({"core.version": 1})
    OWN = manifest_of({"limits": 1})
    PROOF: Mapping[str, Any] = {
        "leaf": ONE["leaves"][0],
        "index": 0,
        "tree_size": 1,
        "path": [],
        "root": ONE["root"],
    }
    RIGHT = CA.leaf(extensions() | {oid.CONFIGURATION_ROOT: bytes.fromhex(ONE["root"])})

    def ask(self, found: Issued | None, value: Any, question: Callable[[Client], Any]) -> Any:
        with Server(LEAF.server_context(CA), http(answer(value))) as server, Client(_Found(server, found)) as client:
            return question(client)

    def test_a_manifest_of_another_configuration(self) -> None:
        self.assertEqual(self.ask(self.RIGHT, self.ONE, Client.manifest).root.hex(), self.ONE["root"])
        with self.assertRaisesRegex(ProtocolError, "in the certificate"):
            self.ask(LEAF, self.ONE, Client.manifest)

    def test_a_proof_of_another_configuration_or_leaf(self) -> None:
        proof = self.ask(self.RIGHT, self.PROOF, lambda client: client.proof("core.version"))
        self.assertEqual(proof.leaf.json, 1)
        with self.assertRaisesRegex(ProtocolError, "root in the certificate"):
            self.ask(LEAF, self.PROOF, lambda client: client.proof("core.version"))
        with self.assertRaisesRegex(ProtocolError, "not core.platform"):
            self.ask(self.RIGHT, self.PROOF, lambda client: client.proof("core.platform"))

    def test_at_an_apps_hostname(self) -> None:
        app = app_leaf(self.ONE, self.OWN)
        self.assertEqual(self.ask(app, self.OWN, Client.manifest).root.hex(), self.OWN["root"])
        self.assertTrue(self.ask(app, self.PROOF, lambda client: client.proof("core.version")))
        with self.assertRaisesRegex(ProtocolError, "in the certificate"):
            self.ask(app, self.ONE, Client.manifest)

    def test_without_a_verdict_nothing_is_given(self) -> None:
        for value, question in self.questions():
            with self.assertRaisesRegex(EnclaveOsError, "no certificate was verified"):
                self.ask(None, value, question)

    def test_danger_gives_what_nobody_vouches_for(self) -> None:
        for value, question in self.questions():
            with Server(LEAF.server_context(CA), framed(), http(answer(value))) as server:
                with danger.connect_without_verification(server.address) as client:
                    self.assertTrue(question(client))

    def questions(self) -> list[tuple[Any, Callable[[Client], Any]]]:
        return [(self.ONE, Client.manifest), (self.PROOF, lambda client: client.proof("core.version"))]


if __name__ == "__main__":
    unittest.main()
