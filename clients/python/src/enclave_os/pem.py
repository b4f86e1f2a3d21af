"""Certificate chains as PEM (RFC 7468), read strictly: one chain has one spelling.

No signature covers the text around the certificates, so a byte of it that was changed would go unnoticed.
"""

from __future__ import annotations

import base64
import textwrap

_BEGIN = b"-----BEGIN CERTIFICATE-----\n"
_END = b"-----END CERTIFICATE-----\n"


def certificates(text: bytes, count: int) -> list[bytes]:
    """Exactly so many certificates as DER; ``ValueError`` otherwise.

    In lines of 64 characters that end in a line feed, with nothing between or around them but the one zero
    byte that quoting libraries put at the end.
    """
    found, rest = [], text.removesuffix(b"\0")
    for _ in range(count):
        body, end, after = rest.removeprefix(_BEGIN).partition(_END)
        if not rest.startswith(_BEGIN) or not end:
            raise ValueError(f"not {count} certificates in PEM")
        try:
            der = base64.b64decode(body.replace(b"\n", b""), validate=True)
        except ValueError:
            raise ValueError("a certificate in PEM that is not base64") from None
        if _lines(der) != body:
            raise ValueError("a certificate in PEM that is not written in the usual lines")
        found.append(der)
        rest = after
    if rest:
        raise ValueError(f"more than {count} certificates in PEM")
    return found


def _lines(der: bytes) -> bytes:
    return "".join(f"{line}\n" for line in textwrap.wrap(base64.b64encode(der).decode(), 64)).encode()
