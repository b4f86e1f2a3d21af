"""What a verification found: every check with pass or fail. ``docs/schemas/verdict.json`` is its schema."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .encoding import timestamp_text
from .leaf_certificate import AppClaim, AppLeaf, LeafCertificate
from .policy import Tier


@dataclass(frozen=True)
class Check:
    """One question and its answer."""

    check: str
    """The id, the same in every language."""
    passed: bool
    found: str
    """The value that was seen."""
    wanted: str | None = None
    """What would have passed, where that can be said."""
    message: str | None = None
    """Of a failure: the sentence a person needs."""

    def to_json(self) -> dict[str, Any]:
        """As the schema has it."""
        members = {"check": self.check, "passed": self.passed, "found": self.found}
        members |= {"wanted": self.wanted, "message": self.message}
        return {name: value for name, value in members.items() if value is not None}


@dataclass
class Verdict:
    """The result of a verification."""

    tier: Tier | None
    """The tier of the evidence that was judged; none of a quote alone, and where policy or document do not parse."""
    checks: list[Check] = field(default_factory=list)
    """In the order in which they were made. One that could not be judged is left out."""
    enclave: dict[str, Any] | None = None
    """Measurements, from a quote that verified."""
    tcb: dict[str, Any] | None = None
    """Status, advisories and platform, from a quote that verified."""
    leaf: LeafCertificate | None = None
    """The certificate, if it could be read."""

    @property
    def accepted(self) -> bool:
        """Whether every check was made and passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failed(self) -> list[Check]:
        """The checks that failed, in order."""
        return [check for check in self.checks if not check.passed]

    def to_json(self) -> dict[str, Any]:
        """As the schema has it."""
        leaf = self.leaf
        return {
            "accepted": self.accepted,
            "tier": None if self.tier is None else self.tier.text,
            "checks": [check.to_json() for check in self.checks],
            "enclave": self.enclave,
            "tcb": self.tcb,
            "apps": [_app(claim, leaf.app) for claim in leaf.apps] if leaf else [],
            "configuration_root": leaf.configuration_root.hex() if leaf else None,
            "not_before": timestamp_text(leaf.not_before) if leaf else None,
            "not_after": timestamp_text(leaf.not_after) if leaf else None,
        }


def _app(claim: AppClaim, own: AppLeaf | None) -> dict[str, str]:
    members = {"name": claim.name, "route_prefix": claim.route_prefix, "code_hash": claim.code_hash.hex()}
    if own is not None:
        members |= {"configuration_root": own.configuration_root.hex(), "key_source": own.key_source}
    return members
