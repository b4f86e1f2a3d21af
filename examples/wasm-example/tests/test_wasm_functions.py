#!/usr/bin/env python3
"""Loads a compiled wasm-example into a running enclave and checks its six functions.

    python tests/test_wasm_functions.py wasm_example.cwasm [--host HOST] [--port PORT] [--name NAME] [--unload]

Needs nothing but Python's standard library. The application stays loaded unless --unload is given. This is a
functional test: it does not verify the enclave's attestation, which is what the client libraries are for.

Exit status: 0 all tests passed, 1 a test failed, 2 the enclave could not be used.
"""

import argparse
import json
import re
import socket
import ssl
import struct
import sys
import time

WIDE = "=" * 64
LINE = "-" * 60


class Refused(Exception):
    """The enclave answered with an error."""


class Enclave:
    """One connection that speaks length-prefixed JSON over TLS."""

    def __init__(self, host, port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection((host, port), timeout=120)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname=host)

    def request(self, envelope):
        data = json.dumps({"Data": list(json.dumps(envelope).encode())}).encode()
        self.socket.sendall(struct.pack(">I", len(data)) + data)
        (length,) = struct.unpack(">I", self._receive(4))
        reply = json.loads(self._receive(length))
        if "Data" in reply:
            reply = json.loads(bytes(reply["Data"]))
        if reply.get("status") == "error":
            raise Refused(f"{reply.get('code')}: {reply.get('message')}")
        return reply

    def _receive(self, length):
        data = bytearray()
        while len(data) < length:
            part = self.socket.recv(min(length - len(data), 65536))
            if not part:
                raise ConnectionError("the enclave closed the connection")
            data += part
        return bytes(data)

    def call(self, app, function, *params):
        typed = [{"type": "string", "value": param} for param in params]
        reply = self.request({"wasm_call": {"app": app, "function": function, "params": typed}})
        assert reply["status"] == "ok", f"status {reply['status']!r}"
        (result,) = reply["returns"]
        return result["value"]


def hello(enclave, app):
    text = enclave.call(app, "hello")
    assert text == "Hello, World!", repr(text)
    return text


def random_number(enclave, app):
    number = enclave.call(app, "get-random")
    assert isinstance(number, int) and 1 <= number <= 100, f"{number!r} is not in [1, 100]"
    return str(number)


def wall_clock(enclave, app):
    text = enclave.call(app, "get-time")
    assert re.fullmatch(r"\d+\.\d{9}", text), f"{text!r} is not a time"
    seconds = int(text.split(".")[0])
    assert abs(seconds - time.time()) < 86400, f"{text} is not about now"
    return text


KEY, VALUE = "greeting", "Hello from WASM in SGX!"


def kv_write(enclave, app):
    text = enclave.call(app, "kv-store", KEY, VALUE)
    assert text == f"stored: {KEY}", repr(text)
    return f"{KEY} = '{VALUE}'"


def kv_read(enclave, app):
    missing = enclave.call(app, "kv-read", "missing")
    assert missing == "error: key not found: missing", repr(missing)
    text = enclave.call(app, "kv-read", KEY)
    assert text == VALUE, repr(text)
    return text


def https_egress(enclave, app):
    text = enclave.call(app, "fetch-headlines")
    assert not text.startswith("error:"), text
    lines = text.splitlines()
    assert 2 <= len(lines) <= 10, f"{len(lines)} headlines"
    for number, line in enumerate(lines, 1):
        assert line.startswith(f"{number}. "), repr(line)
    return f"{len(lines)} headlines — {lines[0]}"


TESTS = [
    ("Hello World", hello),
    ("Random Number", random_number),
    ("Wall Clock", wall_clock),
    ("KV Store (write)", kv_write),
    ("KV Store (read)", kv_read),
    ("HTTPS Egress", https_egress),
]


def main():
    parser = argparse.ArgumentParser(description="Checks the six functions of wasm-example in a running enclave.")
    parser.add_argument("artifact", help="the compiled component, for example wasm_example.cwasm")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--name", default="test-app", help="the name to load the application under")
    parser.add_argument("--unload", action="store_true", help="unload the application at the end")
    args = parser.parse_args()

    print(WIDE)
    print("Enclave OS (Mini) - WASM Integration Test Suite")
    print(WIDE)
    try:
        with open(args.artifact, "rb") as file:
            artifact = file.read()
        print(f"Connecting to {args.host}:{args.port} ...")
        enclave = Enclave(args.host, args.port)
        print(f"Connected: {enclave.socket.version()}, {enclave.socket.cipher()[0]}")
        print(f"Loading {args.artifact.replace(chr(92), '/').rsplit('/', 1)[-1]} ...")
        start = time.monotonic()
        enclave.request({"wasm_load": {"name": args.name, "bytes": list(artifact)}})
        print(f"Loaded in {time.monotonic() - start:.2f}s")
    except (OSError, Refused) as error:
        print(f"✘ {error}", file=sys.stderr)
        return 2

    print(LINE)
    print("# Test Result Details")
    print(LINE)
    passed = 0
    for number, (title, test) in enumerate(TESTS, 1):
        try:
            details, mark = test(enclave, args.name), "✔"
            passed += 1
        except (AssertionError, OSError, Refused, KeyError, ValueError) as error:
            details, mark = str(error) or type(error).__name__, "✘"
        print(f"{number} {title} {mark} {details}")
    print(LINE)
    if args.unload:
        try:
            enclave.request({"wasm_unload": {"name": args.name}})
        except (OSError, Refused) as error:
            print(f"✘ unloading {args.name}: {error}", file=sys.stderr)
            return 2
    if passed == len(TESTS):
        print(f"✔ Result: ALL {passed} TESTS PASSED")
        return 0
    print(f"✘ Result: {len(TESTS) - passed} OF {len(TESTS)} TESTS FAILED")
    return 1


if __name__ == "__main__":
    if sys.stdout.encoding.lower().replace("-", "") != "utf8":
        sys.stdout.reconfigure(encoding="utf-8")
    sys.exit(main())
