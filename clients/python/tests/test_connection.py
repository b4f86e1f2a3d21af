"""Connections to servers that are not what they should be, or that break off."""

from __future__ import annotations

import ssl
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from enclave_os import (
    ConnectionClosed,
    HandshakeError,
    ProtocolError,
    RefusedError,
    StaleError,
    Tier,
    TierUnavailable,
    VerificationError,
    VerificationPolicy,
    connect,
    danger,
    strongest_tier,
)
from enclave_os.client import parse_address
from enclave_os.transport import connect as connect_transport
from enclave_os.transport import has_exporter
from ratls_client import RaTlsClient

from .pki import Issued, extensions
from .server import Server, frame, framed, http

ROOT = Issued.authority("operator")
CA = Issued.authority("Enclave OS CA", ROOT)
LEAF = CA.leaf(extensions())


def policy(tier: str = "certificate") -> VerificationPolicy:
    return VerificationPolicy.from_toml(
        f'format = 1\n[roots]\nintel = true\n[enclave]\nmrenclave = ["{"00" * 32}"]\n[freshness]\nmin_tier = "{tier}"'
    )


def enclave(*handlers: Any) -> Server:
    return Server(LEAF.server_context(CA, ROOT), *handlers)


class Refused(unittest.TestCase):
    """Nothing is sent to a peer that does not pass: neither a byte of the application nor an alert."""

    def refused(self, context: ssl.SSLContext, check: str, tier: Tier) -> None:
        with Server(context) as server:
            server._handlers = [server.drain]
            with self.assertRaises(VerificationError) as caught:
                connect(server.address, policy(), tier=tier)
        self.assertEqual([failed.check for failed in caught.exception.verdict.failed], [check])
        self.assertIn(check, str(caught.exception))
        self.assertEqual((server.connections, bytes(server.received)), (1, b""))

    def test_a_server_that_is_no_enclave(self) -> None:
        ordinary = ROOT.leaf({}, names=["127.0.0.1"])
        for tier in _tiers():
            self.refused(ordinary.server_context(ROOT), "certificate-format", tier)

    def test_a_chain_that_does_not_hold(self) -> None:
        other = Issued.authority("Enclave OS CA")
        for tier in _tiers():
            self.refused(LEAF.server_context(other), "certificate-chain", tier)

    def test_a_certificate_without_a_quote(self) -> None:
        self.refused(LEAF.server_context(CA), "quote-format", Tier.CERTIFICATE)
        self.refused(LEAF.server_context(CA), "quote-format", Tier.CHALLENGE)

    def test_a_tier_that_is_too_weak_is_refused_without_a_connection(self) -> None:
        with enclave(framed()) as server:
            with self.assertRaises(TierUnavailable):
                connect(server.address, policy("challenge"), tier=Tier.CERTIFICATE)
            with mock.patch("enclave_os.connection.has_exporter", return_value=False):
                for tier in (None, Tier.CHANNEL, Tier.CHALLENGE):
                    without = mock.patch("enclave_os.client.has_exporter", return_value=False)
                    with without, self.assertRaisesRegex(TierUnavailable, "channel"):
                        connect(server.address, policy("channel"), tier=tier)
        self.assertEqual(server.connections, 0)

    def test_the_strongest_tier_there_is_is_taken(self) -> None:
        with mock.patch("enclave_os.client.has_exporter", return_value=False):
            self.assertEqual(strongest_tier(), Tier.CHALLENGE)
        with mock.patch("enclave_os.client.has_exporter", return_value=True):
            self.assertEqual(strongest_tier(), Tier.CHANNEL)


def _tiers() -> list[Tier]:
    return [Tier.CERTIFICATE, Tier.CHALLENGE] + ([Tier.CHANNEL] if has_exporter() else [])


