"""DCAP verification of a quote, by the PyPI package ``dcap-qvl``.

It verifies the chain of the platform under the given root, both revocation lists, the signatures and the
dates of the collateral, the identity of the quoting enclave, both signatures of the quote, and finds the
TCB level. A revoked level is an error. What level is good enough is for the policy to say.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime
from importlib import metadata
from typing import Any

import dcap_qvl
from cryptography import x509

from . import pem
from .collateral import Collateral
from .quote import Quote

# The package refuses every debug enclave, which here is a check of its own that a policy can answer. In
# these versions that refusal is the very last step, so it says that everything before it has passed. With any
# other version a debug enclave fails, whatever the policy allows.
_DEBUG_IS_LAST = {"0.7.0"}
_DEBUG_REFUSAL = "Verification failed: Debug mode is enabled"


@dataclass(frozen=True)
class Platform:
    """What a verified quote says of the platform."""

    status: str
    """TCB status of the platform and the quoting enclave together, in Intel's words."""
    advisories: tuple[str, ...]
    fmspc: bytes
    ppid: bytes
    """Of the PCK certificate: which platform instance it is."""


def verify(quote: Quote, collateral: Collateral, now: datetime) -> Platform:
    """Verifies a quote under the root its chain ends in; ``ValueError`` says what does not hold.

    Whether that root is anybody's is for the caller to say.
    """
    seconds = int(now.timestamp())
    if seconds < 0:
        raise ValueError("the time to verify at is before 1970")
    _check(quote, collateral)
    _check_begun(collateral, now)
    try:
        return _verified(quote, collateral, seconds)
    except ValueError:
        raise
    except BaseException as error:
        # A panic of the library over hostile bytes arrives as an exception outside of all others.
        if type(error).__name__ == "PanicException":
            raise ValueError(f"the quote library gave up: {error}") from None
        raise


def _verified(quote: Quote, collateral: Collateral, seconds: int) -> Platform:
    verifier, library_form = dcap_qvl.QuoteVerifier(quote.root), _library_form(collateral)
    policy = dcap_qvl.QuotePolicy.claims_only(seconds)
    try:
        claims = json.loads(verifier.verify_with_policy(quote.raw, library_form, seconds, policy).to_json())
        status, advisories = claims["tcb"]["status"], claims["tcb"]["advisory_ids"]
    except ValueError as error:
        if str(error) != _DEBUG_REFUSAL or metadata.version("dcap-qvl") not in _DEBUG_IS_LAST:
            raise ValueError(_reason(quote, library_form, seconds) or str(error)) from None
        status, advisories = _level(quote, collateral)
    pck = dcap_qvl.parse_pck_extension_from_pem(quote.pck_chain_pem)
    named = json.loads(collateral.tcb_info).get("pceId")
    if not isinstance(named, str) or named.lower() != bytes(pck.pce_id).hex():
        raise ValueError("the TCB info is of another provisioning enclave (PCEID)")
    return Platform(status, tuple(advisories), bytes(pck.fmspc), bytes(pck.ppid))


def _check(quote: Quote, collateral: Collateral) -> None:
    """What the library passes over: what stands in an issuer chain beside the signer that it takes.

    With the root alone above it, a signer can only be one that the root issued itself.
    """
    for name, signer in (("pck_crl", quote.pck_ca), ("tcb_info", None), ("qe_identity", None)):
        first, last = pem.certificates(getattr(collateral, f"{name}_issuer_chain").encode(), 2)
        if last != quote.root or signer not in (None, first):
            raise ValueError(f"`{name}_issuer_chain` of the collateral is not that of its signer and the quote's root")
    for name in ("tcb_info_signature", "qe_identity_signature"):
        if len(getattr(collateral, name)) != 64:
            raise ValueError(f"`{name}` of the collateral is not 64 bytes long")


def _check_begun(collateral: Collateral, now: datetime) -> None:
    """Neither list of revocations is of the future (RFC 5280 §5.1.2.4). The library looks at their ends only."""
    for whose, der in (("root", collateral.root_ca_crl), ("PCK CA", collateral.pck_crl)):
        try:
            begins = x509.load_der_x509_crl(der).last_update_utc
        except ValueError:
            continue  # the library says what is wrong with it
        if now < begins:
            raise ValueError(f"the CRL of the {whose} is not valid yet")


def hint(reason: str) -> str:
    """What a library's words mean for whoever has to act."""
    said = reason.lower()
    if "certrevoked" in said or "cert revoked" in said:
        return (
            "; a certificate of the platform, or of who signed its collateral, was revoked: fetch the collateral anew, and "
            "if it stays so, move the enclave to another machine"
        )
    if "revoked" in said:
        return (
            "; Intel no longer trusts platforms at this TCB level: update firmware and microcode and register the platform "
            "anew, or move the enclave to another machine"
        )
    if any(word in said for word in ("expired", "not valid yet", "notvalidyet", "future")):
        return "; fetch the collateral anew, or mend the clock"
    if any(word in said for word in ("no matching tcb level", "fmspc", "pceid")):
        return (
            "; the collateral is of another kind of platform, or the platform is older than anything still appraised: "
            "update its firmware"
        )
    return ""


def _library_form(collateral: Collateral) -> Any:
    return dcap_qvl.QuoteCollateralV3(**{field.name: getattr(collateral, field.name) for field in fields(collateral)})


def _reason(quote: Quote, library_form: Any, seconds: int) -> str:
    """The library's words with their causes, which only its other entry tells."""
    try:
        dcap_qvl.verify_with_root_ca(quote.raw, library_form, quote.root, seconds)
    except ValueError as error:
        return " ".join(str(error).partition("Stack backtrace")[0].split())
    return ""


def fmspc_of(quote: Quote) -> bytes:
    """The kind of platform a quote claims to be from; ``ValueError`` if its certificate does not say."""
    return bytes(dcap_qvl.parse_pck_extension_from_pem(quote.pck_chain_pem).fmspc)


def _level(quote: Quote, collateral: Collateral) -> tuple[str, list[str]]:
    """The level of a debug enclave's platform, from collateral that has been verified."""
    pck = dcap_qvl.parse_pck_extension_from_pem(quote.pck_chain_pem)
    levels: list[dict[str, Any]] = json.loads(collateral.tcb_info)["tcbLevels"]
    needed = [([c["svn"] for c in x["tcb"]["sgxtcbcomponents"]], x["tcb"]["pcesvn"]) for x in levels]
    order = sorted(range(len(levels)), key=lambda at: needed[at], reverse=True)
    reached = (
        levels[at]
        for at in order
        if pck.pce_svn >= needed[at][1] and all(a >= b for a, b in zip(pck.cpu_svn, needed[at][0], strict=True))
    )
    platform = next(reached)
    qe_levels: list[dict[str, Any]] = json.loads(collateral.qe_identity)["tcbLevels"]
    qe = next(level for level in qe_levels if quote.qe_report.isv_svn >= level["tcb"]["isvsvn"])
    advisories = [*platform.get("advisoryIDs", ()), *qe.get("advisoryIDs", ())]
    status = platform["tcbStatus"]
    if qe["tcbStatus"] == "OutOfDate":
        status = _OUT_OF_DATE.get(status, status)
    return status, list(dict.fromkeys(advisories))


# What becomes of the platform's status under a quoting enclave that is out of date (Intel's QVL).
_OUT_OF_DATE = {
    "UpToDate": "OutOfDate",
    "SWHardeningNeeded": "OutOfDate",
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
}
