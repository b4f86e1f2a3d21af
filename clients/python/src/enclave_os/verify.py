"""The checks, in their order. The same ids, order and stop rule in every language.

A failed *structural* check ends a verification, because what follows could not be judged. The others go on,
so that a verdict lists everything that is wrong. Nothing here touches the network, and time is given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from . import chain, dcap, report_data
from .collateral import Collateral
from .encoding import timestamp_text
from .errors import PolicyError
from .evidence import EvidenceDocument
from .leaf_certificate import LeafCertificate
from .manifest import Leaf, Manifest
from .policy import INTEL_ROOT, Tier, VerificationPolicy
from .quote import Quote
from .verdict import Check, Verdict

SKEW = timedelta(seconds=300)
"""How far two clocks may be apart, both ways."""

_NO_LVI_FENCES = "INTEL-SA-00334"


@dataclass(frozen=True)
class Presented:
    """What a connection presented: the tier follows from what there is."""

    chain: Sequence[bytes]
    """Certificates (DER), leaf first."""
    server_name: str | None = None
    """The name the connection was made for, if it must be in the certificate."""
    nonce: bytes | None = None
    """32 bytes that this client chose: offered in ALPN, or sent with ``attest``."""
    exporter: bytes | None = None
    """The TLS exporter of this connection, taken by this client."""
    attest_quote: bytes | None = None
    """The answer to ``attest``."""

    @property
    def tier(self) -> Tier:
        """What the evidence can prove."""
        if self.exporter is not None:
            return Tier.CHANNEL
        return Tier.CERTIFICATE if self.nonce is None else Tier.CHALLENGE


def judge(
    policy: VerificationPolicy | str,
    presented: Presented,
    collateral: Collateral | None,
    now: datetime,
    manifest: Manifest | None = None,
) -> Verdict:
    """Judges a connection. A policy given as TOML is read first, as a check of its own.

    ``manifest`` is needed by a policy with ``[configuration.leaves]``.
    """
    judgement = _Judgement(presented.tier, now)
    with suppress(_Stop):
        judgement.connection(policy, presented, collateral, manifest)
    return judgement.verdict


def judge_evidence(
    policy: VerificationPolicy | str,
    document: EvidenceDocument | object,
    now: datetime,
    collateral: Collateral | None = None,
) -> Verdict:
    """Judges an evidence document: read, or as text or parsed JSON. Its tier is ``certificate``.

    ``collateral``, if given, is used in place of the document's own.
    """
    judgement = _Judgement(Tier.CERTIFICATE, now)
    with suppress(_Stop):
        judgement.evidence(policy, document, collateral)
    return judgement.verdict


def judge_quote(
    policy: VerificationPolicy | str, quote: bytes, collateral: Collateral | None, now: datetime
) -> Verdict:
    """Judges a quote alone: whose it is and on which platform, not what it was made over."""
    judgement = _Judgement(None, now)
    with suppress(_Stop):
        judgement.policy(policy)
        judgement.quote(quote, collateral)
        judgement.identity()
        judgement.platform()
    return judgement.verdict


class _Stop(Exception):
    """A structural check failed."""


class _Judgement:
    """One verification in progress."""

    def __init__(self, tier: Tier | None, now: datetime) -> None:
        self.verdict = Verdict(tier)
        self.now = now
        self.wanted: VerificationPolicy
        self.leaf: LeafCertificate
        self.chain: Sequence[bytes]
        self.parsed: Quote
        self.tcb: dcap.Platform

    # How checks are noted.

    def note(self, check: str, passed: bool, found: str, wanted: str | None = None, message: str = "") -> None:
        self.verdict.checks.append(Check(check, passed, found, wanted, None if passed else message))

    def passed(self, check: str, found: str) -> None:
        self.note(check, True, found)

    def stop(self, check: str, found: str, message: str, wanted: str | None = None) -> _Stop:
        self.note(check, False, found, wanted, message)
        return _Stop()

    def member(self, check: str, value: bytes, accepted: Collection[bytes], message: str) -> None:
        self.note(check, value in accepted, value.hex(), _list(x.hex() for x in sorted(accepted)), message)

    # Whole verifications.

    def connection(
        self,
        policy: VerificationPolicy | str,
        presented: Presented,
        collateral: Collateral | None,
        manifest: Manifest | None,
    ) -> None:
        self.policy(policy)
        self.certificate(presented.chain)
        self.certificate_time()
        if presented.server_name is not None:
            self.server_name(presented.server_name)
        channel = presented.tier is Tier.CHANNEL
        self.quote(presented.attest_quote if channel else self.leaf.quote, collateral)
        spki = self.leaf.spki_der
        if presented.exporter is not None:
            self.report_data(report_data.channel(spki, presented.nonce or b"", presented.exporter))
        elif presented.nonce is not None:
            self.report_data(report_data.challenge(spki, presented.nonce))
        else:
            self.report_data(report_data.certificate(spki, self.leaf.not_before))
        self.identity()
        self.tier()
        self.app()
        self.configuration(manifest)
        self.platform()
        self.operator()

    def evidence(
        self,
        policy: VerificationPolicy | str,
        document: EvidenceDocument | object,
        collateral: Collateral | None,
    ) -> None:
        self.policy(policy)
        read = self.evidence_format(document)
        self.certificate(read.certificate_chain, read)
        self.certificate_time()
        self.quote(read.evidence_quote, collateral or read.collateral)
        self.report_data(report_data.evidence(self.leaf.der, read.manifest.root))
        self.identity()
        self.tier()
        self.app()
        self.configuration(read.manifest, of_document=True)
        self.platform()
        self.operator()

    # Checks, each under its id.

    def policy(self, policy: VerificationPolicy | str) -> None:
        if isinstance(policy, str):
            try:
                policy = VerificationPolicy.from_toml(policy)
            except PolicyError as error:
                raise self.stop("policy", "not a policy", str(error)) from None
        self.wanted = policy
        self.passed("policy", "format 1")

    def evidence_format(self, document: EvidenceDocument | object) -> EvidenceDocument:
        try:
            read = document if isinstance(document, EvidenceDocument) else EvidenceDocument.from_json(document)
        except ValueError as error:
            raise self.stop("evidence-format", "not an evidence document", str(error)) from None
        self.passed("evidence-format", "format 1")
        return read

    def certificate(self, presented: Sequence[bytes], document: EvidenceDocument | None = None) -> None:
        """``certificate-format`` and ``certificate-chain``."""
        try:
            if not presented:
                raise ValueError("no certificate was presented")
            self.leaf = LeafCertificate.from_der(presented[0])
            # What stands in the document beside the certificate must not say anything else.
            if document is not None and document.certificate_quote != self.leaf.quote:
                raise ValueError("`certificate_quote` of the document is not the quote in its certificate")
        except ValueError as error:
            raise self.stop("certificate-format", "not a leaf of an enclave", str(error)) from None
        self.verdict.leaf = self.leaf
        self.passed("certificate-format", f"a leaf with {len(self.leaf.apps)} apps")
        try:
            chain.verify(presented, self.leaf.names, self.now)
        except ValueError as error:
            raise self.stop("certificate-chain", f"{len(presented)} certificates", str(error)) from None
        self.passed("certificate-chain", f"{len(presented)} certificates")
        self.chain = presented

    def certificate_time(self) -> None:
        since, until = self.leaf.not_before, self.leaf.not_after
        # Differences, since a moment plus SKEW may be beyond the last that a datetime can hold.
        inside = since - self.now <= SKEW and self.now - until <= SKEW
        found = f"{timestamp_text(since)} to {timestamp_text(until)}"
        message = "the certificate is not valid now; if it looks recent, compare the clocks of both machines"
        self.note("certificate-time", inside, found, timestamp_text(self.now), message)

    def server_name(self, name: str) -> None:
        message = f"the certificate is for other names than {name}: another server answered, or another app"
        self.note("server-name", self.leaf.is_for(name), str(self.leaf.names), name, message)

    def quote(self, raw: bytes | None, collateral: Collateral | None) -> None:
        """``quote-format``, ``root`` and ``quote``."""
        if raw is None:
            message = "there is no quote: the host has no quoting enclave or cannot reach it; its `ready` page says why"
            raise self.stop("quote-format", "none", message)
        try:
            self.parsed = Quote.parse(raw)
        except ValueError as error:
            raise self.stop("quote-format", f"{len(raw)} bytes", f"not a quote: {error}") from None
        self.passed("quote-format", f"version 3, {len(raw)} bytes")
        self.root()
        try:
            if collateral is None:
                raise ValueError("no collateral: none was given, and the server sent none")
            self.tcb = dcap.verify(self.parsed, collateral, self.now)
        except ValueError as error:
            raise self.stop("quote", "does not verify", f"the quote does not verify: {error}") from None
        self.verdict.enclave = self.parsed.report.to_json()
        self.verdict.tcb = {
            "status": self.tcb.status,
            "advisories": list(self.tcb.advisories),
            "fmspc": self.tcb.fmspc.hex(),
            "ppid": self.tcb.ppid.hex(),
            "root": sha256(self.parsed.root).hexdigest(),
        }
        self.passed("quote", f"signed by a platform of FMSPC {self.tcb.fmspc.hex()}")

    def root(self) -> None:
        fingerprint = sha256(self.parsed.root).digest()
        development = b"DEVELOPMENT" in self.parsed.root
        if fingerprint == INTEL_ROOT:
            name, message = "Intel SGX Root CA", "genuine hardware, and the policy accepts development roots only"
        elif development:
            name = "development root"
            message = "a DEVELOPMENT root: its keys are in a file on some machine, and it protects nothing"
        else:
            name, message = "unknown root", "nobody the policy trusts vouches for this platform"
        wanted = _list(root.hex() for root in sorted(self.wanted.roots))
        found = f"{name} {fingerprint.hex()}"
        if fingerprint not in self.wanted.roots:
            raise self.stop("root", found, message, wanted)
        self.note("root", True, found, wanted)

    def report_data(self, expected: bytes) -> None:
        found = self.parsed.report.report_data
        message = (
            "the quote was not made over this key and this freshness: it belongs to another certificate, nonce, "
            "connection or document"
        )
        self.note("report-data", found == expected, found.hex(), expected.hex(), message)

    def identity(self) -> None:
        """``debug``, ``measurement``, ``tcb-status`` and ``advisories``."""
        report, wanted = self.parsed.report, self.wanted
        message = "a debug enclave, whose owner can read its memory"
        self.note("debug", wanted.allow_debug or not report.debug, str(report.debug).lower(), None, message)
        self.measurement()
        self.note(
            "tcb-status",
            _accepted(wanted.statuses, self.tcb.status, self.now),
            self.tcb.status,
            _graces(wanted.statuses),
            f"the platform's TCB status is {self.tcb.status}, which the policy does not accept (now)",
        )
        open_ones = [x for x in self.tcb.advisories if not _accepted(wanted.advisories, x, self.now)]
        message = f"the platform is open to {_list(open_ones)}, which the policy does not accept (now)"
        if _NO_LVI_FENCES in open_ones:
            message += f"; {_NO_LVI_FENCES} matters: the image is built without LVI fences"
        found = _list(self.tcb.advisories)
        self.note("advisories", not open_ones, found, _graces(wanted.advisories), message)

    def measurement(self) -> None:
        report, wanted = self.parsed.report, self.wanted
        wrong = []
        if wanted.mrenclave is not None and report.mrenclave not in wanted.mrenclave:
            wrong.append("MRENCLAVE is another: this is other code, or another operator policy")
        if wanted.mrsigner is not None:
            if report.mrsigner not in wanted.mrsigner:
                wrong.append("MRSIGNER is another: somebody else signed the image")
            if report.isv_prod_id != wanted.isv_prod_id:
                wrong.append(f"the product is {report.isv_prod_id}, not {wanted.isv_prod_id}")
            if wanted.min_isv_svn is not None and report.isv_svn < wanted.min_isv_svn:
                wrong.append(f"the security version is {report.isv_svn}, below {wanted.min_isv_svn}")
        found = (
            f"mrenclave {report.mrenclave.hex()}, mrsigner {report.mrsigner.hex()}, "
            f"product {report.isv_prod_id}, version {report.isv_svn}"
        )
        accepted = [
            (name, _list(x.hex() for x in sorted(values)))
            for name, values in (("mrenclave", wanted.mrenclave), ("mrsigner", wanted.mrsigner))
            if values is not None
        ]
        self.note("measurement", not wrong, found, "; ".join(map(" ".join, accepted)), "; ".join(wrong))

    def tier(self) -> None:
        """``tier`` and, without a nonce, ``age``."""
        tier, least = self.verdict.tier, self.wanted.min_tier
        if tier is None:
            return
        message = f"the evidence is of tier {tier.text}, and the policy demands {least.text}"
        self.note("tier", tier >= least, tier.text, f"at least {least.text}", message)
        if tier is Tier.CERTIFICATE:
            age, skew = int((self.now - self.leaf.not_before).total_seconds()), int(SKEW.total_seconds())
            most = self.wanted.max_age_seconds
            message = "the certificate is older than the policy allows (or from the future)"
            self.note("age", -skew <= age <= most + skew, f"{age} s", f"at most {most} s", message)

    def app(self) -> None:
        """``app``, ``code-hash`` and ``key-source``."""
        name = self.wanted.app
        if name is None:
            return
        claim = self.leaf.claim(name)
        found = _list(app.name for app in self.leaf.apps)
        self.note("app", claim is not None, found, name, f"the certificate does not speak of an app {name}")
        if claim is None:
            return
        if self.wanted.code_hashes is not None:
            message = f"{name} is other code than the policy names"
            self.member("code-hash", claim.code_hash, self.wanted.code_hashes, message)
        if self.wanted.key_source is not None:
            source = self.leaf.app.key_source if self.leaf.app else None
            kinds = (source, source.partition(":")[0]) if source else ()
            message = f"the key of {name}'s data is not what the policy names"
            if source is None:
                message = f"only {name}'s own certificate says whose key its data has: connect to its hostname"
            self.note("key-source", self.wanted.key_source in kinds, source or "", self.wanted.key_source, message)

    def configuration(self, manifest: Manifest | None, of_document: bool = False) -> None:
        wanted, root = self.wanted, self.leaf.configuration_root
        asked = (wanted.configuration_roots, wanted.app_roots, wanted.leaves)
        if not of_document and all(part is None for part in asked):
            return
        scope = _Scope.of(manifest, self.leaf)
        wrong = []
        if manifest is not None and scope is None:
            wrong.append("the manifest does not lead to the root in the certificate: it is of another configuration")
        if wanted.configuration_roots is not None and root not in wanted.configuration_roots:
            wrong.append("the configuration root is another: something in the enclave is configured otherwise")
        if wanted.app_roots is not None:
            own = self.leaf.app.configuration_root if self.leaf.app else None
            if own is None and scope is not None and wanted.app is not None:
                own = scope.manifest.of_app(wanted.app).root
            if own is None:
                wrong.append("the app's configuration root is in its own certificate, or follows from a manifest")
            elif own not in wanted.app_roots:
                wrong.append(f"the app's configuration root is {own.hex()}: it is configured otherwise")
        for name, hashes in (wanted.leaves or {}).items():
            if manifest is None:
                wrong.append(f"{name} is in the manifest, which was not fetched")
            elif scope is not None:
                leaf = scope.leaf(name)
                if leaf is None:
                    wrong.append(f"{name} is not in the manifest")
                elif leaf.value_hash not in hashes:
                    wrong.append(f"{name} has the value hash {leaf.value_hash.hex()}, which the policy does not accept")
        self.note("configuration", not wrong, f"root {root.hex()}", None, "; ".join(wrong))

    def platform(self) -> None:
        if self.wanted.ppids is not None:
            message = "another machine than those the policy names"
            self.member("platform", self.tcb.ppid, self.wanted.ppids, message)

    def operator(self) -> None:
        if self.wanted.operator_ca is None:
            return
        above = [sha256(der).digest() for der in self.chain[2:]]
        self.note(
            "operator-ca",
            any(fingerprint in self.wanted.operator_ca for fingerprint in above),
            _list(fingerprint.hex() for fingerprint in above),
            _list(x.hex() for x in sorted(self.wanted.operator_ca)),
            "no certificate above the enclave CA is one of the operator's that the policy names",
        )


@dataclass(frozen=True)
class _Scope:
    """A manifest that a certificate vouches for."""

    manifest: Manifest
    prefix: str
    """What the names of its leaves lack: ``app.<name>.`` in an app's own manifest (``.3.1``)."""

    @classmethod
    def of(cls, manifest: Manifest | None, leaf: LeafCertificate) -> _Scope | None:
        if manifest is None:
            return None
        if manifest.root == leaf.configuration_root:
            return cls(manifest, "")
        if leaf.app is not None and manifest.root == leaf.app.configuration_root:
            return cls(manifest, f"app.{leaf.apps[0].name}.")
        return None

    def leaf(self, name: str) -> Leaf | None:
        return self.manifest.leaf(name.removeprefix(self.prefix)) if name.startswith(self.prefix) else None


def _accepted(graces: Mapping[str, datetime | None], word: str, now: datetime) -> bool:
    if word not in graces:
        return False
    until = graces[word]
    return until is None or now < until


def _graces(graces: Mapping[str, datetime | None]) -> str:
    return _list(word if until is None else f"{word} until {timestamp_text(until)}" for word, until in graces.items())


def _list(words: Iterable[str]) -> str:
    return ", ".join(words) or "none"
