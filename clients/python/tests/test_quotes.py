"""A genuine quote of Intel's platform, at a time when its collateral was valid, and what becomes of it changed."""

from __future__ import annotations

import unittest
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from enclave_os import Collateral, Verdict, judge_quote
from enclave_os.quote import Quote

DATA = Path(__file__).parents[3] / "attestation" / "tests" / "data"
QUOTE = (DATA / "sgx_quote").read_bytes()
COLLATERAL = Collateral.from_json((DATA / "sgx_quote_collateral.json").read_bytes())
FIRST, LAST = datetime.fromtimestamp(1750330571, UTC), datetime.fromtimestamp(1752919278, UTC)
NOW = FIRST + timedelta(days=1)
MRENCLAVE = QUOTE[112:144].hex()
ADVISORIES = 'advisories = ["INTEL-SA-00289", "INTEL-SA-00615"]'
STATUS = 'statuses = ["ConfigurationAndSWHardeningNeeded"]'


def policy(tcb: str = f"{STATUS}\n{ADVISORIES}", enclave: str = f'mrenclave = ["{MRENCLAVE}"]') -> str:
    return f"format = 1\n[roots]\nintel = true\n[enclave]\n{enclave}\n[tcb]\n{tcb}"


def failed(verdict: Verdict) -> list[str]:
    return [check.check for check in verdict.failed]


class GenuineQuote(unittest.TestCase):
    def test_it_verifies_under_intels_root_while_its_collateral_is_valid(self) -> None:
        for now in (FIRST, NOW, LAST):
            verdict = judge_quote(policy(), QUOTE, COLLATERAL, now)
            self.assertEqual(failed(verdict), [])
            self.assertTrue(verdict.accepted)
            self.assertIsNone(verdict.tier)
        assert verdict.tcb is not None and verdict.enclave is not None
        self.assertEqual(verdict.tcb["status"], "ConfigurationAndSWHardeningNeeded")
        self.assertEqual(verdict.tcb["fmspc"], "00a067110000")
        self.assertEqual(verdict.enclave["mrenclave"], MRENCLAVE)
        for now in (FIRST - timedelta(seconds=1), LAST + timedelta(seconds=1), datetime(1969, 1, 1, tzinfo=UTC)):
            self.assertEqual(failed(judge_quote(policy(), QUOTE, COLLATERAL, now)), ["quote"])

    def test_each_rule_is_asked_for_itself(self) -> None:
        for wanted, text in [
            (["tcb-status"], policy(ADVISORIES)),
            (["advisories"], policy(STATUS)),
            (["measurement"], policy(enclave=f'mrenclave = ["{"00" * 32}"]')),
            (["measurement"], policy(enclave=f'mrsigner = ["{"00" * 32}"]\nisv_prod_id = 1\nmin_isv_svn = 1')),
            (["platform"], policy() + f'\n[platform]\nppids = ["{"00" * 16}"]'),
            (["root"], policy().replace("intel = true", f'development = ["{"00" * 32}"]')),
            (["policy"], "format = 1"),
        ]:
            with self.subTest(wanted):
                self.assertEqual(failed(judge_quote(text, QUOTE, COLLATERAL, NOW)), wanted)
        self.assertEqual(failed(judge_quote(policy(), QUOTE, None, NOW)), ["quote"])
        # A grace period ends.
        until = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
        grace = policy(
            f'statuses = [{{ status = "ConfigurationAndSWHardeningNeeded", until = "{until}" }}]\n'
            f'advisories = ["INTEL-SA-00289", {{ advisory = "INTEL-SA-00615", until = "{until}" }}]'
        )
        second = timedelta(seconds=1)
        self.assertEqual(failed(judge_quote(grace, QUOTE, COLLATERAL, NOW - second)), [])
        self.assertEqual(failed(judge_quote(grace, QUOTE, COLLATERAL, NOW)), ["tcb-status", "advisories"])

    def test_a_changed_quote_is_refused(self) -> None:
        # Every byte of what is not the certificates, and some of theirs.
        certificates = Quote.parse(QUOTE).raw.index(b"-----BEGIN")
        for at in [*range(0, certificates, 3), *range(certificates, len(QUOTE), 41), len(QUOTE) - 1]:
            changed = QUOTE[:at] + bytes([QUOTE[at] ^ 0x10]) + QUOTE[at + 1 :]
            verdict = judge_quote(policy(), changed, COLLATERAL, NOW)
            self.assertFalse(verdict.accepted, at)
            self.assertLessEqual(set(failed(verdict)), {"quote-format", "root", "quote"}, at)
        for cut in (b"", QUOTE[:432], QUOTE[:-1], QUOTE + b"\0", QUOTE * 4):
            self.assertEqual(failed(judge_quote(policy(), cut, COLLATERAL, NOW)), ["quote-format"])

    def test_changed_collateral_is_refused(self) -> None:
        for field in fields(Collateral):
            value: str | bytes = getattr(COLLATERAL, field.name)
            data = value.encode() if isinstance(value, str) else value
            for at in {*range(0, len(data), max(1, len(data) // 25)), len(data) - 1}:
                changed = data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :]
                new = changed.decode("latin-1") if isinstance(value, str) else changed
                changes: dict[str, Any] = {field.name: new}
                verdict = judge_quote(policy(), QUOTE, replace(COLLATERAL, **changes), NOW)
                self.assertEqual(failed(verdict), ["quote"], (field.name, at))


if __name__ == "__main__":
    unittest.main()
