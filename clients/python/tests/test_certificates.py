"""Leaves and chains: what is read, and what is refused."""

from __future__ import annotations

import unittest
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from unittest import mock

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from enclave_os import Presented, chain, judge, judge_evidence
from enclave_os import leaf_certificate as oid
from enclave_os.leaf_certificate import LeafCertificate, names_of

from .pki import DAY, NOW, Issued, extensions

ONE = ("alpha", "/alpha", b"\1" * 32)
TWO = ("beta", "/b", b"\2" * 32)
ROOT = Issued.authority("operator")
CA = Issued.authority("Enclave OS CA", ROOT)
POLICY = f'format = 1\n[roots]\nintel = true\n[enclave]\nmrenclave = ["{"00" * 32}"]'


def read(extra: dict[str, bytes]) -> LeafCertificate:
    return LeafCertificate.from_der(CA.leaf(extra).der)


def verify(*issued: Issued) -> None:
    chain.verify([one.der for one in issued], names_of(issued[0].certificate), NOW)


Critical = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")


def app_leaf(**changes: bytes) -> dict[str, bytes]:
    own = {oid.APP_CONFIGURATION_ROOT: b"\3" * 32, oid.APP_CODE_HASH: ONE[2], oid.APP_KEY_SOURCE: b"generated"}
    # The workloads hash in a leaf of one app is over all apps, so it follows from nothing that is visible.
    return extensions([ONE]) | {oid.WORKLOADS_HASH: b"\4" * 32} | own


class Leaves(unittest.TestCase):
    def refused(self, words: str, extra: dict[str, bytes]) -> None:
        with self.subTest(words), self.assertRaisesRegex(ValueError, words):
            read(extra)

    def test_what_a_leaf_says(self) -> None:
        leaf = read(extensions([ONE, TWO]) | {oid.QUOTE: b"quote"})
        self.assertEqual([(app.name, app.route_prefix, app.code_hash) for app in leaf.apps], [ONE, TWO])
        self.assertEqual((leaf.quote, leaf.app), (b"quote", None))
        self.assertEqual((leaf.not_before, leaf.not_after), (NOW, NOW + DAY))
        self.assertTrue(leaf.is_for("LOCALHOST") and leaf.is_for("127.0.0.1"))
        self.assertFalse(leaf.is_for("localhost.") or leaf.is_for("other"))
        empty = read(extensions())
        self.assertEqual((empty.apps, empty.quote), ((), None))
        own = read(app_leaf()).app
        assert own is not None
        self.assertEqual((own.configuration_root, own.key_source), (b"\3" * 32, "generated"))

    def test_other_shapes_are_refused(self) -> None:
        base = extensions([ONE, TWO])
        self.refused("1.1", {k: v for k, v in base.items() if k != oid.CONFIGURATION_ROOT})
        self.refused("2.5", {k: v for k, v in base.items() if k != oid.WORKLOADS_HASH})
        self.refused("32 bytes", base | {oid.CONFIGURATION_ROOT: bytes(31)})
        self.refused("hash over the apps", base | {oid.WORKLOADS_HASH: bytes(32)})
        self.refused("unknown to this version", base | {oid.ARC + "5.1": b""})
        self.refused("32 bytes for each app", base | {oid.CODE_HASHES: bytes(32)})
        self.refused("one line for each", base | {oid.ROUTE_PREFIXES: b"/alpha"})
        self.refused("in order", base | {oid.APP_NAMES: b"beta\nalpha"})
        self.refused("in order", base | {oid.APP_NAMES: b"alpha\nalpha"})
        self.refused("in order", base | {oid.APP_NAMES: b"\nbeta"})
        self.refused("at most 63", base | {oid.APP_NAMES: b"a" * 64 + b"\nbeta"})
        self.refused("at most 63", base | {oid.APP_NAMES: b"a" * 65_536 + b"\nbeta"})
        self.refused("printable", base | {oid.APP_NAMES: b"al ha\nbeta"})
        self.refused("printable", base | {oid.APP_NAMES: "älpha\nbeta".encode()})
        self.refused("2.3", {k: v for k, v in base.items() if k != oid.CODE_HASHES})
        self.refused("one app in", app_leaf() | extensions([ONE, TWO]))
        self.refused("same code hash", app_leaf() | {oid.APP_CODE_HASH: bytes(32)})
        for source in [b"byok:", b"byok:00112233445566AA", b"other", b"generated\n"]:
            self.refused("byok", app_leaf() | {oid.APP_KEY_SOURCE: source})
        read(app_leaf() | {oid.APP_KEY_SOURCE: b"byok:00112233445566aa"})

    def test_the_longest_name_is_read(self) -> None:
        longest = ("a" * 63, "/a", b"\1" * 32)
        self.assertEqual(read(extensions([longest])).apps[0].name, longest[0])

    def test_only_one_certificate_and_nothing_after_it(self) -> None:
        good = CA.leaf(extensions()).der
        for bad in [b"", good[:-1], good + b"\0", b"\x30\x00"]:
            with self.assertRaises(ValueError):
                LeafCertificate.from_der(bad)

    def test_an_extension_that_occurs_twice_is_refused(self) -> None:
        # Two that differ in their last number; then one is renamed.
        der = CA.leaf(extensions() | {"1.3.6.1.4.1.65230.2.9": b"twice"}).der
        arc = bytes.fromhex("060a2b0601040183fd4e02")
        self.assertEqual(der.count(arc + b"\x09"), 1)
        with self.assertRaisesRegex(ValueError, "[Dd]uplicate"):
            LeafCertificate.from_der(der.replace(arc + b"\x09", arc + b"\x05"))

    def test_no_byte_can_be_changed(self) -> None:
        # Whatever becomes of it: a check that fails and never another exception.
        good = CA.leaf(extensions([ONE, TWO])).der
        for at in range(len(good)):
            for bit in (0x01, 0x80):
                bad = good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :]
                verdict = judge(POLICY, Presented([bad, CA.der]), None, NOW)
                self.assertIn(verdict.failed[0].check, ("certificate-format", "certificate-chain"), at)


