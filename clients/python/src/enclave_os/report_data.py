"""What a quote is made over. A verifier computes it and never takes it from the peer."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256, sha512

EXPORTER_LABEL = b"EXPORTER-enclave-os-attest-v1"
"""Label of the TLS exporter of the ``channel`` tier; its context is the nonce, its length 32."""


def certificate(spki_der: bytes, not_before: datetime) -> bytes:
    """Tier ``certificate``: bound to the whole minute at which the certificate begins."""
    minute = not_before.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
    return _bound(spki_der, minute.encode())


def challenge(spki_der: bytes, nonce: bytes) -> bytes:
    """Tier ``challenge``: bound to the client's nonce."""
    return _bound(spki_der, nonce)


def channel(spki_der: bytes, nonce: bytes, exporter: bytes) -> bytes:
    """Tier ``channel``: bound to a nonce and to the TLS exporter of one connection."""
    return _bound(spki_der, nonce + exporter)


def evidence(leaf_der: bytes, manifest_root: bytes) -> bytes:
    """An evidence document: bound to the whole leaf certificate and to the configuration."""
    return sha512(b"enclave-os evidence v1" + sha256(leaf_der).digest() + manifest_root).digest()


def _bound(spki_der: bytes, binding: bytes) -> bytes:
    return sha512(sha256(spki_der).digest() + binding).digest()
