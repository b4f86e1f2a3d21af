"""Settings of the configuration: what is fetched of them, and what is believed."""

from __future__ import annotations

import json
import re
import ssl
import unittest
from collections.abc import Callable, Mapping
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
from enclave_os.connection import VerifiedOpener
from enclave_os.framing import Framed
from enclave_os.http import Http
from enclave_os.leaf_certificate import LeafCertificate
from enclave_os.manifest import Leaf, Manifest
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

    def judged(
        self, leaf: Issued, name: str, wanted: Mapping[str, bytes], elsewhere: Any = WHOLE
    ) -> tuple[str, list[str | None]]:
        """What is wrong with the configuration, and which names were asked for in the handshakes."""
        asked: list[str | None] = []
        context = leaf.server_context(CA)
        context.sni_callback = lambda _socket, name, _context: asked.append(name)

        def manifest(connection: ssl.SSLSocket) -> None:
            http(answer(self.OWN if asked[-1] == "notes.example" else elsewhere))(connection)

        with Server(context, framed(), manifest) as server:
            opener = VerifiedOpener(
                address=("127.0.0.1", server.port),
                policy=replace(POLICY, leaves={name: frozenset([value]) for name, value in wanted.items()}),
                tier=Tier.CERTIFICATE,
                server_name=name,
                demand_name=False,
                given=None,
                cache=CollateralCache(),
                timeout=30,
            )
            with mock.patch("enclave_os.connection.judge", only_the_configuration):
                try:
                    opener.framed()[0].close()
                except VerificationError as error:
                    return str(error), asked
        return "", asked

    def test_an_apps_own_settings_come_from_its_hostname(self) -> None:
        found = self.judged(self.APP, "notes.example", {"app.notes.limits": self.LIMITS})
        self.assertEqual(found, ("", ["notes.example", "notes.example"]))

    def test_those_of_the_enclave_come_from_where_no_name_is_asked_for(self) -> None:
        for wanted in ({"core.version": self.VERSION}, self.HASHES):
            self.assertEqual(self.judged(self.APP, "notes.example", wanted), ("", ["notes.example", None]))
        wrong, _ = self.judged(self.APP, "notes.example", {"core.version": bytes(32)})
        self.assertIn("core.version has the value hash", wrong)
        missing, _ = self.judged(self.APP, "notes.example", {"app.other.limits": bytes(32)})
        self.assertIn("app.other.limits is not in the manifest", missing)

    def test_a_manifest_of_another_enclave_is_not_believed(self) -> None:
        other = manifest_of({"app.notes.limits": 2, "core.version": 2})
        wrong, _ = self.judged(self.APP, "notes.example", {"core.version": self.VERSION}, other)
        self.assertIn("does not lead to the root in the certificate", wrong)

    def test_a_certificate_of_the_whole_enclave_asks_as_before(self) -> None:
        whole = CA.leaf(extensions() | {oid.CONFIGURATION_ROOT: bytes.fromhex(self.WHOLE["root"])})
        found = self.judged(whole, "enclave.example", self.HASHES)
        self.assertEqual(found, ("", ["enclave.example", "enclave.example"]))

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
) -> Verdict:
    """In place of all checks, because no platform of these tests can make a quote."""
    judgement = _Judgement(presented.tier, now)
    judgement.wanted = policy
    judgement.leaf = judgement.verdict.leaf = LeafCertificate.from_der(presented.chain[0])
    judgement.configuration(manifest)
    return judgement.verdict


class Pinned(unittest.TestCase):
    def test_requirements_say_nothing_of_where_packages_come_from(self) -> None:
        text = (Path(__file__).parents[1] / "requirements.txt").read_text()
        others = [line for line in text.splitlines() if not re.match(r"[a-z0-9.-]+==| +--hash=sha256:", line)]
        self.assertEqual(others, [])


if __name__ == "__main__":
    unittest.main()
