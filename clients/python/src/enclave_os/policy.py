"""The verification policy: what a verifier accepts. One TOML file, the same in every language.

The format is in ``docs/formats/policy.md``. Unknown keys are errors, and an empty policy accepts nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from .encoding import Members, timestamp
from .errors import PolicyError

INTEL_ROOT = bytes.fromhex("44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3")
"""SHA-256 of the certificate (DER) of Intel's SGX Root CA."""

STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)
"""TCB statuses a policy may accept. ``Revoked`` is none of them."""


_KEY_SOURCE = re.compile(r"generated|byok(:[0-9a-f]{16})?")


class Tier(IntEnum):
    """How fresh evidence is; each tier proves what those below it prove (PROTOCOL, "Certificates")."""

    CERTIFICATE = 0
    """The certificate as served: as old as the host's clock lets it look."""
    CHALLENGE = 1
    """A certificate that was made for this client's nonce."""
    CHANNEL = 2
    """A quote that is bound to the keys of this very connection."""

    @property
    def text(self) -> str:
        """As policies and verdicts write it."""
        return self.name.lower()


@dataclass(frozen=True)
class VerificationPolicy:
    """A policy that was read. Make one with :meth:`from_toml` or :meth:`from_file`."""

    roots: frozenset[bytes]
    """SHA-256 of the accepted root certificates: Intel's alone, or development roots.

    Intel's is never among the latter, not even where a policy lists its fingerprint so.
    """
    mrenclave: frozenset[bytes] | None
    mrsigner: frozenset[bytes] | None
    isv_prod_id: int | None
    min_isv_svn: int | None
    allow_debug: bool = False
    statuses: Mapping[str, datetime | None] = field(default_factory=lambda: {"UpToDate": None})
    """Accepted TCB statuses, each with the end of its grace period."""
    advisories: Mapping[str, datetime | None] = field(default_factory=dict)
    """Accepted advisories, each with the end of its grace period."""
    min_tier: Tier = Tier.CHALLENGE
    max_age_seconds: int = 86_400
    """The oldest certificate, where its age says something: tier ``certificate`` and documents."""
    app: str | None = None
    code_hashes: frozenset[bytes] | None = None
    key_source: str | None = None
    configuration_roots: frozenset[bytes] | None = None
    app_roots: frozenset[bytes] | None = None
    leaves: Mapping[str, frozenset[bytes]] | None = None
    """Leaf name to accepted hashes of its value."""
    ppids: frozenset[bytes] | None = None
    operator_ca: frozenset[bytes] | None = None

    @classmethod
    def from_file(cls, path: str | Path) -> VerificationPolicy:
        """Reads a policy file; :class:`PolicyError` if it is none."""
        try:
            text = Path(path).read_text("utf-8")
        except UnicodeDecodeError as error:
            raise PolicyError(f"{path}: not UTF-8: {error}") from None
        return cls.from_toml(text)

    @classmethod
    def from_toml(cls, text: str) -> VerificationPolicy:
        """Reads a policy; :class:`PolicyError` says what is wrong with it."""
        try:
            return _policy(Members(tomllib.loads(text), "the policy"))
        except (ValueError, RecursionError) as error:
            raise PolicyError(f"the policy cannot be used: {error}") from None


def _policy(members: Members) -> VerificationPolicy:
    members.integer("format", 1, 1)
    settings: dict[str, Any] = {"roots": _roots(Members(members.take("roots"), "[roots]"))}
    settings |= _enclave(Members(members.take("enclave"), "[enclave]"))
    for name, reader in _OPTIONAL.items():
        if name in members:
            settings |= reader(Members(members.take(name), f"[{name}]"))
    members.end()
    return VerificationPolicy(**settings)


def _roots(members: Members) -> frozenset[bytes]:
    intel = "intel" in members and members.boolean("intel")
    if intel == ("development" in members):
        raise ValueError("[roots] needs exactly one of `intel = true` and `development`, and never both")
    roots = frozenset((INTEL_ROOT,)) if intel else members.hashes("development", 32) - {INTEL_ROOT}
    members.end()
    return roots


