"""What a leaf certificate claims: its extensions, read strictly.

Reading is not verifying. The quote binds the key of the certificate; the signature of the enclave CA covers
the extensions. The table of extensions is in ``docs/formats/certificates.md``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning

ARC = "1.3.6.1.4.1.65230."
QUOTE = "1.2.840.113741.1.13.1.0"
CONFIGURATION_ROOT = ARC + "1.1"
APP_NAMES = ARC + "2.1"
ROUTE_PREFIXES = ARC + "2.2"
CODE_HASHES = ARC + "2.3"
WORKLOADS_HASH = ARC + "2.5"
APP_CONFIGURATION_ROOT = ARC + "3.1"
APP_CODE_HASH = ARC + "3.2"
APP_KEY_SOURCE = ARC + "3.4"

_KNOWN = {
    QUOTE,
    CONFIGURATION_ROOT,
    APP_NAMES,
    ROUTE_PREFIXES,
    CODE_HASHES,
    WORKLOADS_HASH,
    APP_CONFIGURATION_ROOT,
    APP_CODE_HASH,
    APP_KEY_SOURCE,
}
_LONGEST_NAME = 63
_PRINTABLE = re.compile(rb"[\x21-\x7e\n]*")
_KEY_SOURCE = re.compile(r"generated|byok:[0-9a-f]{16}")


@dataclass(frozen=True)
class AppClaim:
    """One app as the certificate names it."""

    name: str
    route_prefix: str
    """Where its routes begin."""
    code_hash: bytes
    """SHA-256 of the bytes that were loaded."""


@dataclass(frozen=True)
class AppLeaf:
    """What a certificate of one app says beyond :class:`AppClaim`."""

    configuration_root: bytes
    """Root of the app's own configuration tree."""
    key_source: str
    """``generated``, or ``byok:`` and 16 hexadecimal digits."""


@dataclass(frozen=True)
class Names:
    """Subject alternative names."""

    dns: tuple[str, ...]
    """In lower case."""
    addresses: tuple[IPv4Address | IPv6Address, ...]

    def __str__(self) -> str:
        return ", ".join((*self.dns, *map(str, self.addresses))) or "none"


@dataclass(frozen=True)
class LeafCertificate:
    """The claims of a leaf."""

    der: bytes
    spki_der: bytes
    """SubjectPublicKeyInfo of the leaf key."""
    not_before: datetime
    """Start of validity, which a quote without a nonce is bound to."""
    not_after: datetime
    names: Names
    """Whom it is for."""
    quote: bytes | None
    """The quote, if the enclave had one made."""
    configuration_root: bytes
    workloads_hash: bytes
    """Combined hash of all apps in the enclave."""
    apps: tuple[AppClaim, ...]
    """The apps this certificate is for: all of them, or the one whose hostname was asked for."""
    app: AppLeaf | None
    """Only in a certificate of one app."""

    @classmethod
    def from_der(cls, der: bytes) -> LeafCertificate:
        """Reads a leaf; ``ValueError`` on anything that the format does not allow."""
        certificate = read_certificate(der)
        found = _extensions(certificate)
        configuration_root = _hash(found, CONFIGURATION_ROOT)
        workloads_hash = _hash(found, WORKLOADS_HASH)
        apps = _apps(found)
        app = _app(found)
        if app is not None:
            if len(apps) != 1:
                raise _malformed(APP_NAMES, "one app in a certificate of one app")
            if _hash(found, APP_CODE_HASH) != apps[0].code_hash:
                raise _malformed(APP_CODE_HASH, "the same code hash as in .2.3")
        elif _workloads_hash(apps) != workloads_hash:
            raise _malformed(WORKLOADS_HASH, "the hash over the apps of this certificate")
        return cls(
            der=der,
            spki_der=_spki(certificate),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            names=names_of(certificate),
            quote=found.get(QUOTE),
            configuration_root=configuration_root,
            workloads_hash=workloads_hash,
            apps=apps,
            app=app,
        )

    def is_for(self, server_name: str) -> bool:
        """Whether a name or an address is among those of the certificate. There are no wildcards."""
        try:
            return ip_address(server_name) in self.names.addresses
        except ValueError:
            return server_name.lower() in self.names.dns

    def claim(self, app: str) -> AppClaim | None:
        """What it says of the app of that name."""
        return next((claim for claim in self.apps if claim.name == app), None)


