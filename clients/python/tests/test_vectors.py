"""The conformance vectors that every language runs: what is accepted, and the exact list of failed checks."""

from __future__ import annotations

import base64
import json
import os
import unittest
from pathlib import Path
from typing import Any

from enclave_os import Collateral, Manifest, Presented, Proof, Verdict, judge, judge_evidence, judge_quote
from enclave_os.encoding import base64url_bytes, hex_bytes, timestamp

VECTORS = Path(os.environ.get("ENCLAVE_OS_VECTORS", Path(__file__).parents[2] / "vectors" / "vectors.json"))


class Vectors(unittest.TestCase):
    def test_every_vector(self) -> None:
        document = json.loads(VECTORS.read_text("utf-8"))
        self.assertEqual(document["format"], 1)
        self.assertGreaterEqual(len(document["vectors"]), 60)
        for vector in document["vectors"]:
            with self.subTest(vector["name"], what=vector["what"]):
                verdict = judged(vector["input"], document)
                failed = [check.check for check in verdict.failed]
                self.assertEqual(failed, vector["expect"].get("failed", []), explained(verdict))
                self.assertEqual(verdict.accepted, vector["expect"]["accepted"], explained(verdict))


def judged(given: dict[str, Any], document: dict[str, Any]) -> Verdict:
    """The verdict on one vector."""
    policy, now, tier = given["policy"], timestamp(given["now"]), given["tier"]
    value = resolved(given, "collateral", document)
    collateral = None if value is None else Collateral.from_json(value)
    if tier == "evidence":
        return judge_evidence(policy, resolved(given, "evidence", document), now, collateral)
    if tier == "quote":
        return judge_quote(policy, decoded(given["quote"]), collateral, now)
    chain = [decoded(der) for der in resolved(given, "chain", document)]
    manifest, name = resolved(given, "manifest", document), given["server_name"]
    if tier == "certificate":
        presented = Presented(chain, name)
    elif tier == "challenge":
        presented = Presented(chain, name, base64url_bytes(given["nonce"], 32))
    else:
        nonce, exporter = base64url_bytes(given["nonce"], 32), hex_bytes(given["exporter"], 32)
        presented = Presented(chain, name, nonce, exporter, decoded(given["attest_quote"]))
    shown = None if manifest is None else Manifest.from_json(manifest)
    proofs = [Proof.from_json(proof) for proof in given.get("proofs") or ()]
    return judge(policy, presented, collateral, now, shown, proofs)


def resolved(given: dict[str, Any], key: str, document: dict[str, Any]) -> Any:
    """A part of the input, which may stand in a table that several vectors share."""
    reference = given.get(f"{key}_ref")
    return given.get(key) if reference is None else document[f"{key}s"][reference]


def decoded(text: str) -> bytes:
    """Standard base64."""
    return base64.b64decode(text, validate=True)


def explained(verdict: Verdict) -> str:
    """What failed and why."""
    return "; ".join(f"{check.check}: {check.message}" for check in verdict.failed)


if __name__ == "__main__":
    unittest.main()