def _enclave(members: Members) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(("mrenclave", "mrsigner", "isv_prod_id", "min_isv_svn"))
    for name in ("mrenclave", "mrsigner"):
        if name in members:
            found[name] = members.hashes(name, 32)
    for name in ("isv_prod_id", "min_isv_svn"):
        if name in members:
            found[name] = members.integer(name, 0, 0xFFFF)
    if "allow_debug" in members:
        found["allow_debug"] = members.boolean("allow_debug")
    members.end()
    signer = [found[name] is not None for name in ("mrsigner", "isv_prod_id", "min_isv_svn")]
    if any(signer) and not all(signer):
        raise ValueError("`mrsigner`, `isv_prod_id` and `min_isv_svn` in [enclave] belong together")
    if found["mrenclave"] is None and not any(signer):
        raise ValueError("[enclave] names neither `mrenclave` nor `mrsigner`, so nothing could pass it")
    return found


def _tcb(members: Members) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "statuses" in members:
        statuses = _graces(members.items("statuses"), "status")
        if not statuses:
            raise ValueError("`statuses` in [tcb] is empty, and nothing could pass it")
        for status in statuses:
            if status == "Revoked":
                raise ValueError("`statuses` in [tcb]: a revoked platform is never accepted")
            if status not in STATUSES:
                raise ValueError(f"`statuses` in [tcb]: {status!r} is not one of {', '.join(STATUSES)}")
        found["statuses"] = statuses
    if "advisories" in members:
        found["advisories"] = _graces(members.items("advisories"), "advisory")
    members.end()
    return found


def _graces(items: list[Any], key: str) -> dict[str, datetime | None]:
    """Each item is a word, or a table of the word and ``until``."""
    found: dict[str, datetime | None] = {}
    for item in items:
        until = None
        if isinstance(item, str):
            word = item
        else:
            members = Members(item, f"[tcb] ({key})")
            word, until = members.text(key), timestamp(members.text("until"))
            members.end()
        # Listed twice, the longer grace counts.
        before = found.get(word, until)
        found[word] = None if until is None or before is None else max(until, before)
    return found


def _freshness(members: Members) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "min_tier" in members:
        tiers = {tier.text: tier for tier in Tier}
        word = members.text("min_tier")
        if word not in tiers:
            raise ValueError(f"`min_tier` in [freshness] is one of {', '.join(tiers)}, not {word!r}")
        found["min_tier"] = tiers[word]
    if "max_age_seconds" in members:
        found["max_age_seconds"] = members.integer("max_age_seconds", 0, (1 << 63) - 1)
    members.end()
    return found


def _app(members: Members) -> dict[str, Any]:
    found: dict[str, Any] = {"app": members.text("name")}
    if "code_hashes" in members:
        found["code_hashes"] = members.hashes("code_hashes", 32)
    if "key_source" in members:
        found["key_source"] = members.text("key_source")
        if not _KEY_SOURCE.fullmatch(found["key_source"]):
            raise ValueError('`key_source` in [app] is "generated", "byok", or "byok:" and 16 hexadecimal digits')
    members.end()
    return found


def _configuration(members: Members) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, key in (("root", "configuration_roots"), ("app_root", "app_roots")):
        if name in members:
            found[key] = members.hashes(name, 32)
    if "leaves" in members:
        leaves = members.take("leaves")
        table = Members(leaves, "[configuration.leaves]")
        found["leaves"] = {name: table.hashes(name, 32) for name in leaves}
    members.end()
    if not any(found.values()):
        raise ValueError("[configuration] says nothing: leave the table out or name what is accepted")
    return found


def _platform(members: Members) -> dict[str, Any]:
    found = {"ppids": members.hashes("ppids", 16)}
    members.end()
    return found


def _authority(members: Members) -> dict[str, Any]:
    found = {"operator_ca": members.hashes("operator_ca", 32)}
    members.end()
    return found


_OPTIONAL = {
    "tcb": _tcb,
    "freshness": _freshness,
    "app": _app,
    "configuration": _configuration,
    "platform": _platform,
    "authority": _authority,
}
