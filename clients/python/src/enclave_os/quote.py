"""DCAP ECDSA quotes, version 3: parsing only. :mod:`enclave_os.dcap` verifies them.

Offsets are those of Intel's "SGX ECDSA Quote Library API", appendix A.4. All integers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from . import pem

MAX_BYTES = 16 * 1024
"""The longest quote; a genuine one has about 5,000 bytes."""

_HEADER = 48
_BODY = 384
_SIGNED = _HEADER + _BODY
_QE_REPORT = _SIGNED + 4 + 64 + 64
_AUTH_DATA = _QE_REPORT + _BODY + 64

_DEBUG = 1 << 1
_PCK_CHAIN = 5


@dataclass(frozen=True)
class EnclaveReport:
    """The body of a report: whom a quote speaks of."""

    cpu_svn: bytes
    attributes: int
    """The flags (SDM volume 3, ATTRIBUTES)."""
    mrenclave: bytes
    mrsigner: bytes
    isv_prod_id: int
    isv_svn: int
    report_data: bytes

    @classmethod
    def from_bytes(cls, body: bytes) -> EnclaveReport:
        """Reads 384 bytes."""
        return cls(
            cpu_svn=body[0:16],
            attributes=int.from_bytes(body[48:56], "little"),
            mrenclave=body[64:96],
            mrsigner=body[128:160],
            isv_prod_id=int.from_bytes(body[256:258], "little"),
            isv_svn=int.from_bytes(body[258:260], "little"),
            report_data=body[320:384],
        )

    @property
    def debug(self) -> bool:
        """Whether its owner can read its memory."""
        return bool(self.attributes & _DEBUG)

    def to_json(self) -> dict[str, Any]:
        """As a verdict shows it."""
        return {
            "mrenclave": self.mrenclave.hex(),
            "mrsigner": self.mrsigner.hex(),
            "isv_prod_id": self.isv_prod_id,
            "isv_svn": self.isv_svn,
            "debug": self.debug,
            "cpu_svn": self.cpu_svn.hex(),
        }


@dataclass(frozen=True)
class Quote:
    """A quote that has the right shape. Nothing of it is verified."""

    raw: bytes
    report: EnclaveReport
    qe_report: EnclaveReport
    """The quoting enclave that signed."""
    pck_chain_pem: bytes
    """Certificates of the platform: PCK, PCK CA, root."""
    pck_chain: tuple[bytes, ...]
    """The same as DER."""

    @classmethod
    def parse(cls, raw: bytes) -> Quote:
        """Reads a quote; ``ValueError`` says what does not fit."""
        if len(raw) > MAX_BYTES:
            raise ValueError(f"{len(raw)} bytes are too many for a quote")
        if len(raw) < _AUTH_DATA + 2:
            raise ValueError(f"{len(raw)} bytes are too few for a quote")
        version, key_type, tee = struct.unpack_from("<HHI", raw)
        if version != 3 or tee != 0:
            raise ValueError(f"quote version {version}, TEE type {tee:#x}; version 3 of SGX is read")
        if key_type != 2:
            raise ValueError(f"attestation key type {key_type}; 2 (ECDSA P-256) is read")
        (length,) = struct.unpack_from("<I", raw, _SIGNED)
        if length != len(raw) - _SIGNED - 4:
            raise ValueError(f"a signature of {length} bytes does not end where the quote ends")
        (auth_length,) = struct.unpack_from("<H", raw, _AUTH_DATA)
        at = _AUTH_DATA + 2 + auth_length
        if len(raw) < at + 6:
            raise ValueError("the authentication data goes beyond the end of the quote")
        data_type, data_length = struct.unpack_from("<HI", raw, at)
        if data_type != _PCK_CHAIN:
            raise ValueError(f"certification data of type {data_type}; 5 (the PCK certificate chain) is read")
        if data_length != len(raw) - at - 6:
            raise ValueError("the certification data does not end where the quote ends")
        return cls(
            raw=raw,
            report=EnclaveReport.from_bytes(raw[_HEADER:_SIGNED]),
            qe_report=EnclaveReport.from_bytes(raw[_QE_REPORT : _QE_REPORT + _BODY]),
            pck_chain_pem=raw[at + 6 :].removesuffix(b"\0"),
            pck_chain=tuple(pem.certificates(raw[at + 6 :], 3)),
        )

    @property
    def pck_ca(self) -> bytes:
        """The certificate (DER) of the authority that certified the platform."""
        return self.pck_chain[1]

    @property
    def root(self) -> bytes:
        """The certificate (DER) that the quote's chain ends in."""
        return self.pck_chain[2]
