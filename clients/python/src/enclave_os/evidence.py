"""The evidence document: everything a verifier needs without a connection. ``docs/schemas/evidence.json``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .collateral import Collateral
from .encoding import Members, base64_bytes, hex_bytes, json_value, timestamp
from .manifest import Manifest, Proof

MAX_BYTES = 8 * 1024 * 1024
"""The longest document."""
CA_LEAF = "core.ca_cert"
"""The leaf of the configuration that is the certificate of the enclave's CA (DER)."""
MAX_GENERATIONS = 64
"""How many generations a document tells of at most."""


@dataclass(frozen=True)
class Generation:
    """One state of the configuration since the enclave started."""

    number: int
    configuration_root: bytes
    since: datetime
    """By the enclave's clock, which is the host's claim."""
    changed: tuple[str, ...]
    """``app.<name>`` or ``core``."""


@dataclass(frozen=True)
class Interop:
    """Evidence for verifiers of the CCC and TCG convention (OID 2.23.133.5.4.9)."""

    quote: bytes
    claims: bytes
    """CBOR."""


@dataclass(frozen=True)
class EvidenceDocument:
    """A document that has the right shape. Nothing of it is verified."""

    certificate_chain: tuple[bytes, ...]
    certificate_quote: bytes | None
    """As in the leaf's extension."""
    evidence_quote: bytes | None
    """The quote over the leaf and the manifest; ``None`` if the enclave could get none."""
    collateral: Collateral | None
    manifest: Manifest
    ca_proof: Proof
    """That the leaf :data:`CA_LEAF` is under the root of the enclave's tree (``.1.1``)."""
    generations: tuple[Generation, ...]
    """Oldest first."""
    issued: datetime
    interop: Interop | None = None

    @classmethod
    def from_json(cls, value: object) -> EvidenceDocument:
        """Reads the document: its text, or its parsed JSON; ``ValueError`` if it is none."""
        if isinstance(value, (str, bytes)):
            if len(value) > MAX_BYTES:
                raise ValueError(f"an evidence document of more than {MAX_BYTES} bytes")
            value = json_value(value)
        members = Members(value, "the evidence document")
        members.integer("format", 1, 1)
        chain = tuple(base64_bytes(text) for text in members.strings("certificate_chain"))
        quotes = [members.take(name) for name in ("certificate_quote", "evidence_quote")]
        if not all(quote is None or isinstance(quote, str) for quote in quotes):
            raise ValueError("a quote of the evidence document is neither a string nor null")
        certificate_quote, evidence_quote = (None if quote is None else base64_bytes(quote) for quote in quotes)
        collateral = members.take("collateral")
        document = cls(
            certificate_chain=chain,
            certificate_quote=certificate_quote,
            evidence_quote=evidence_quote,
            collateral=None if collateral is None else Collateral.from_json(collateral),
            manifest=Manifest.from_json(members.take("manifest")),
            ca_proof=Proof.from_json(members.take("ca_proof")),
            generations=tuple(_generation(item) for item in members.items("generations")),
            issued=timestamp(members.text("issued")),
            interop=_interop(members.take("interop")) if "interop" in members else None,
        )
        members.end()
        if not chain:
            raise ValueError("the evidence document has an empty certificate chain")
        numbers = [generation.number for generation in document.generations]
        if len(numbers) > MAX_GENERATIONS or numbers != sorted(set(numbers)):
            raise ValueError(f"the generations of an evidence document are at most {MAX_GENERATIONS}, oldest first")
        return document


def _generation(value: object) -> Generation:
    members = Members(value, "a generation")
    generation = Generation(
        members.integer("generation", 0, (1 << 64) - 1),
        hex_bytes(members.text("configuration_root"), 32),
        timestamp(members.text("since")),
        tuple(members.strings("changed")),
    )
    members.end()
    return generation


def _interop(value: object) -> Interop:
    members = Members(value, "`interop`")
    interop = Interop(base64_bytes(members.text("quote")), base64_bytes(members.text("claims")))
    members.end()
    return interop
