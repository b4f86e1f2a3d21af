"""Client of Enclave OS: verify a running enclave, then call the apps in it.

>>> import enclave_os
>>> with enclave_os.connect("enclave.example.com:8443", policy="policy.toml") as client:  # doctest: +SKIP
...     client.app("notes").call("kv-store", "greeting", "hi")
'stored: greeting'

The policy says which enclave is meant; :class:`VerificationError` says what is wrong with another. Documents
and quotes are judged without a connection by :func:`judge_evidence` and :func:`judge_quote`.
"""

from .client import App, Client, connect, strongest_tier
from .collateral import Collateral
from .connection import CollateralCache
from .errors import (
    ConnectionClosed,
    ConnectionError,  # noqa: A004 - also caught as the built-in
    EnclaveOsError,
    HandshakeError,
    PolicyError,
    ProtocolError,
    RefusedError,
    StaleError,
    TierUnavailable,
    VerificationError,
)
from .evidence import EvidenceDocument
from .http import Response
from .manifest import Leaf, Manifest, Proof
from .policy import Tier, VerificationPolicy
from .values import Err, Ok, Some, Variant
from .verdict import Check, Verdict
from .verify import Presented, judge, judge_evidence, judge_quote

__all__ = [
    "App",
    "Check",
    "Client",
    "Collateral",
    "CollateralCache",
    "ConnectionClosed",
    "ConnectionError",
    "EnclaveOsError",
    "Err",
    "EvidenceDocument",
    "HandshakeError",
    "Leaf",
    "Manifest",
    "Ok",
    "PolicyError",
    "Presented",
    "Proof",
    "ProtocolError",
    "RefusedError",
    "Response",
    "Some",
    "StaleError",
    "Tier",
    "TierUnavailable",
    "Variant",
    "Verdict",
    "VerificationError",
    "VerificationPolicy",
    "connect",
    "judge",
    "judge_evidence",
    "judge_quote",
    "strongest_tier",
]
