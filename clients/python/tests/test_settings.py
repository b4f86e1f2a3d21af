"""Settings of the configuration: what is fetched of them, and what is believed."""

from __future__ import annotations

import json
import re
import ssl
import unittest
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

from enclave_os import (
    Client,
    CollateralCache,
    EnclaveOsError,
    Presented,
    ProtocolError,
    Tier,
    Verdict,
    VerificationError,
    VerificationPolicy,
    danger,
)
from enclave_os import leaf_certificate as oid
from enclave_os import merkle
from enclave_os.connection import VerifiedOpener
from enclave_os.framing import Framed
from enclave_os.http import Http
from enclave_os.leaf_certificate import LeafCertificate
from enclave_os.manifest import Leaf, Manifest, Proof
from enclave_os.transport import connect, has_exporter
from enclave_os.verify import _Judgement

from .pki import Issued, extensions
from .server import Server, framed, http

CA = Issued.authority("Enclave OS CA")
LEAF = CA.leaf(extensions())
POLICY = VerificationPolicy.from_toml(
    f'format = 1\n[roots]\nintel = true\n[enclave]\nmrenclave = ["{"00" * 32}"]\n[freshness]\nmin_tier = "certificate"'
)


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


def settings_of(manifest: dict[str, Any], paths: list[str]) -> Callable[[ssl.SSLSocket], None]:
    """Answers with the manifest, or with proofs of the leaves of a tree of two; notes what was asked for."""
    leaves = [Leaf.from_json(dict(leaf)) for leaf in manifest["leaves"]]
    proofs = {
        leaf.name: {
            "leaf": manifest["leaves"][at],
            "index": at,
            "tree_size": 2,
            "path": [merkle.leaf_hash(leaves[1 - at].entry).hex()],
            "root": manifest["root"],
        }
        for at, leaf in enumerate(leaves)
    }

    def handle(connection: ssl.SSLSocket) -> None:
        with connection.makefile("rb") as reader:
            while head := reader.readline():
                while reader.readline() != b"\r\n":
                    pass
                path = head.decode().split(" ")[1].removeprefix("/.enclave/v1/")
                paths.append(path)
                found = manifest if path == "manifest" else proofs.get(path.removeprefix("proofs/"))
                refused = b'{"code":"not-found","detail":"no such leaf"}'
                missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n%s" % (len(refused), refused)
                connection.sendall(missing if found is None else answer(found))

    return handle


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


class Fetched(unittest.TestCase):
    """What a policy with ``[configuration.leaves]`` fetches to judge a certificate."""

    WHOLE = manifest_of({"app.notes.limits": 1, "core.version": 2})
    OWN = manifest_of({"limits": 1})
    HASHES: Mapping[str, bytes] = {leaf["name"]: bytes.fromhex(leaf["value_hash"]) for leaf in WHOLE["leaves"]}
    LIMITS, VERSION = HASHES["app.notes.limits"], HASHES["core.version"]
    APP = app_leaf(WHOLE, OWN)
    ENCLAVE = CA.leaf(extensions() | {oid.CONFIGURATION_ROOT: bytes.fromhex(WHOLE["root"])})

    def judged(
        self, leaf: Issued, wanted: Mapping[str, bytes], app_root: bytes | None = None, elsewhere: Any = WHOLE
    ) -> tuple[str, list[str | None], list[str]]:
        """What is wrong with the configuration, which names were asked for in handshakes, and which paths."""
        asked: list[str | None] = []
        paths: list[str] = []
        context = leaf.server_context(CA)
        context.sni_callback = lambda _socket, name, _context: asked.append(name)
        with Server(context, framed(), settings_of(elsewhere, paths)) as server:
            opener = VerifiedOpener(
                address=("127.0.0.1", server.port),
                policy=replace(
                    POLICY,
                    app="notes",
                    leaves={name: frozenset([value]) for name, value in wanted.items()} or None,
                    app_roots=None if app_root is None else frozenset([app_root]),
                ),
                tier=Tier.CERTIFICATE,
                server_name="notes.example",
                demand_name=False,
                given=None,
                cache=CollateralCache(),
                timeout=30,
            )
            with mock.patch("enclave_os.connection.judge", only_the_configuration):
                try:
                    opener.framed()[0].close()
                except VerificationError as error:
                    return str(error), asked, paths
        return "", asked, paths

    def test_single_leaves_are_proved_and_nothing_is_learned_of_the_others(self) -> None:
        for leaf in (self.APP, self.ENCLAVE):
            found = self.judged(leaf, {"core.version": self.VERSION})
            self.assertEqual(found, ("", ["notes.example", None], ["proofs/core.version"]))
        found = self.judged(self.APP, self.HASHES)
        self.assertEqual(found, ("", ["notes.example", None], ["proofs/app.notes.limits", "proofs/core.version"]))

    def test_what_is_not_proved_is_told(self) -> None:
        wrong, _, _ = self.judged(self.APP, {"core.version": bytes(32)})
        self.assertIn("core.version has the value hash", wrong)
        missing, _, _ = self.judged(self.APP, {"app.other.limits": bytes(32)})
        self.assertIn("app.other.limits was not shown", missing)

    def test_proofs_of_another_enclave_are_not_believed(self) -> None:
        other = manifest_of({"app.notes.limits": 2, "core.version": 2})
        wrong, _, _ = self.judged(self.APP, {"core.version": self.VERSION}, elsewhere=other)
        self.assertIn("does not lead to the root in the certificate", wrong)

    def test_an_apps_root_follows_from_the_manifest_where_its_certificate_is_not_shown(self) -> None:
        root = bytes.fromhex(self.OWN["root"])
        self.assertEqual(self.judged(self.ENCLAVE, {}, root), ("", ["notes.example", None], ["manifest"]))
        wanted = {"core.version": self.VERSION}
        self.assertEqual(self.judged(self.ENCLAVE, wanted, root), ("", ["notes.example", None], ["manifest"]))
        self.assertEqual(self.judged(self.APP, {}, root), ("", ["notes.example"], []))

    def test_both_libraries_can_ask_for_no_name(self) -> None:
        for exporter in [False] + [True] * has_exporter():
            asked: list[str | None] = []
            context = LEAF.server_context(CA)
            context.sni_callback = lambda _socket, name, _context, asked=asked: asked.append(name)
            with Server(context, framed()) as server:
                for name in ("notes.example", None):
                    connect(("127.0.0.1", server.port), name, ["http/1.1"], 30, exporter=exporter).close()
            self.assertEqual(asked, ["notes.example", None])


def only_the_configuration(
    policy: VerificationPolicy,
    presented: Presented,
    _collateral: object,
    now: datetime,
    manifest: Manifest | None = None,
    proofs: Sequence[Proof] = (),
) -> Verdict:
    """In place of all checks, because no platform of these tests can make a quote."""
    judgement = _Judgement(presented.tier, now)
    judgement.wanted = policy
    judgement.leaf = judgement.verdict.leaf = LeafCertificate.from_der(presented.chain[0])
    judgement.configuration(manifest, proofs)
    return judgement.verdict


class Pinned(unittest.TestCase):
    def test_requirements_say_nothing_of_where_packages_come_from(self) -> None:
        text = (Path(__file__).parents[1] / "requirements.txt").read_text()
        others = [line for line in text.splitlines() if not re.match(r"[a-z0-9.-]+==| +--hash=sha256:", line)]
        self.assertEqual(others, [])


if __name__ == "__main__":
    unittest.main()
