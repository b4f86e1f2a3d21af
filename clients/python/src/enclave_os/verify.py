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

from . import chain, dcap, report_data, settings
from .collateral import Collateral
from .encoding import timestamp_text
from .errors import PolicyError
from .evidence import EvidenceDocument
from .leaf_certificate import LeafCertificate
from .manifest import Manifest, Proof
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
    proofs: Sequence[Proof] = (),
) -> Verdict:
    """Judges a connection. A policy given as TOML is read first, as a check of its own.

    A policy with ``[configuration.leaves]`` needs a proof of each of them (``proofs``), or the ``manifest``. Neither
    needs trust: they count so far as they lead to the root in the certificate.
    """
    judgement = _Judgement(presented.tier, now)
    with suppress(_Stop):
        judgement.connection(policy, presented, collateral, manifest, proofs)
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
        proofs: Sequence[Proof],
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
        self.configuration(manifest, proofs)
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
        self.tier(of_document=True)
        self.app()
        self.configuration(read.manifest, document=read)
        self.platform()
        self.operator()

    # Checks, each under its id.

    def policy(self, policy: VerificationPolicy | str) -> None:
        if isinstance(policy, str):
            try:
                policy = VerificationPolicy.from_toml(policy)
            except PolicyError as error:
                self.verdict.tier = None
                raise self.stop("policy", "not a policy", str(error)) from None
        self.wanted = policy
        self.passed("policy", "format 1")

    def evidence_format(self, document: EvidenceDocument | object) -> EvidenceDocument:
        try:
            read = document if isinstance(document, EvidenceDocument) else EvidenceDocument.from_json(document)
        except ValueError as error:
            self.verdict.tier = None
            raise self.stop("evidence-format", "not an evidence document", str(error)) from None
        self.passed("evidence-format", "format 1")
        return read

    def certificate(self, presented: Sequence[bytes], document: EvidenceDocument | None = None) -> None:
        """``certificate-format`` and ``certificate-chain``."""
        try:
            if not presented:
                raise ValueError("no certificate was sent: this is not the TLS port of an enclave")
            self.leaf = LeafCertificate.from_der(presented[0])
            # What stands in the document beside the certificate must not say anything else.
            if document is not None and document.certificate_quote != self.leaf.quote:
                raise ValueError(
                    "`certificate_quote` of the document is not the quote in its certificate: it was changed; ask the "
                    "enclave for another (/.enclave/v1/evidence)"
                )
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
        message = (
            "the certificate is not valid yet: this clock is slow, or that of the enclave's host is fast. Set both by NTP"
            if self.now < since
            else "the certificate has expired: it was kept from an earlier day, or this clock is fast. Connect anew, and "
            "set the clock by NTP"
        )
        self.note("certificate-time", inside, found, timestamp_text(self.now), message)

    def server_name(self, name: str) -> None:
        message = (
            f"the certificate is not for {name}: another enclave answered, or an app of another name. Connect with a "
            "name it has, or add the name to the image's served_names"
        )
        self.note("server-name", self.leaf.is_for(name), str(self.leaf.names), name, message)

    def quote(self, raw: bytes | None, collateral: Collateral | None) -> None:
        """``quote-format``, ``root`` and ``quote``."""
        if raw is None:
            message = (
                "there is no quote: the enclave's host could not have one made, and `ready` of the enclave says why "
                "(/.enclave/v1/ready)"
            )
            raise self.stop("quote-format", "none", message)
        try:
            self.parsed = Quote.parse(raw)
        except ValueError as error:
            message = f"this is no SGX quote of version 3: {error}; have the enclave make another one"
            raise self.stop("quote-format", f"{len(raw)} bytes", message) from None
        self.passed("quote-format", f"version 3, {len(raw)} bytes")
        self.root()
        try:
            if collateral is None:
                raise ValueError(
                    "there is no collateral: give it (`collateral`), or let the enclave's host fetch it (--pccs-url)"
                )
            self.tcb = dcap.verify(self.parsed, collateral, self.now)
        except ValueError as error:
            message = f"the quote does not verify: {error}{dcap.hint(str(error))}"
            raise self.stop("quote", "does not verify", message) from None
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
            name = "Intel SGX Root CA"
            message = (
                "this is genuine hardware under Intel's root, and the policy accepts development roots only: use "
                "`intel = true`"
            )
        elif development:
            name = "development root"
            message = (
                "this root says DEVELOPMENT: its keys are in a file on some machine and it protects nothing. To accept "
                "it while developing, name its fingerprint in `roots.development`"
            )
        else:
            name = "unknown root"
            message = (
                "nobody the policy trusts vouches for this platform: compare the root with the one you meant; hardware "
                "leads to Intel's (`intel = true`)"
            )
        wanted = _list(root.hex() for root in sorted(self.wanted.roots))
        found = f"{name} {fingerprint.hex()}"
        if fingerprint not in self.wanted.roots:
            raise self.stop("root", found, message, wanted)
        self.note("root", True, found, wanted)

    def report_data(self, expected: bytes) -> None:
        found = self.parsed.report.report_data
        message = (
            "the quote was not made for this certificate's key and this nonce, connection or document: it is an old "
            "one, or somebody relays another's. Connect anew; if it stays so, do not use this server"
        )
        self.note("report-data", found == expected, found.hex(), expected.hex(), message)

    def identity(self) -> None:
        """``debug``, ``measurement``, ``tcb-status`` and ``advisories``."""
        report, wanted = self.parsed.report, self.wanted
        message = "everything in a debug enclave can be read from outside: launch the enclave without DEBUG"
        self.note("debug", wanted.allow_debug or not report.debug, str(report.debug).lower(), None, message)
        self.measurement()
        self.note(
            "tcb-status",
            _accepted(wanted.statuses, self.tcb.status, self.now),
            self.tcb.status,
            _graces(wanted.statuses),
            f"the platform's TCB status is {self.tcb.status}, which the policy does not accept (any longer): update its "
            "firmware and microcode, or accept the status in `tcb.statuses`, for a while with `until`",
        )
        open_ones = [x for x in self.tcb.advisories if not _accepted(wanted.advisories, x, self.now)]
        message = (
            f"{_list(open_ones)} of the platform's TCB level not accepted (any longer): update the platform, or list what "
            "does not matter here in `tcb.advisories`"
        )
        if _NO_LVI_FENCES in open_ones:
            message += (
                f". Mind {_NO_LVI_FENCES} (load value injection): the image is built without LVI fences, so on such a "
                "platform other code on the machine could read the enclave's secrets"
            )
        found = _list(self.tcb.advisories)
        self.note("advisories", not open_ones, found, _graces(wanted.advisories), message)

    def measurement(self) -> None:
        report, wanted = self.parsed.report, self.wanted
        wrong = []
        if wanted.mrenclave is not None and report.mrenclave not in wanted.mrenclave:
            wrong.append(
                "MRENCLAVE is not one of the policy's: this is another image, or another policy page in it. Compare it with "
                "what your own build of the image says; if this is the image you mean, put its MRENCLAVE into "
                "`enclave.mrenclave`"
            )
        if wanted.mrsigner is not None:
            if report.mrsigner not in wanted.mrsigner:
                wrong.append(
                    "MRSIGNER is not one of the policy's: somebody else signed this image. Take the one that your signer "
                    "published, or name this signer in `enclave.mrsigner`"
                )
            if report.isv_prod_id != wanted.isv_prod_id:
                wrong.append(
                    f"ISVPRODID is {report.isv_prod_id}: this is another product of that signer; compare "
                    "`enclave.isv_prod_id`"
                )
            if wanted.min_isv_svn is not None and report.isv_svn < wanted.min_isv_svn:
                wrong.append(
                    f"ISVSVN is {report.isv_svn}: this image is older than the policy allows; the server has to be updated"
                )
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

    def tier(self, of_document: bool = False) -> None:
        """``tier`` and, without a nonce, ``age``."""
        tier, least = self.verdict.tier, self.wanted.min_tier
        if tier is None:
            return
        message = f"the evidence is of tier {tier.text}: connect with `tier=Tier.{least.name}`, which the policy wants"
        if of_document:
            message = (
                "an evidence document has tier certificate, because it was made for no client in particular: judge it by "
                'a policy with `freshness.min_tier = "certificate"`, or connect to the enclave'
            )
        self.note("tier", tier >= least, tier.text, f"at least {least.text}", message)
        if tier is Tier.CERTIFICATE:
            age, skew = int((self.now - self.leaf.not_before).total_seconds()), int(SKEW.total_seconds())
            most = self.wanted.max_age_seconds
            message = (
                "the certificate is from the future: this clock is slow, or that of the enclave's host is fast. Set both by "
                "NTP"
                if age < 0
                else "the evidence is older than the policy allows: ask the enclave anew, or raise "
                "`freshness.max_age_seconds`"
            )
            self.note("age", -skew <= age <= most + skew, f"{age} s", f"at most {most} s", message)

    def app(self) -> None:
        """``app``, ``code-hash`` and ``key-source``."""
        name = self.wanted.app
        if name is None:
            return
        claim = self.leaf.claim(name)
        found = _list(app.name for app in self.leaf.apps)
        self.note("app", claim is not None, found, name, (
            f"the certificate does not name the app {name}: it is not loaded, or this is the certificate of another app. "
            "Load it, or connect with its hostname"
        ))
        if claim is None:
            return
        if self.wanted.code_hashes is not None:
            message = (
                f"the app {name} runs other code than the policy accepts: it was replaced. If this is the code you mean, put "
                "its hash into `app.code_hashes`"
            )
            self.member("code-hash", claim.code_hash, self.wanted.code_hashes, message)
        if self.wanted.key_source is not None:
            source = self.leaf.app.key_source if self.leaf.app else None
            kinds = (source, source.partition(":")[0]) if source else ()
            message = f"the data of {name} is under another key than the policy accepts: load it again with the right key"
            if source is None:
                message = f"only {name}'s own certificate says whose key its data has: connect to its hostname"
            self.note("key-source", self.wanted.key_source in kinds, source or "", self.wanted.key_source, message)

    def configuration(
        self, manifest: Manifest | None, proofs: Sequence[Proof] = (), document: EvidenceDocument | None = None
    ) -> None:
        wanted = self.wanted
        asked = (wanted.configuration_roots, wanted.app_roots, wanted.leaves)
        if document is None and all(part is None for part in asked):
            return
        wrong = settings.problems(wanted, self.leaf, manifest, proofs)
        if document is not None:
            wrong += settings.ca_problems(self.leaf, document)
        self.note("configuration", not wrong, f"root {self.leaf.configuration_root.hex()}", None, "; ".join(wrong))

    def platform(self) -> None:
        if self.wanted.ppids is not None:
            message = (
                "this is not one of the machines in `platform.ppids`: the connection was diverted, or the machine was "
                "replaced. If you moved it yourself, put the new PPID into the list"
            )
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
            "the enclave is not under an operator that the policy accepts: have its request signed by that CA "
            "(`enclave-os ca csr`, `ca install`)",
        )


def _accepted(graces: Mapping[str, datetime | None], word: str, now: datetime) -> bool:
    if word not in graces:
        return False
    until = graces[word]
    return until is None or now < until


def _graces(graces: Mapping[str, datetime | None]) -> str:
    return _list(word if until is None else f"{word} until {timestamp_text(until)}" for word, until in graces.items())


def _list(words: Iterable[str]) -> str:
    return ", ".join(words) or "none"
