"""Against a running enclave. ``tests/tests/clients_python.rs`` starts one and runs this; by hand:

    ENCLAVE_OS_LIVE=live.json python -m unittest tests.live

``live.json`` has ``address``, ``policy`` (a file; tier ``certificate``, so that each tier can be tried),
``echo`` and ``example`` (artifacts of `tests/guests/echo` and `examples/wasm-example`, loaded under these names).
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import secrets
import socket
import unittest
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import UnrecognizedExtension as Unrecognized

import enclave_os
from enclave_os import (
    Client,
    CollateralCache,
    Err,
    Ok,
    Presented,
    RefusedError,
    Some,
    StaleError,
    Tier,
    Variant,
    VerificationError,
    VerificationPolicy,
    judge,
    judge_evidence,
    report_data,
)
from enclave_os.__main__ import main
from enclave_os.connection import Attested
from enclave_os.encoding import base64url_text
from enclave_os.framing import Framed
from enclave_os.leaf_certificate import CONFIGURATION_ROOT, LeafCertificate
from enclave_os.transport import connect as connect_transport

from .pki import Issued, extensions

LIVE: dict[str, str] = json.loads(Path(os.environ["ENCLAVE_OS_LIVE"]).read_text("utf-8"))
ADDRESS = LIVE["address"]
POLICY = Path(LIVE["policy"]).read_text("utf-8")


def policy(more: str = "", tier: str = "certificate") -> VerificationPolicy:
    return VerificationPolicy.from_toml(f'{POLICY}\n[freshness]\nmin_tier = "{tier}"\n{more}')


def connect(more: str = "", **options: Any) -> Client:
    return enclave_os.connect(ADDRESS, policy(more), **options)


def host_and_port() -> tuple[str, int]:
    host, port = ADDRESS.split(":")
    return host, int(port)


class Tiers(unittest.TestCase):
    def test_each_tier_is_verified_and_then_carries_calls(self) -> None:
        for tier in Tier:
            with self.subTest(tier=tier.text), enclave_os.connect(ADDRESS, policy(tier=tier.text), tier=tier) as client:
                verdict = client.verdict
                assert verdict is not None
                self.assertTrue(verdict.accepted)
                self.assertIs(verdict.tier, tier)
                self.assertEqual(client.app("example").call("hello"), "Hello, World!")
                self.assertEqual(client.request("GET", "/.enclave/v1/health").json(), {"status": "ok"})

    def test_the_strongest_tier_is_the_default(self) -> None:
        with connect() as client:
            assert client.verdict is not None
            self.assertIs(client.verdict.tier, Tier.CHANNEL)

    def test_an_old_nonce_is_refused(self) -> None:
        collateral = known_collateral()
        old, fresh = secrets.token_bytes(32), secrets.token_bytes(32)
        alpn = [f"enclave-os-nonce/{base64url_text(old)}", "enclave-os/1"]
        transport = connect_transport(host_and_port(), "localhost", alpn, 30)
        transport.close()
        now = datetime.now(UTC)
        self.assertTrue(judge(policy(), Presented(transport.chain, nonce=old), collateral, now).accepted)
        verdict = judge(policy(), Presented(transport.chain, nonce=fresh), collateral, now)
        self.assertEqual([check.check for check in verdict.failed], ["report-data"])

    def test_evidence_of_another_connection_is_refused(self) -> None:
        nonce = secrets.token_bytes(32)
        transports = [
            connect_transport(host_and_port(), "localhost", ["enclave-os/1"], 30, exporter=True) for _ in "ab"
        ]
        first, second = transports
        answer = Attested.from_json(Framed(first).ask({"attest": {"nonce": base64url_text(nonce)}}))
        exporters = [one.export(report_data.EXPORTER_LABEL, nonce, 32) for one in transports]
        self.assertEqual(first.chain, second.chain, "both were served the cached certificate")
        wanted: list[list[str]] = [[], ["report-data"]]
        for exporter, failed in zip(exporters, wanted, strict=True):
            presented = Presented(first.chain, None, nonce, exporter, answer.quote)
            verdict = judge(policy(), presented, answer.collateral or known_collateral(), datetime.now(UTC))
            self.assertEqual([check.check for check in verdict.failed], failed)
        for one in transports:
            one.close()


class Refused(unittest.TestCase):
    def failed(self, more: str = "", **options: Any) -> list[str]:
        with self.assertRaises(VerificationError) as caught:
            connect(more, **options)
        return [check.check for check in caught.exception.verdict.failed]

    def test_another_enclave_is_refused_before_any_byte(self) -> None:
        collateral = known_collateral()
        texts = {
            "measurement": POLICY.replace(policy_mrenclave(), "00" * 32),
            "root": "\n".join("intel = true" if x.startswith("development") else x for x in POLICY.splitlines()),
        }
        for tier, names in [
            (Tier.CERTIFICATE, ["enclave-os/1"]),
            (Tier.CHALLENGE, ["enclave-os-nonce/x", "enclave-os/1"]),
        ]:
            with Recorder() as recorder:
                if tier is Tier.CERTIFICATE:
                    connect_transport(recorder.where, "localhost", names, 30).close()
                else:
                    nonce = base64url_text(secrets.token_bytes(32))
                    connect_transport(
                        recorder.where, "localhost", [f"enclave-os-nonce/{nonce}", "enclave-os/1"], 30
                    ).close()
            handshake_alone = recorder.records()
            for check, text in texts.items():
                wrong = VerificationPolicy.from_toml(text + '\n[freshness]\nmin_tier = "certificate"')
                with self.subTest(tier=tier.text, check=check), Recorder() as recorder:
                    with self.assertRaises(VerificationError) as caught:
                        enclave_os.connect(recorder.address, wrong, tier=tier, collateral=collateral)
                    self.assertEqual([failed.check for failed in caught.exception.verdict.failed], [check])
                self.assertEqual(recorder.records(), handshake_alone)
            with Recorder() as recorder:
                options: dict[str, Any] = {"tier": tier, "collateral": collateral}
                with enclave_os.connect(recorder.address, policy(), **options) as client:
                    client.app("example").call("hello")
            self.assertGreater(len(recorder.records()), len(handshake_alone), "the recorder sees what is sent")

    def test_names_and_apps(self) -> None:
        self.assertEqual(self.failed(server_name="elsewhere.example"), ["server-name"])
        self.assertEqual(self.failed('[app]\nname = "echo"', server_name="example"), ["app"])
        self.assertEqual(self.failed(f'[app]\nname = "example"\ncode_hashes = ["{"00" * 32}"]'), ["code-hash"])
        with connect('[app]\nname = "example"\nkey_source = "generated"', server_name="example") as client:
            self.assertEqual(client.call("example", "hello"), "Hello, World!")
            with self.assertRaises(RefusedError):
                client.call("echo", "echo-bool", True)

    def test_configuration(self) -> None:
        with connect() as client:
            manifest = client.manifest()
        leaf = manifest.leaf("core.operator_policy")
        assert leaf is not None
        pinned = f'[configuration.leaves]\n"core.operator_policy" = ["{leaf.value_hash.hex()}"]'
        connect(pinned).close()
        root = f'[configuration]\nroot = ["{manifest.root.hex()}"]\napp_root = ["{manifest.of_app("echo").root.hex()}"]'
        connect(f'{root}\n[app]\nname = "echo"').close()
        self.assertEqual(self.failed(pinned.replace(leaf.value_hash.hex(), "00" * 32)), ["configuration"])
        self.assertEqual(
            self.failed(root.replace(manifest.root.hex(), "00" * 32) + '\n[app]\nname = "echo"'), ["configuration"]
        )

    def test_a_clock_that_is_25_hours_off(self) -> None:
        for hours in (25, -25):
            late = datetime.now(UTC) + timedelta(hours=hours)
            failed = self.failed(tier=Tier.CERTIFICATE, now=lambda late=late: late)
            self.assertIn("certificate-time", failed)


class Apps(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.client = connect()
        cls.addClassCleanup(cls.client.close)

    def same(self, function: str, *values: Any) -> None:
        for value in values:
            back = self.client.call("echo", function, value)
            self.assertEqual(back, value)
            self.assertIs(type(back), type(value))

    def test_native_values_come_back_as_they_went(self) -> None:
        self.same("echo-bool", True, False)
        self.same("echo-s8", -128, 127)
        self.same("echo-u64", 0, 2**53, 2**64 - 1)
        self.same("echo-s64", -(2**63), 2**63 - 1)
        self.same("echo-f32", 0.5, math.inf, -math.inf)
        self.same("echo-f64", 0.1, 1e308, 5e-324)
        self.assertTrue(math.isnan(self.client.call("echo", "echo-f64", math.nan)))
        self.same("echo-char", "é", "\U0001f600")
        self.same("echo-string", "", 'hi "\u2028\x00\n')
        self.same("echo-bytes", b"", bytes(range(256)))
        self.same("echo-list", [], [["a"], []])
        self.same("echo-tuple", (True, -(2**63), "x"))
        self.same("echo-option", None, 7)
        self.same("echo-nested-option", None, Some(None), Some(3))
        self.same("echo-result", Ok(3), Err("no"))
        self.same("echo-bare-result", Ok(), Err())
        self.same("echo-half-result", Ok(), Err("x"))
        point = {"x": 1, "y": -2}
        self.same("shapes#echo-point", point)
        self.same("echo-shape", Variant("circle", 1.5), Variant("polygon", [point]), Variant("nothing"))
        self.same("echo-colour", "dark-blue")
        self.same("echo-permissions", frozenset(), frozenset({"read", "execute-all"}))
        drawing = {
            "title": "t",
            "origin": None,
            "shape": Variant("nothing"),
            "colour": "red",
            "permissions": frozenset({"write"}),
            "labels": [("a", 2**60)],
            "outcome": Err("e"),
        }
        self.same("test:echo/shapes@1.2.0#echo-drawings", [drawing, drawing | {"origin": point}])

    def test_arguments_by_position_and_by_name(self) -> None:
        echo = self.client.app("echo")
        self.assertIsNone(echo.call("nothing"))
        self.assertEqual(echo.call("join", "a", 2, True), "a/2/true")
        self.assertEqual(echo.call("join", third=True, first="a", second=2), "a/2/true")
        self.assertEqual(echo.call("produce", 300_000), bytes(x % 256 for x in range(300_000)))
        for bad in [("a",), (1, 2, True)]:
            with self.assertRaises(TypeError):
                echo.call("join", *bad)
        example = self.client.app("example")
        self.assertEqual(example.call("kv-store", "k", "v"), "stored: k")
        self.assertEqual(example.call("kv-read", "k"), "v")

    def test_refusals_have_their_code(self) -> None:
        for code, app, function in [
            ("unknown-app", "nobody", "hello"),
            ("unknown-function", "example", "nothing-like-it"),
            ("ambiguous-function", "echo", "which"),
        ]:
            with self.assertRaises(RefusedError) as caught:
                self.client.call(app, function)
            self.assertEqual(caught.exception.code, code)
        envelope = {"wasm_call": {"app": "example", "function": "kv-store", "params": [1]}}
        with self.assertRaises(RefusedError) as caught:
            self.client.command(envelope)
        self.assertEqual(caught.exception.code, "bad-params")

    def test_a_proof_leads_to_the_root_in_the_certificate(self) -> None:
        proof = self.client.proof("app.example.code_hash")
        assert self.client.verdict is not None and self.client.verdict.leaf is not None
        claim = self.client.verdict.leaf.claim("example")
        assert claim is not None
        self.assertEqual(proof.leaf.raw, claim.code_hash)

    def test_http_problems(self) -> None:
        with self.assertRaises(RefusedError) as caught:
            self.client.request("GET", "/nowhere").or_refusal()
        self.assertEqual(caught.exception.status, 404)


class Changes(unittest.TestCase):
    def test_what_has_changed_since_is_not_called(self) -> None:
        artifact = Path(LIVE["example"]).read_bytes()
        with connect() as watching, connect() as operator:
            operator.load("changing", artifact)
            watching.reconnect()
            self.assertEqual(watching.call("changing", "hello"), "Hello, World!")
            operator.unload("changing")
            operator.load("changing", artifact, version="2")
            with self.assertRaises(StaleError):
                watching.call("changing", "hello")
            self.assertEqual(watching.call("changing", "hello"), "Hello, World!", "verified anew")
            self.assertTrue(operator.unload("changing"))
            self.assertFalse(operator.unload("changing"))


class Offline(unittest.TestCase):
    def test_an_evidence_document_is_verified_without_a_connection(self) -> None:
        for name in (None, "example"):
            with self.subTest(server_name=name), connect(server_name=name) as client:
                text = client.request("GET", "/.enclave/v1/evidence").or_refusal().body
            now = datetime.now(UTC)
            verdict = judge_evidence(policy(), text, now, collateral=known_collateral())
            self.assertEqual([check.message for check in verdict.failed], [])
            self.assertTrue(verdict.accepted)
            document = json.loads(text)
            # The quote in the leaf is another one, over the key alone.
            swapped = document | {"evidence_quote": document["certificate_quote"]}
            verdict = judge_evidence(policy(), swapped, now, collateral=known_collateral())
            self.assertEqual([check.check for check in verdict.failed], ["report-data"])

    def test_extensions_forged_under_another_ca_are_refused(self) -> None:
        with connect() as client:
            document = client.request("GET", "/.enclave/v1/evidence").or_refusal().json()
        genuine = x509.load_der_x509_certificate(base64.b64decode(document["certificate_chain"][0]))
        # The enclave's own key and quote, and another code hash, signed by whoever wants to.
        apps = [(claim.name, claim.route_prefix, bytes(32)) for claim in LeafCertificate.from_der(_der(genuine)).apps]
        old = {e.oid.dotted_string: e.value.value for e in genuine.extensions if isinstance(e.value, Unrecognized)}
        forger = Issued.authority("Enclave OS CA")
        forged = forger.leaf(old | extensions(apps) | {CONFIGURATION_ROOT: old[CONFIGURATION_ROOT]}, of=genuine)
        chain = [base64.b64encode(der).decode() for der in (forged.der, forger.der)]
        forgery = document | {"certificate_chain": chain}
        verdict = judge_evidence(policy(), forgery, datetime.now(UTC), collateral=known_collateral())
        self.assertEqual([check.check for check in verdict.failed], ["report-data", "configuration"])


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


class Command(unittest.TestCase):
    def run_command(self, *arguments: str) -> tuple[int, str]:
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = main(arguments)
        return status, output.getvalue()

    def test_verify_and_call(self) -> None:
        good = Path(LIVE["policy"])
        status, output = self.run_command("verify", ADDRESS, "--policy", str(good), "--json")
        self.assertEqual((status, json.loads(output)["accepted"]), (0, True), output)
        status, output = self.run_command("call", ADDRESS, "echo", "join", "a", "2", "true", "--policy", str(good))
        self.assertEqual((status, output), (0, "a/2/true\n"))
        status, output = self.run_command("call", ADDRESS, "echo", "nobody", "--policy", str(good))
        self.assertEqual(status, 1)
        self.assertIn("unknown-function", output)
        wrong = good.with_name("wrong.toml")
        wrong.write_text(POLICY.replace(policy_mrenclave(), "00" * 32), "utf-8")
        status, output = self.run_command("verify", ADDRESS, "--policy", str(wrong))
        self.assertEqual(status, 1)
        self.assertRegex(output, r"FAIL  measurement .*\n.*MRENCLAVE is not one")


def policy_mrenclave() -> str:
    return next(iter(policy().mrenclave or ())).hex()


def known_collateral() -> enclave_os.Collateral:
    """The server's own, from one connection."""
    cache = CollateralCache()
    with connect(tier=Tier.CHALLENGE, cache=cache) as client:
        assert client.verdict is not None and client.verdict.leaf is not None
        collateral = cache.find(client.verdict.leaf.quote)
    assert collateral is not None
    return collateral


class Recorder:
    """Passes one connection on to the enclave, and keeps the TLS records that the client sends."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.where: tuple[str, int] = self._listener.getsockname()
        self.address = f"127.0.0.1:{self.where[1]}"
        self._sent = bytearray()
        self._thread = Thread(target=self._pass_on)
        self._thread.start()

    def _pass_on(self) -> None:
        client, _ = self._listener.accept()
        with client, socket.create_connection(host_and_port()) as server:
            back = Thread(target=_copy, args=(server, client, bytearray()))
            back.start()
            _copy(client, server, self._sent)
            back.join()

    def records(self) -> list[int]:
        """The lengths of the client's encrypted records (RFC 8446 §5.2): first of them its Finished."""
        found, at = [], 0
        while at < len(self._sent):
            kind, length = self._sent[at], int.from_bytes(self._sent[at + 3 : at + 5], "big")
            if kind == 23:
                found.append(length)
            at += 5 + length
        return found

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()


def _copy(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            kept += data
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    unittest.main()
