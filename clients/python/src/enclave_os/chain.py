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

from .leaf_certificate import Names, names_of, read_certificate

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
        raise ValueError(
            "the enclave's CA certificate is missing: a chain has at least two certificates, and something between here "
            "and the enclave may have dropped it"
        )
    if len(chain) > MAX_LENGTH:
        raise ValueError(
            f"the chain is longer than {MAX_LENGTH} certificates: install fewer above the enclave's CA "
            "(`enclave-os ca install`)"
        )
    certificates = [read_certificate(der) for der in chain]
    for at, certificate in enumerate(certificates):
        try:
            _understood(certificate)
            if at == 0:
                _is_of_a_server(certificate)
                _is_for(certificate, {ExtendedKeyUsageOID.SERVER_AUTH})
            else:
                # Authorities between this one and the leaf. The last one's length binds too: nobody has declared it
                # to be an anchor (RFC 5280 §6.1.1 d).
                _is_authority(certificate, at - 1, now)
                _is_for(certificate, {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
                _allows(certificate, names)
                for below in certificates[1:at]:
                    _allows(certificate, names_of(below))
        except ValueError as error:
            raise ValueError(f"certificate {at + 1} of the chain {error}") from None
    for at, (subject, issuer) in enumerate(pairwise(certificates)):
        if not _issued(subject, issuer):
            raise ValueError(
                f"certificate {at + 1} of the chain is not signed by the next one: certificates of two enclaves or operators "
                "were mixed, or one was changed on its way"
            )
    top = certificates[-1]
    if top.issuer == top.subject and not _issued(top, top):
        raise ValueError(
            "the last certificate names itself its issuer and did not sign itself: it is not the one that its operator made"
        )


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
        raise ValueError("is one of an authority (basicConstraints), not a leaf: the leaf comes first")
    if any(extension.oid == ExtensionOID.NAME_CONSTRAINTS for extension in leaf.extensions):
        raise ValueError("has name constraints, which only an authority may have")


def _is_for(certificate: x509.Certificate, purposes: Collection[x509.ObjectIdentifier]) -> None:
    """Servers are among its purposes (RFC 5280 §4.2.1.12), or, of an authority, among those it may sign for."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not any(purpose in purposes for purpose in usage):
        raise ValueError("is not for servers (extendedKeyUsage): it has to be issued with serverAuth")


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
        raise ValueError("is not one of a CA (basicConstraints): an operator signs the enclave's request with CA:TRUE")
    if not usage.key_cert_sign:
        raise ValueError("may not sign certificates (keyUsage): it has to be issued with keyCertSign")
    if basic.path_length is not None and below > basic.path_length:
        raise ValueError(
            f"allows {basic.path_length} authorities below it and has {below} (pathLenConstraint): the operator has to issue "
            "it with a larger one, or sign the enclave's request with it directly"
        )
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not since <= now <= until:
        raise ValueError(
            f"is valid from {since:%Y-%m-%dT%H:%M:%SZ} to {until:%Y-%m-%dT%H:%M:%SZ}: have it issued anew "
            "(`enclave-os ca csr`, `ca install`), or mend the clock"
        )


def _allows(certificate: x509.Certificate, names: Names) -> None:
    """Name constraints (RFC 5280 §4.2.1.10) on DNS names and addresses."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return
    permitted, excluded = constraints.permitted_subtrees or [], constraints.excluded_subtrees or []
    if not all(isinstance(tree, (x509.DNSName, x509.IPAddress)) for tree in (*permitted, *excluded)):
        raise ValueError(
            "constrains names of another kind than DNS names and addresses (nameConstraints), which is not judged here"
        )
    for kind, own in ((x509.DNSName, names.dns), (x509.IPAddress, names.addresses)):
        allowed = [tree for tree in permitted if isinstance(tree, kind)]
        for name in own:
            if (allowed and not any(_within(name, tree) for tree in allowed)) or any(
                _within(name, tree) for tree in excluded if isinstance(tree, kind)
            ):
                raise ValueError(
                    f"may not vouch for the name {name} (nameConstraints): the operator has to allow it, or the image's "
                    "served_names have to leave it out"
                )


def _within(name: object, tree: x509.GeneralName) -> bool:
    if isinstance(tree, x509.DNSName):
        base, text = tree.value.lower(), str(name).lower()
        # With a dot in front it holds what is below it only.
        return not base or text == base or (text.endswith(f".{base.removeprefix('.')}"))
    return name in tree.value
