"""What Intel (or a development PKI) says of platforms: revocation lists, TCB levels, the quoting enclave."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from .encoding import Members, hex_bytes, json_value

MAX_BYTES = 64 * 1024
"""The largest collateral document."""

_HEX = {"root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"}


@dataclass(frozen=True)
class Collateral:
    """The collateral of one platform. Signed by others; reading it verifies nothing."""

    pck_crl_issuer_chain: str
    tcb_info_issuer_chain: str
    qe_identity_issuer_chain: str
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info: str
    """The exact text that is signed."""
    qe_identity: str
    """The exact text that is signed."""
    tcb_info_signature: bytes
    qe_identity_signature: bytes

    @classmethod
    def from_json(cls, value: object) -> Collateral:
        """Reads the document: its text, or its parsed JSON; ``ValueError`` if it is none."""
        if isinstance(value, (str, bytes)):
            if len(value) > MAX_BYTES:
                raise ValueError(f"collateral of more than {MAX_BYTES} bytes")
            value = json_value(value)
        members = Members(value, "the collateral")
        found: dict[str, Any] = {}
        for name in (field.name for field in fields(cls)):
            text = members.text(name)
            found[name] = hex_bytes(text) if name in _HEX else text
        members.end()
        return cls(**found)

    def to_json(self) -> dict[str, str]:
        """The document."""
        members = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.hex() if name in _HEX else value for name, value in members.items()}

    def to_text(self) -> str:
        """The document as text."""
        return json.dumps(self.to_json())
