"""Which texts are policies, and what they accept."""

from __future__ import annotations

import unittest
from datetime import UTC, datetime

from enclave_os import PolicyError, Tier, VerificationPolicy
from enclave_os.policy import INTEL_ROOT

H = "11" * 32
PPID = "22" * 16


def read(rest: str = "", roots: str = "intel = true", enclave: str = f'mrenclave = ["{H}"]') -> VerificationPolicy:
    return VerificationPolicy.from_toml(f"format = 1\n[roots]\n{roots}\n[enclave]\n{enclave}\n{rest}")


class Policies(unittest.TestCase):
    def refused(self, words: str, rest: str = "", **parts: str) -> None:
        with self.subTest(rest=rest, **parts), self.assertRaisesRegex(PolicyError, words):
            read(rest, **parts)

    def test_the_least_policy_has_the_defaults(self) -> None:
        policy = read()
        self.assertEqual(policy.roots, {INTEL_ROOT})
        self.assertEqual((policy.mrenclave, policy.mrsigner), ({bytes.fromhex(H)}, None))
        self.assertFalse(policy.allow_debug)
        self.assertEqual((dict(policy.statuses), dict(policy.advisories)), ({"UpToDate": None}, {}))
        self.assertEqual((policy.min_tier, policy.max_age_seconds), (Tier.CHALLENGE, 86_400))
        self.assertEqual((policy.app, policy.leaves, policy.ppids, policy.operator_ca), (None, None, None, None))

    def test_every_key_is_read(self) -> None:
        policy = read(
            f"""
allow_debug = true
[tcb]
statuses = ["UpToDate", {{ status = "OutOfDate", until = "2027-01-01T00:00:00Z" }}]
advisories = ["INTEL-SA-00289", {{ advisory = "INTEL-SA-00615", until = "2027-01-01T00:00:00Z" }}]
[freshness]
min_tier = "channel"
max_age_seconds = 60
[app]
name = "kv-store"
code_hashes = ["{H}"]
key_source = "byok:0011223344556677"
[configuration]
root = ["{H}"]
app_root = ["{H}"]
[configuration.leaves]
"core.operator_policy" = ["{H}"]
[platform]
ppids = ["{PPID}"]
[authority]
operator_ca = ["{H}"]
""",
            roots=f'development = ["{H}"]',
            enclave=f'mrenclave = ["{H}", "{H}"]\nmrsigner = ["{H}"]\nisv_prod_id = 7\nmin_isv_svn = 3',
        )
        hashes, until = {bytes.fromhex(H)}, datetime(2027, 1, 1, tzinfo=UTC)
        self.assertEqual(policy.roots, hashes)
        self.assertEqual((policy.mrsigner, policy.isv_prod_id, policy.min_isv_svn), (hashes, 7, 3))
        self.assertTrue(policy.allow_debug)
        self.assertEqual(dict(policy.statuses), {"UpToDate": None, "OutOfDate": until})
        self.assertEqual(dict(policy.advisories), {"INTEL-SA-00289": None, "INTEL-SA-00615": until})
        self.assertEqual((policy.min_tier, policy.max_age_seconds), (Tier.CHANNEL, 60))
        self.assertEqual((policy.app, policy.code_hashes), ("kv-store", hashes))
        self.assertEqual(policy.key_source, "byok:0011223344556677")
        self.assertEqual((policy.configuration_roots, policy.app_roots), (hashes, hashes))
        self.assertEqual(policy.leaves, {"core.operator_policy": hashes})
        self.assertEqual((policy.ppids, policy.operator_ca), ({bytes.fromhex(PPID)}, hashes))

    def test_an_empty_policy_is_none(self) -> None:
        for text in ["", "format = 1", "format = 1\n[roots]\n[enclave]", "format = 1\n[roots]\nintel = true", "x"]:
            with self.subTest(text=text), self.assertRaises(PolicyError):
                VerificationPolicy.from_toml(text)
        with self.assertRaises(PolicyError):
            VerificationPolicy.from_toml(f'format = 2\n[roots]\nintel = true\n[enclave]\nmrenclave = ["{H}"]')

    def test_intel_and_a_development_root_are_never_accepted_together(self) -> None:
        self.refused("exactly one", roots=f'intel = true\ndevelopment = ["{H}"]')
        self.refused("exactly one", roots="")
        self.refused("exactly one", roots="intel = false")
        self.refused("empty", roots="development = []")
        self.refused("true nor false", roots="intel = 1")

    def test_an_enclave_is_named_by_measurement_or_by_signer_product_and_version(self) -> None:
        for enclave in ["", "allow_debug = true"]:
            self.refused("neither", enclave=enclave)
        for enclave in [
            f'mrsigner = ["{H}"]',
            f'mrsigner = ["{H}"]\nisv_prod_id = 1',
            f'mrsigner = ["{H}"]\nmin_isv_svn = 1',
            f'mrenclave = ["{H}"]\nisv_prod_id = 1',
            f'mrenclave = ["{H}"]\nmin_isv_svn = 1',
        ]:
            self.refused("belong together", enclave=enclave)
        self.refused("65535", enclave=f'mrsigner = ["{H}"]\nisv_prod_id = 65536\nmin_isv_svn = 1')
        self.assertIsNone(read(enclave=f'mrsigner = ["{H}"]\nisv_prod_id = 1\nmin_isv_svn = 0').mrenclave)

    def test_unknown_keys_are_errors_in_every_table(self) -> None:
        for table, known in {
            "freshness": "",
            "tcb": "",
            "app": 'name = "a"',
            "configuration": f'root = ["{H}"]',
            "platform": f'ppids = ["{PPID}"]',
            "authority": f'operator_ca = ["{H}"]',
        }.items():
            read(f"[{table}]\n{known}")
            self.refused("unknown_key", f"[{table}]\n{known}\nunknown_key = 1")
        self.refused("unknown_key", roots="intel = true\nunknown_key = 1")
        self.refused("unknown_key", "unknown_key = 1")
        self.refused("unknown_key", "[unknown_key]")
        self.refused("'x'", '[tcb]\nstatuses = [{ status = "OutOfDate", until = "2027-01-01T00:00:00Z", x = 1 }]')

    def test_what_could_accept_nothing_is_an_error(self) -> None:
        for rest in [
            "[tcb]\nstatuses = []",
            '[app]\nname = "a"\ncode_hashes = []',
            "[configuration]\nroot = []",
            "[configuration]\napp_root = []",
            '[configuration.leaves]\n"core.version" = []',
            "[platform]\nppids = []",
            "[authority]\noperator_ca = []",
        ]:
            self.refused("empty", rest)
        self.refused("says nothing", "[configuration]")
        self.refused("says nothing", "[configuration.leaves]")
        for table in ["platform", "authority", "app"]:
            self.refused("lacks", f"[{table}]")
        self.assertEqual(dict(read("[tcb]\nadvisories = []").advisories), {})

    def test_values_have_one_spelling(self) -> None:
        self.refused("hexadecimal", f'[configuration]\nroot = ["{"AA" * 32}"]')
        self.refused("31 bytes", f'[configuration]\nroot = ["{H[2:]}"]')
        self.refused("32 bytes", f'[platform]\nppids = ["{H}"]')
        self.refused("strings", "[platform]\nppids = [1]")
        self.refused("revoked", '[tcb]\nstatuses = ["Revoked"]')
        self.refused("uptodate", '[tcb]\nstatuses = ["uptodate"]')
        self.refused("2027", '[tcb]\nstatuses = [{ status = "OutOfDate", until = "2027-01-01" }]')
        self.refused("string", "[tcb]\nstatuses = [{ status = 'OutOfDate', until = 2027-01-01T00:00:00Z }]")
        self.refused("until", '[tcb]\nstatuses = [{ status = "OutOfDate" }]')
        self.refused("key_source", '[app]\nname = "a"\nkey_source = "byok:"')
        self.refused("min_tier", '[freshness]\nmin_tier = "best"')
        self.refused("max_age_seconds", "[freshness]\nmax_age_seconds = -1")


if __name__ == "__main__":
    unittest.main()