class Chains(unittest.TestCase):
    def setUp(self) -> None:
        self.leaf = CA.leaf(extensions())

    def refused(self, words: str, *issued: Issued) -> None:
        with self.subTest(words), self.assertRaisesRegex(ValueError, words):
            verify(*issued)

    def test_every_link_is_verified(self) -> None:
        verify(self.leaf, CA)
        verify(self.leaf, CA, ROOT)
        self.refused("at least", self.leaf)
        self.refused("longer", self.leaf, *[CA] * 9)
        self.refused("certificate 1 .* not signed", self.leaf, ROOT)
        self.refused("certificate 2 .* not signed", self.leaf, CA, Issued.authority("operator"))
        # The same name with another key.
        self.refused("certificate 1 .* not signed", self.leaf, Issued.authority("Enclave OS CA"))
        self.refused("certificate 1 .* one of an authority", CA, ROOT)
        # Says of itself that it signed itself, and did not.
        impostor = Issued.authority("operator", ROOT)
        self.refused("did not sign itself", impostor.leaf(extensions()), impostor)

    def test_an_issuer_is_an_authority_now(self) -> None:
        for words, ca in [
            ("not one of a CA", Issued.authority("ca", ROOT, ca=False)),
            ("may not sign", Issued.authority("ca", ROOT, may_sign=False)),
            ("is valid from", Issued.authority("ca", ROOT, until=NOW - timedelta(seconds=1))),
            ("no authority", Issued.authority("ca").leaf(extensions())),
            ("not understood", Issued.authority("ca", more=[Critical])),
        ]:
            self.refused(words, ca.leaf(extensions()), ca)

    def test_an_issuer_may_sign_for_servers(self) -> None:
        for allowed in (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE):
            ca = Issued.authority("ca", ROOT, more=[x509.ExtendedKeyUsage([allowed])])
            verify(ca.leaf(extensions()), ca, ROOT)
        other = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        ca = Issued.authority("ca", ROOT, more=[other])
        self.refused("certificate 2 .* not for servers", ca.leaf(extensions()), ca, ROOT)
        root = Issued.authority("operator", more=[other])
        ca = Issued.authority("ca", root)
        self.refused("certificate 3 .* not for servers", ca.leaf(extensions()), ca, root)
        any_leaf = CA.leaf(extensions() | {"2.5.29.37": bytes.fromhex("30060604551d2500")})
        self.refused("certificate 1 .* not for servers", any_leaf, CA)

    def test_what_authorities_allow(self) -> None:
        short = Issued.authority("short", ROOT, path_length=0)
        below = Issued.authority("below", short)
        verify(short.leaf(extensions()), short, ROOT)
        self.refused("pathLenConstraint", below.leaf(extensions()), below, short, ROOT)
        subtrees: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ip_network("127.0.0.0/8"))]
        permitting = Issued.authority("operator", more=[x509.NameConstraints(subtrees, None)])
        excluding = Issued.authority("operator", more=[x509.NameConstraints(None, subtrees[:1])])
        other_kind = Issued.authority("operator", more=[x509.NameConstraints([x509.RFC822Name("a@b.c")], None)])
        verify(permitting.leaf(extensions()), permitting)
        verify(permitting.leaf(extensions(), ["a.localhost"]), permitting)
        verify(excluding.leaf(extensions(), ["elsewhere", "127.0.0.1"]), excluding)
        for names in (["elsewhere"], ["notlocalhost"], ["localhost", "10.0.0.1"]):
            self.refused("may not vouch", permitting.leaf(extensions(), names), permitting)
        self.refused("may not vouch", excluding.leaf(extensions()), excluding)
        self.refused("of another kind", other_kind.leaf(extensions()), other_kind)


