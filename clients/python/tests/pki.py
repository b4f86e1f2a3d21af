"""Certificates for tests: an authority, and leaves with any extensions."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier

from enclave_os import leaf_certificate as oid

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
DAY = timedelta(days=1)

Extensions = Mapping[str, bytes]


def extensions(apps: Sequence[tuple[str, str, bytes]] = ()) -> dict[str, bytes]:
    """Those of an enclave-wide leaf for ``(name, route prefix, code hash)``."""
    entries = b"".join(len(name).to_bytes(2, "big") + name.encode() + code for name, _, code in apps)
    found = {oid.CONFIGURATION_ROOT: bytes(32), oid.WORKLOADS_HASH: sha256(entries).digest()}
    if apps:
        found[oid.APP_NAMES] = "\n".join(name for name, _, _ in apps).encode()
        found[oid.ROUTE_PREFIXES] = "\n".join(prefix for _, prefix, _ in apps).encode()
        found[oid.CODE_HASHES] = b"".join(code for _, _, code in apps)
    return found


@dataclass
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def authority(
        cls,
        name: str,
        issuer: Self | None = None,
        *,
        ca: bool = True,
        may_sign: bool = True,
        until: datetime = NOW + 365 * DAY,
        path_length: int | None = None,
        more: Sequence[x509.ExtensionType] = (),
    ) -> Issued:
        """An authority, self-signed or under another one."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, key.public_key(), issuer.certificate if issuer else None, NOW - 365 * DAY, until)
        usage = x509.KeyUsage(
            digital_signature=not may_sign,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=may_sign,
            crl_sign=may_sign,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
        builder = builder.add_extension(usage, critical=True)
        for extension in more:
            builder = builder.add_extension(extension, critical=True)
        return cls(builder.sign(issuer.key if issuer else key, SHA256()), key)

    def leaf(
        self,
        extra: Extensions,
        names: Sequence[str] = ("localhost", "127.0.0.1"),
        not_before: datetime = NOW,
        not_after: datetime = NOW + DAY,
        of: x509.Certificate | None = None,
    ) -> Issued:
        """A leaf with these extensions; ``of``: with the public key of another certificate, whoever has it."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = of.public_key() if of else key.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        builder = _builder("Enclave OS", public, self.certificate, not_before, not_after)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        for dotted, value in extra.items():
            extension = x509.UnrecognizedExtension(ObjectIdentifier(dotted), value)
            builder = builder.add_extension(extension, critical=False)
        return Issued(builder.sign(self.key, SHA256()), key)

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def server_context(self, *above: Issued) -> ssl.SSLContext:
        """TLS with this certificate and those above it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "server.pem"
            path.write_bytes(key + self.pem + b"".join(issued.pem for issued in above))
            context.load_cert_chain(path)
        return context


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate | None,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    authority = issuer.public_key() if issuer else key
    assert isinstance(authority, ec.EllipticCurvePublicKey)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
    )
