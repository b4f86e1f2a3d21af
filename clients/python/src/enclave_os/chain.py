"""The chain of certificates: leaf, enclave CA, then what the operator installed above it (RFC 5280 §6.1).

It does not have to end in anything trusted: the quote says whose key the leaf has, and an operator that
matters is named by the policy. What holds the extensions of the leaf together is the enclave CA's signature.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from .leaf_certificate import Names, read_certificate

MAX_LENGTH = 9
"""A leaf, the enclave CA, and what an operator may install above it."""

_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.NAME_CONSTRAINTS,
}


def verify(chain: Sequence[bytes], names: Names, now: datetime) -> None:
    """Verifies every link above a leaf with these names; ``ValueError`` says which one does not hold.

    The validity of the leaf itself is a check of its own.
    """
    if len(chain) < 2:
        raise ValueError("the chain needs at least the leaf and the enclave CA that signed it")
    if len(chain) > MAX_LENGTH:
        raise ValueError(f"the chain is longer than {MAX_LENGTH} certificates")
    certificates = [read_certificate(der) for der in chain]
    for at, certificate in enumerate(certificates):
        try:
            _understood(certificate)
            if at == 0:
                _is_of_a_server(certificate)
                _is_for(certificate, {ExtendedKeyUsageOID.SERVER_AUTH})
            else:
                # Authorities between this one and the leaf. The last one is where trust would begin, and its
                # own length does not bind (RFC 5280 §6.1.1 d).
                below = at - 1 if at < len(certificates) - 1 else 0
                _is_authority(certificate, below, now)
                _is_for(certificate, {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
                _allows(certificate, names)
        except ValueError as error:
            raise ValueError(f"certificate {at + 1} of the chain {error}") from None
    for at, (subject, issuer) in enumerate(pairwise(certificates)):
        if not _issued(subject, issuer):
            raise ValueError(f"certificate {at + 1} of the chain is not signed by the next one")
    top = certificates[-1]
    if top.issuer == top.subject and not _issued(top, top):
        raise ValueError("the last certificate names itself its issuer and did not sign itself")


def _issued(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _understood(certificate: x509.Certificate) -> None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise ValueError(f"has the critical extension {extension.oid.dotted_string}, which is not understood")


def _is_of_a_server(leaf: x509.Certificate) -> None:
    if _is_ca(leaf):
        raise ValueError("is one of an authority (basicConstraints)")


def _is_for(certificate: x509.Certificate, purposes: Collection[x509.ObjectIdentifier]) -> None:
    """Servers are among its purposes (RFC 5280 §4.2.1.12), or, of an authority, among those it may sign for."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not any(purpose in purposes for purpose in usage):
        raise ValueError("is not for servers (extendedKeyUsage)")


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _is_authority(certificate: x509.Certificate, below: int, now: datetime) -> None:
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise ValueError(f"is no authority: {error}") from None
    if not basic.ca:
        raise ValueError("is not one of an authority (basicConstraints)")
    if not usage.key_cert_sign:
        raise ValueError("may not sign certificates (keyUsage)")
    if basic.path_length is not None and below > basic.path_length:
        raise ValueError("has too many authorities below it (pathLenConstraint)")
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not since <= now <= until:
        raise ValueError(f"is valid from {since:%Y-%m-%dT%H:%M:%SZ} to {until:%Y-%m-%dT%H:%M:%SZ}, which is not now")


def _allows(certificate: x509.Certificate, names: Names) -> None:
    """Name constraints (RFC 5280 §4.2.1.10) on DNS names and addresses."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return
    permitted, excluded = constraints.permitted_subtrees or [], constraints.excluded_subtrees or []
    if not all(isinstance(tree, (x509.DNSName, x509.IPAddress)) for tree in (*permitted, *excluded)):
        raise ValueError("has name constraints of a kind that is not understood")
    for kind, own in ((x509.DNSName, names.dns), (x509.IPAddress, names.addresses)):
        allowed = [tree for tree in permitted if isinstance(tree, kind)]
        for name in own:
            if (allowed and not any(_within(name, tree) for tree in allowed)) or any(
                _within(name, tree) for tree in excluded if isinstance(tree, kind)
            ):
                raise ValueError(f"does not allow the name {name} (nameConstraints)")


def _within(name: object, tree: x509.GeneralName) -> bool:
    if isinstance(tree, x509.DNSName):
        base = tree.value.lower().removeprefix(".")
        return not base or name == base or str(name).endswith(f".{base}")
    return name in tree.value