class Judged(unittest.TestCase):
    """Checks that come before the quote."""

    def failed(self, *presented: Issued, name: str | None = None, policy: str = POLICY) -> list[str]:
        evidence = Presented([one.der for one in presented], name, nonce=bytes(32))
        return [check.check for check in judge(policy, evidence, None, NOW).failed]

    def test_a_structural_failure_ends_it_and_others_do_not(self) -> None:
        leaf = CA.leaf(extensions())
        old = CA.leaf(extensions(), not_before=NOW - 2 * DAY, not_after=NOW - DAY)
        self.assertEqual(self.failed(leaf, CA, policy="format = 1"), ["policy"])
        self.assertIsNone(judge("format = 1", Presented([leaf.der, CA.der]), None, NOW).tier)
        unreadable = judge_evidence(POLICY, "{}", NOW)
        self.assertEqual(([check.check for check in unreadable.failed], unreadable.tier), (["evidence-format"], None))
        self.assertEqual(self.failed(), ["certificate-format"])
        self.assertEqual(self.failed(CA, ROOT), ["certificate-format"])
        self.assertEqual(self.failed(leaf), ["certificate-chain"])
        self.assertEqual(self.failed(leaf, CA, name="localhost"), ["quote-format"])
        self.assertEqual(self.failed(old, CA, name="other"), ["certificate-time", "server-name", "quote-format"])

    def test_the_first_and_the_last_moment_there_is_are_judged(self) -> None:
        last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
        self.assertEqual(self.failed(CA.leaf(extensions(), not_after=last), CA), ["quote-format"])
        leaf = CA.leaf(extensions())
        for since, until, wrong in [
            (datetime.min.replace(tzinfo=UTC), last, []),
            (last, last, ["certificate-time"]),
            (datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), ["certificate-time"]),
        ]:
            changed = replace(LeafCertificate.from_der(leaf.der), not_before=since, not_after=until)
            with mock.patch.object(LeafCertificate, "from_der", return_value=changed):
                self.assertEqual(self.failed(leaf, CA), [*wrong, "quote-format"])

    def test_clocks_may_differ_by_five_minutes_and_no_more(self) -> None:
        at, skew, more = timedelta(hours=1), timedelta(seconds=300), timedelta(seconds=301)
        for since, until, wrong in [
            (NOW + skew, NOW + at, []),
            (NOW + more, NOW + at, ["certificate-time"]),
            (NOW - at, NOW - skew, []),
            (NOW - at, NOW - more, ["certificate-time"]),
        ]:
            leaf = CA.leaf(extensions(), not_before=since, not_after=until)
            self.assertEqual(self.failed(leaf, CA), [*wrong, "quote-format"])


if __name__ == "__main__":
    unittest.main()