class Frames(unittest.TestCase):
    def ask(self, *replies: Any) -> Any:
        with enclave(framed(*replies)) as server, danger.connect_without_verification(server.address) as client:
            return client.command({"wasm_list": {}})

    def test_replies(self) -> None:
        self.assertEqual(self.ask({"status": "apps", "apps": []}), {"status": "apps", "apps": []})
        with self.assertRaises(RefusedError) as caught:
            self.ask({"status": "error", "code": "forbidden", "message": "no"})
        self.assertEqual((caught.exception.code, caught.exception.message), ("forbidden", "no"))

    def test_replies_that_are_none(self) -> None:
        for bad in [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1{", frame("Pong"), b"\0\0\0\4\xff\xff\xff\xff"]:
            with self.subTest(bad=bad), self.assertRaises(ProtocolError):
                self.ask(bad)
        for cut in [b"", b"\0\0", frame({"status": "apps"})[:-1]]:
            with self.subTest(cut=cut), self.assertRaises(ConnectionClosed):
                self.ask(cut) if cut else self.ask()
        with self.assertRaises(ConnectionError):
            self.ask(b"\0\0")

    def test_a_stale_connection_is_not_used_again(self) -> None:
        stale = {"status": "error", "code": "attestation-stale", "message": "connect again"}
        with enclave(framed(stale), framed({"status": "apps"})) as server:
            with danger.connect_without_verification(server.address) as client:
                with self.assertRaises(StaleError):
                    client.command({"wasm_list": {}})
                self.assertEqual(client.command({"wasm_list": {}}), {"status": "apps"})
            self.assertEqual(server.connections, 2)

    def test_both_libraries_carry_more_than_a_record(self) -> None:
        payload = b"x" * 1_000_000

        def echo(connection: ssl.SSLSocket) -> None:
            connection.settimeout(30)
            writer = threading.Thread(target=connection.sendall, args=(payload,))
            writer.start()
            left = len(payload)
            while left and (data := connection.recv(left)):
                left -= len(data)
            writer.join()

        for exporter in [False] + [True] * has_exporter():
            with self.subTest(exporter=exporter), enclave(echo) as server:
                transport = connect_transport(("127.0.0.1", server.port), "x", ["enclave-os/1"], 30, exporter=exporter)
                transport.send(payload)
                got = bytearray()
                while data := transport.receive(1 << 16):
                    got += data
                self.assertEqual(bytes(got), payload)
                self.assertEqual([*transport.chain], [LEAF.der, CA.der, ROOT.der])
                self.assertEqual(transport.protocol, "enclave-os/1")
                self.assertEqual(transport.export(b"EXPORTER-x", b"", 32) is not None, exporter)
                transport.close()


class Http(unittest.TestCase):
    GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: 1\r\nX-A: 2\r\n\r\nhi"
    PROBLEM = b'{"code":"unknown-app","detail":"there is none","status":404}'

    def test_answers_and_problems(self) -> None:
        problem = b"HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n\r\n%s"
        answers = http(self.GOOD, problem % (len(self.PROBLEM), self.PROBLEM), b"nonsense\r\n\r\n")
        with enclave(framed(), answers) as server, danger.connect_without_verification(server.address) as client:
            response = client.request("GET", "/")
            self.assertEqual((response.status, response.body, response.headers["x-a"]), (200, b"hi", "1, 2"))
            with self.assertRaises(RefusedError) as caught:
                client.request("GET", "/").or_refusal()
            self.assertEqual((caught.exception.code, caught.exception.status), ("unknown-app", 404))
            with self.assertRaises(ProtocolError):
                client.request("GET", "/")

    def test_a_connection_that_has_ended_is_replaced_by_a_verified_one_only(self) -> None:
        with enclave(framed(), http(self.GOOD), http(self.GOOD)) as server:
            with danger.connect_without_verification(server.address) as client:
                self.assertTrue(client.request("GET", "/").ok)
                with self.assertRaises(ConnectionClosed):
                    client.request("GET", "/")
                self.assertTrue(client.request("GET", "/").ok)
            self.assertEqual(server.connections, 3, "each was a TLS handshake")


class Printed(unittest.TestCase):
    """`ratls_client`."""

    def connect(self, authority: Issued, host: str = "127.0.0.1") -> Any:
        reply = {"status": "ok", "returns": []}
        with tempfile.TemporaryDirectory() as folder, enclave() as server:
            server._handlers = [framed(reply)] if authority in (CA, ROOT) and host != "localhost4" else [server.drain]
            path = Path(folder) / "ca.crt"
            path.write_bytes(authority.pem)
            client = RaTlsClient(host, server.port, ca_cert=path)
            try:
                client.connect()
                client.send({"wasm_list": {}})
                return client.recv()
            finally:
                client.close()
                self.assertEqual(bytes(server.received), b"")

    def test_an_authority_is_demanded_as_given(self) -> None:
        # The operator's root, or the enclave's own CA below it.
        for authority in (ROOT, CA):
            self.assertEqual(self.connect(authority), {"status": "ok", "returns": []})
        with self.assertRaises(HandshakeError):
            self.connect(Issued.authority("operator"))

    def test_the_name_is_demanded(self) -> None:
        other = CA.leaf(extensions(), names=["elsewhere.example"])
        with tempfile.TemporaryDirectory() as folder, Server(other.server_context(CA)) as server:
            server._handlers = [server.drain]
            path = Path(folder) / "ca.crt"
            path.write_bytes(CA.pem)
            with self.assertRaises(HandshakeError):
                RaTlsClient("127.0.0.1", server.port, ca_cert=path).connect()
        self.assertEqual(bytes(server.received), b"")

    def test_with_a_policy_it_is_attested_as_well(self) -> None:
        with tempfile.TemporaryDirectory() as folder, enclave() as server:
            server._handlers = [server.drain]
            path = Path(folder) / "ca.crt"
            path.write_bytes(CA.pem)
            challenge = mock.patch("enclave_os.client.has_exporter", return_value=False)
            for ca_cert in (None, path):
                with challenge, self.assertRaises(VerificationError):
                    RaTlsClient("127.0.0.1", server.port, ca_cert, policy=policy()).connect()
        self.assertEqual(bytes(server.received), b"")

    def test_something_is_demanded(self) -> None:
        with self.assertRaises(ValueError):
            RaTlsClient("127.0.0.1", 443)
        with self.assertRaises(ConnectionClosed):
            RaTlsClient("127.0.0.1", 443, "ca.crt").send("Ping")


class Addresses(unittest.TestCase):
    def test_addresses(self) -> None:
        for text, wanted in [
            ("host", ("host", 8443)),
            ("host:1", ("host", 1)),
            ("127.0.0.1:443", ("127.0.0.1", 443)),
            ("[::1]:443", ("::1", 443)),
            ("[::1]", ("::1", 8443)),
            ("::1", ("::1", 8443)),
        ]:
            self.assertEqual(parse_address(text), wanted)
        for bad in ["host:", "host:x", "host:0", "host:65536", "host:²"]:
            with self.assertRaises(ValueError):
                parse_address(bad)


if __name__ == "__main__":
    unittest.main()
