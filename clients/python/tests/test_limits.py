"""How much is read of a peer that nobody has judged yet, and for how long."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
import unittest
from threading import Thread
from typing import Any

from enclave_os import CollateralCache, ConnectionClosed, ProtocolError, Tier, VerificationPolicy
from enclave_os import ConnectionError as EnclaveConnectionError
from enclave_os.connection import VerifiedOpener
from enclave_os.framing import MAX_EVIDENCE, Framed
from enclave_os.http import Http
from enclave_os.http import MAX_EVIDENCE as MAX_HTTP_EVIDENCE
from enclave_os.transport import Transport, connect, has_exporter

from .pki import Issued, extensions
from .server import Server, framed, http

CA = Issued.authority("Enclave OS CA")
LEAF = CA.leaf(extensions())
LATE = "in time|timed out"


def enclave(*handlers: Any) -> Server:
    return Server(LEAF.server_context(CA), *handlers)


def opener(server: Server, timeout: float = 30) -> VerifiedOpener:
    """One that asks for evidence before it judges."""
    policy = VerificationPolicy.from_toml(
        f'format = 1\n[roots]\nintel = true\n[enclave]\nmrenclave = ["{"00" * 32}"]\n[freshness]\nmin_tier = "channel"'
    )
    address = ("127.0.0.1", server.port)
    return VerifiedOpener(address, policy, Tier.CHANNEL, "localhost", False, None, CollateralCache(), timeout)


def drip(connection: Any) -> None:
    """An answer that is never complete, although no wait for more of it is long."""
    with contextlib.suppress(OSError):
        for _ in range(60):
            connection.sendall(b"\1")
            time.sleep(0.1)


def slow(head: bytes) -> Any:
    def handle(connection: ssl.SSLSocket) -> None:
        connection.recv(1 << 16)
        connection.sendall(head)
        drip(connection)

    return handle


class Lengths(unittest.TestCase):
    def ask(self, answer: bytes, most: int = 1000) -> Any:
        with enclave(http(answer)) as server:
            transport = connect(("127.0.0.1", server.port), "x", ["http/1.1"], 30)
            try:
                return Http(transport, "x").ask("GET", "/", most=most)
            finally:
                transport.close()

    def test_an_answer_of_any_form_is_read_to_its_limit_and_no_further(self) -> None:
        ok = b"HTTP/1.1 200 OK\r\n"
        chunked = ok + b"transfer-encoding: chunked\r\n\r\n"
        for good in [
            ok + b"content-length: 900\r\n\r\n" + b"1".rjust(900),
            chunked + b"384\r\n" + b"1".rjust(900) + b"\r\n0\r\n\r\n",
        ]:
            self.assertEqual(self.ask(good), 1)
        for long in [
            ok + b"content-length: 1001\r\n\r\n" + b"1".rjust(1001),
            ok + b"content-length: 1000\r\n\r\n" + b"1".rjust(1000),
            ok + b"content-length: 9000000000000000000\r\n\r\n1",
            chunked + b"3e9\r\n" + b"1".rjust(1001) + b"\r\n0\r\n\r\n",
            chunked + b"1\r\n1\r\n" * 200 + b"0\r\n\r\n",
            chunked + b"-1\r\n" + b"1".rjust(1001),
            chunked + b"-5\r\n" + b"1".rjust(1001),
            ok + b"a: b\r\n" * 90 + b"c: " + b"d" * 1000 + b"\r\ncontent-length: 1\r\n\r\n1",
        ]:
            with self.subTest(long[:70]), self.assertRaises(ProtocolError):
                self.ask(long)
        with self.assertRaises(ConnectionClosed):
            self.ask(chunked + b"7fffffffffffffff\r\n1")

    @unittest.skipUnless(has_exporter(), "the tier that asks first")
    def test_evidence_of_an_unjudged_peer_is_short(self) -> None:
        most, least = MAX_EVIDENCE, b"{}"
        with enclave(framed((most + 1).to_bytes(4, "big"))) as server:
            with self.assertRaisesRegex(ProtocolError, f"a frame of {most + 1} bytes"):
                opener(server).framed()
        with enclave(framed(most.to_bytes(4, "big") + least.rjust(most))) as server:
            with self.assertRaisesRegex(ProtocolError, "attest is malformed"):
                opener(server).framed()
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
        with enclave(http(answer % (MAX_HTTP_EVIDENCE + 1))) as server:
            with self.assertRaisesRegex(ProtocolError, f"an answer of {MAX_HTTP_EVIDENCE + 1} bytes"):
                opener(server).http()
        with enclave(http(answer % len(least) + least)) as server:
            with self.assertRaisesRegex(ProtocolError, "attest is malformed"):
                opener(server).http()

    def test_a_frame_of_a_judged_peer_may_be_longer(self) -> None:
        with enclave(framed((MAX_EVIDENCE + 1).to_bytes(4, "big") + b"1".rjust(MAX_EVIDENCE + 1))) as server:
            transport = connect(("127.0.0.1", server.port), "x", ["enclave-os/1"], 30)
            connection = Framed(transport)
            connection.send("Ping")
            self.assertEqual(connection.receive(), 1)
            connection.close()


class Deadlines(unittest.TestCase):
    def test_a_handshake_that_goes_on_for_ever_ends(self) -> None:
        for exporter in [False] + [True] * has_exporter():
            with self.subTest(exporter=exporter), socket.create_server(("127.0.0.1", 0)) as listener:

                def serve(listener: socket.socket = listener) -> None:
                    connection, _ = listener.accept()
                    with connection:
                        # The head of a record of 16 KiB (RFC 8446 §5.1).
                        connection.sendall(b"\x16\x03\x03\x40\x00")
                        drip(connection)

                thread = Thread(target=serve)
                thread.start()
                with self.assertRaisesRegex(EnclaveConnectionError, LATE):
                    connect(listener.getsockname(), "x", ["http/1.1"], 1, exporter=exporter)
                thread.join()

    @unittest.skipUnless(has_exporter(), "the tier that asks first")
    def test_evidence_that_goes_on_for_ever_ends(self) -> None:
        with enclave(slow(b"\0\0\1\0")) as server, self.assertRaisesRegex(ConnectionClosed, LATE):
            opener(server, 1).framed()
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 256\r\n\r\n"
        with enclave(slow(head)) as server, self.assertRaisesRegex(ConnectionClosed, LATE):
            opener(server, 1).http()

    def test_a_deadline_holds_until_it_is_lifted(self) -> None:
        for exporter in [False] + [True] * has_exporter():
            with self.subTest(exporter=exporter), enclave(framed("Pong")) as server:
                transport: Transport = connect(("127.0.0.1", server.port), "x", ["a"], 30, exporter=exporter)
                connection = Framed(transport)
                transport.limit(time.monotonic() - 1)
                with self.assertRaisesRegex(ConnectionClosed, LATE):
                    transport.receive(1)
                transport.limit(None)
                connection.send("Ping")
                self.assertEqual(connection.receive(), "Pong")
                transport.close()


if __name__ == "__main__":
    unittest.main()
