"""``python -m enclave_os``: what it prints of what a peer says."""

from __future__ import annotations

import io
import json
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from enclave_os import RefusedError, Verdict, VerificationError, danger
from enclave_os.__main__ import main
from enclave_os.encoding import printable
from enclave_os.verdict import Check

from .pki import Issued, extensions
from .server import Server, framed

HOSTILE = "\x1b[2Jok\r\naccepted\x07\x7f\x9b1A\u202eevil\u2066\u2069\u2028\ud800ü"
SHOWN = r"\u001b[2Jok\u000d\u000aaccepted\u0007\u007f\u009b1A\u202eevil\u2066\u2069\u2028\ud800ü"
CA = Issued.authority("Enclave OS CA")


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        status = main(arguments)
    texts = []
    for stream in (out, err):
        stream.flush()
        stream.seek(0)
        texts.append(stream.read())
    return status, texts[0], texts[1]


class Printed(unittest.TestCase):
    """A peer cannot write on a terminal what this command did not."""

    def verify(self, error: Exception) -> tuple[int, str, str]:
        with mock.patch("enclave_os.__main__.connect", side_effect=error):
            return run("verify", "localhost", "--policy", "policy.toml")

    def test_what_steers_a_terminal_is_escaped(self) -> None:
        self.assertEqual(printable(HOSTILE), SHOWN)
        self.assertEqual(printable("a\nb\tc\r", but="\t\n"), "a\nb\tc\\u000d")

    def test_a_refusal_and_a_broken_connection(self) -> None:
        for error in (RefusedError("code", HOSTILE), ConnectionError(HOSTILE)):
            _, out, err = self.verify(error)
            self.assertEqual((out, err.removeprefix("code: ")), ("", f"{SHOWN}\n"))

    def test_a_verdict(self) -> None:
        verdict = Verdict(None)
        verdict.checks.append(Check("server-name", False, HOSTILE, None, HOSTILE))
        status, out, _ = self.verify(VerificationError(verdict))
        self.assertEqual((status, out.count(SHOWN), len(out.splitlines())), (1, 2, 3))

    def test_the_result_of_a_call(self) -> None:
        schema = {"status": "schema", "schema": {"exports": []}}
        reply: dict[str, Any] = {"status": "ok", "returns": [{"type": "string", "value": HOSTILE}]}
        for options, wanted in [((), SHOWN.replace(r"\u000a", "\n")), (("--json",), None)]:
            with Server(CA.leaf(extensions()).server_context(CA), framed(schema, reply)) as server:
                client = danger.connect_without_verification(server.address)
                with mock.patch("enclave_os.__main__.connect", return_value=client):
                    status, out, err = run("call", "localhost", "--policy", "policy.toml", *options, "app", "f")
            self.assertEqual((status, err), (0, ""))
            if wanted is None:
                self.assertEqual(json.loads(out), HOSTILE)
                self.assertEqual(printable(out, but="\n"), out)
            else:
                self.assertEqual(out, f"{wanted}\n")

    def test_a_document_that_is_none(self) -> None:
        policy = f'format = 1\n[roots]\nintel = true\n[enclave]\nmrenclave = ["{"00" * 32}"]'
        with tempfile.TemporaryDirectory() as folder:
            document, rules = Path(folder) / "evidence.json", Path(folder) / "policy.toml"
            document.write_text(json.dumps({HOSTILE: 1}))
            rules.write_text(policy)
            status, out, _ = run("evidence", str(document), "--policy", str(rules))
        self.assertEqual(status, 1)
        self.assertEqual(printable(out, but="\n"), out)


if __name__ == "__main__":
    unittest.main()