def read_certificate(der: bytes) -> x509.Certificate:
    """A certificate whose extensions can be read; ``ValueError`` otherwise, also where one occurs twice."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.extensions, certificate.subject, certificate.issuer
    except (
        CryptographyDeprecationWarning,  # where a program makes errors of warnings
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        x509.InvalidVersion,
    ) as error:
        raise ValueError(str(error)) from None
    if certificate.serial_number <= 0:
        raise ValueError("a serial number that is not positive (RFC 5280 §4.1.2.2)")
    # A signature is whole bytes; the count of unused bits stands before it and is covered by nothing.
    if not der.endswith(b"\0" + certificate.signature):
        raise ValueError("a signature that is not whole bytes")
    return certificate


def _spki(certificate: x509.Certificate) -> bytes:
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm as error:
        raise ValueError(f"a key of an unknown kind: {error}") from None
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # The library encodes it anew; the hash has to be over the bytes that the certificate has.
    if spki not in certificate.tbs_certificate_bytes:
        raise ValueError("a public key that is not in the one usual encoding")
    return spki


def _extensions(certificate: x509.Certificate) -> dict[str, bytes]:
    found = {}
    for extension in certificate.extensions:
        oid = extension.oid.dotted_string
        if oid in _KNOWN:
            if not isinstance(extension.value, x509.UnrecognizedExtension):
                raise ValueError(f"extension {oid} was not read as plain bytes")
            found[oid] = extension.value.value
        elif f"{oid}.".startswith(ARC):
            raise ValueError(f"extension {oid} is unknown to this version")
    return found


def names_of(certificate: x509.Certificate) -> Names:
    """The names of any certificate."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Names((), ())
    addresses = names.get_values_for_type(x509.IPAddress)
    return Names(
        tuple(name.lower() for name in names.get_values_for_type(x509.DNSName)),
        tuple(address for address in addresses if isinstance(address, (IPv4Address, IPv6Address))),
    )


def _require(found: dict[str, bytes], oid: str) -> bytes:
    if oid not in found:
        raise ValueError(f"no extension {oid}: this is not a certificate of an enclave of this system")
    return found[oid]


def _hash(found: dict[str, bytes], oid: str) -> bytes:
    value = _require(found, oid)
    if len(value) != 32:
        raise _malformed(oid, "32 bytes")
    return value


def _text(found: dict[str, bytes], oid: str) -> str:
    value = _require(found, oid)
    if not _PRINTABLE.fullmatch(value):
        raise _malformed(oid, "printable ASCII")
    return value.decode("ascii")


def _apps(found: dict[str, bytes]) -> tuple[AppClaim, ...]:
    if not {APP_NAMES, ROUTE_PREFIXES, CODE_HASHES} & found.keys():
        return ()
    names = _text(found, APP_NAMES).split("\n")
    prefixes = _text(found, ROUTE_PREFIXES).split("\n")
    hashes = _require(found, CODE_HASHES)
    if len(hashes) != 32 * len(names):
        raise _malformed(CODE_HASHES, "32 bytes for each app")
    if len(prefixes) != len(names):
        raise _malformed(ROUTE_PREFIXES, "one line for each app")
    if "" in names or any(a >= b for a, b in pairwise(names)):
        raise _malformed(APP_NAMES, "names in order, each once")
    if any(len(name) > _LONGEST_NAME for name in names):
        raise _malformed(APP_NAMES, f"names of at most {_LONGEST_NAME} bytes")
    chunks = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
    return tuple(AppClaim(*claim) for claim in zip(names, prefixes, chunks, strict=True))


def _app(found: dict[str, bytes]) -> AppLeaf | None:
    if not {APP_CONFIGURATION_ROOT, APP_CODE_HASH, APP_KEY_SOURCE} & found.keys():
        return None
    key_source = _text(found, APP_KEY_SOURCE)
    if not _KEY_SOURCE.fullmatch(key_source):
        raise _malformed(APP_KEY_SOURCE, "`generated`, or `byok:` and 16 hexadecimal digits")
    return AppLeaf(_hash(found, APP_CONFIGURATION_ROOT), key_source)


def _workloads_hash(apps: tuple[AppClaim, ...]) -> bytes:
    entries = [len(app.name).to_bytes(2, "big") + app.name.encode() + app.code_hash for app in apps]
    return sha256(b"".join(entries)).digest()


def _malformed(oid: str, rule: str) -> ValueError:
    return ValueError(f"extension {oid} is malformed: {rule}")
