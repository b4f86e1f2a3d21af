"""What can go wrong, each with its own exception."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .verdict import Verdict


class EnclaveOsError(Exception):
    """The root of all exceptions of this package."""


class PolicyError(EnclaveOsError, ValueError):
    """A policy file is not one. The message names the key."""


class VerificationError(EnclaveOsError):
    """The peer is not what the policy demands. Nothing was sent to it."""

    def __init__(self, verdict: Verdict) -> None:
        failures = "; ".join(f"{check.check}: {check.message}" for check in verdict.failed)
        super().__init__(f"verification failed: {failures}")
        self.verdict = verdict
        """Every check with what was found."""


class RefusedError(EnclaveOsError):
    """The enclave understood the request and refused it."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        """A stable word: ``unknown-app``, ``bad-params``, ``attestation-stale``…"""
        self.message = message
        """What is wrong and how to mend it."""
        self.status = status
        """The HTTP status, if it was an HTTP request."""


class StaleError(RefusedError):
    """``attestation-stale``: what was verified has changed since, and no app saw the request.

    Connect again, which verifies again.
    """


class ConnectionError(EnclaveOsError, builtins.ConnectionError):  # noqa: A001 - also caught as the built-in
    """The connection could not be made, or broke."""


class HandshakeError(ConnectionError):
    """TCP connected and TLS did not: an enclave that has no fresh quote to give refuses the challenge tier so."""


class ConnectionClosed(ConnectionError):
    """The peer ended the connection before its answer was complete."""


class ProtocolError(ConnectionError):
    """The peer answered with something the protocol does not have."""


class TierUnavailable(ConnectionError):
    """The policy demands a tier that this installation or this server cannot give."""
