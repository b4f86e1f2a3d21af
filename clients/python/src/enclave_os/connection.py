"""From an address and a policy to connections that are verified before the caller can send a byte."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from threading import Lock
from time import monotonic
from typing import Any, Protocol, TypeVar
from urllib.parse import quote as percent_encoded

from . import framing, http, report_data
from .collateral import Collateral
from .dcap import fmspc_of
from .encoding import base64_bytes, base64url_text
from .errors import HandshakeError, ProtocolError, RefusedError, TierUnavailable, VerificationError
from .framing import Framed
from .http import Http
from .leaf_certificate import LeafCertificate
from .manifest import Manifest, Proof
from .policy import Tier, VerificationPolicy
from .quote import Quote
from .transport import Transport, connect, has_exporter
from .verdict import Verdict
from .verify import Presented, judge

_NONCE_ALPN = "enclave-os-nonce/"
_Kind = TypeVar("_Kind")


class CollateralCache:
    """Collateral by platform kind, for as long as it verifies. Safe to share between threads."""

    def __init__(self) -> None:
        self._known: dict[bytes, Collateral] = {}
        self._lock = Lock()

    def find(self, quote: bytes | None) -> Collateral | None:
        """What is known for the platform of a quote."""
        with self._lock:
            return self._known.get(_platform_kind(quote))

    def keep(self, quote: bytes | None, collateral: Collateral) -> None:
        """Keeps what has verified a quote."""
        with self._lock:
            self._known[_platform_kind(quote)] = collateral


def _platform_kind(quote: bytes | None) -> bytes:
    """Root and FMSPC, which together say which collateral is right; nothing for what is no quote."""
    try:
        parsed = Quote.parse(quote or b"")
        return sha256(parsed.root).digest() + fmspc_of(parsed)
    except ValueError:
        return b""


class Opener(Protocol):
    """Makes connections to one server."""

    @property
    def server_name(self) -> str:
        """The host of HTTP requests."""

    def framed(self) -> tuple[Framed, Verdict | None]:
        """A connection for framed JSON, and what was found of the peer."""

    def http(self) -> tuple[Http, Verdict | None]:
        """A connection for HTTP, and what was found of the peer."""


@dataclass
class VerifiedOpener:
    """Makes connections that the policy accepts, and no others."""

    address: tuple[str, int]
    policy: VerificationPolicy
    tier: Tier
    server_name: str
    """Sent as SNI."""
    demand_name: bool
    """Whether the certificate has to be for that name."""
    given: Collateral | None
    """Collateral of the caller's. No other is asked for then."""
    cache: CollateralCache
    timeout: float
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    authority: ssl.SSLContext | None = None
    """Demands a chain under an authority as well. There is no exporter then, and no channel tier."""

    def __post_init__(self) -> None:
        if self.tier is Tier.CHANNEL and self.authority is not None:
            raise TierUnavailable(
                "the channel tier and an authority file do not go together: name the operator in the policy "
                "([authority] operator_ca)"
            )
        if self.tier is Tier.CHANNEL and not has_exporter():
            raise TierUnavailable(
                "the channel tier needs a TLS exporter, which Python's ssl has not: pip install enclave-os[channel]"
            )
        if self.tier < self.policy.min_tier:
            raise TierUnavailable(
                f"the policy demands the tier {self.policy.min_tier.text}, and the connection would be of "
                f"the tier {self.tier.text}"
                + ("" if has_exporter() else ": pip install enclave-os[channel] for the tier channel")
            )

    def framed(self) -> tuple[Framed, Verdict]:
        def attest(connection: Framed, nonce: bytes) -> Any:
            return connection.ask({"attest": {"nonce": base64url_text(nonce)}}, framing.MAX_EVIDENCE)

        return self._open(framing.ALPN, Framed, attest)

    def http(self) -> tuple[Http, Verdict]:
        def make(transport: Transport) -> Http:
            return Http(transport, self.server_name)

        def attest(connection: Http, nonce: bytes) -> Any:
            value = {"nonce": base64url_text(nonce)}
            return connection.ask("POST", "/.enclave/v1/attest", value, http.MAX_EVIDENCE)

        return self._open(http.ALPN, make, attest)

    def _open(
        self, protocol: str, make: Callable[[Transport], _Kind], attest: Callable[[_Kind, bytes], Any]
    ) -> tuple[_Kind, Verdict]:
        deadline = monotonic() + self.timeout
        nonce = secrets.token_bytes(32)
        offered = [_NONCE_ALPN + base64url_text(nonce)] if self.tier is Tier.CHALLENGE else []
        transport = self._connect([*offered, protocol])
        try:
            transport.limit(deadline)
            connection = make(transport)
            verdict = self._verify(transport, nonce, lambda fresh: attest(connection, fresh), deadline)
            if not verdict.accepted:
                raise VerificationError(verdict)
            transport.limit(None)
            return connection, verdict
        except BaseException:
            transport.close()
            raise

    def _connect(self, alpn: list[str]) -> Transport:
        exporter, authority = self.tier is Tier.CHANNEL, self.authority
        name = self.server_name
        transport = connect(self.address, name, alpn, self.timeout, exporter=exporter, authority=authority)
        if transport.protocol != alpn[-1]:
            transport.close()
            raise HandshakeError(f"the server selected the protocol {transport.protocol}, not {alpn[-1]}")
        return transport

    def _verify(
        self, transport: Transport, nonce: bytes, attest: Callable[[bytes], Any], deadline: float
    ) -> Verdict:
        presented = self._presented(transport, nonce)
        answer: Attested | None = None
        if self.tier is Tier.CHANNEL:
            # What can be judged without the answer is judged before anything is asked.
            before = judge(self.policy, presented, None, self.now())
            before.checks = [check for check in before.checks if check.check != "quote-format"]
            if before.failed:
                return before
            answer = Attested.from_json(attest(nonce))
            presented = self._presented(transport, nonce, answer.quote)
        quote = presented.attest_quote or _quote_of(presented)
        collateral = self.given or self.cache.find(quote)
        verdict = judge(self.policy, presented, collateral, self.now())
        if self.given is None and [check.check for check in verdict.failed] == ["quote"]:
            # None known, or it is out of date: the server's own, which is signed by others.
            answer = answer or Attested.from_json(attest(secrets.token_bytes(32)))
            collateral = answer.collateral
            verdict = judge(self.policy, presented, collateral, self.now())
        if collateral is not None and "quote" not in [check.check for check in verdict.failed]:
            self.cache.keep(quote, collateral)
        if self._needs_settings(verdict):
            manifest, proofs = self._settings(verdict.leaf, deadline)
            verdict = judge(self.policy, presented, collateral, self.now(), manifest, proofs)
        return verdict

    def _presented(self, transport: Transport, nonce: bytes, quote: bytes | None = None) -> Presented:
        name = self.server_name if self.demand_name else None
        if self.tier is Tier.CHANNEL:
            exporter = transport.export(report_data.EXPORTER_LABEL, nonce, 32)
            return Presented(transport.chain, name, nonce, exporter, quote)
        return Presented(transport.chain, name, nonce if self.tier is Tier.CHALLENGE else None)

    def _needs_settings(self, verdict: Verdict) -> bool:
        """Whether all that is missing is what the enclave tells of its configuration when it is asked."""
        if [check.check for check in verdict.failed] != ["configuration"]:
            return False
        in_leaf = verdict.leaf is not None and verdict.leaf.app is not None
        return self.policy.leaves is not None or (self.policy.app_roots is not None and not in_leaf)

    def _settings(self, leaf: LeafCertificate | None, deadline: float) -> tuple[Manifest | None, list[Proof]]:
        """What the policy names of the configuration: single leaves, which show nothing of the others, or the
        manifest where an app's root has to follow from it.

        It comes over a connection of its own, for it is judged by its root and not by who sent it, and where no name
        is asked for: at an app's hostname the enclave's other settings are not told.
        """
        transport = connect(self.address, None, [http.ALPN], max(deadline - monotonic(), 0.001))
        try:
            transport.limit(deadline)
            connection = Http(transport, self.address[0])
            if self.policy.app_roots is not None and (leaf is None or leaf.app is None):
                return Manifest.from_json(connection.ask("GET", "/.enclave/v1/manifest")), []
            return None, [proof for name in self.policy.leaves or () if (proof := _proof(connection, name))]
        except (ValueError, RefusedError):
            # Without it the verdict says what cannot be judged.
            return None, []
        finally:
            transport.close()


def _proof(connection: Http, name: str) -> Proof | None:
    """The proof of a leaf; nothing if there is none, which the verdict tells."""
    try:
        return Proof.from_json(connection.ask("GET", f"/.enclave/v1/proofs/{percent_encoded(name, safe='')}"))
    except RefusedError:
        return None


def _quote_of(presented: Presented) -> bytes | None:
    try:
        return LeafCertificate.from_der(presented.chain[0]).quote
    except (ValueError, IndexError):
        return None


@dataclass(frozen=True)
class Attested:
    """The answer to ``attest``."""

    quote: bytes
    collateral: Collateral | None

    @classmethod
    def from_json(cls, value: Any) -> Attested:
        """Reads it; :class:`ProtocolError` if it is none."""
        try:
            quote, collateral = base64_bytes(value["quote"]), value.get("collateral")
            return cls(quote, None if collateral is None else Collateral.from_json(collateral))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ProtocolError(f"the answer to attest is malformed: {error!r}") from None
