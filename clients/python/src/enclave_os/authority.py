"""Who operates a server: a certificate chain under an authority that the user names, and the host's name.

This is ordinary TLS verification. It says nothing of what runs on the server.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def context(ca_cert: str | Path) -> ssl.SSLContext:
    """Trusts the certificates of one PEM file and no others, and checks the host's name.

    The file may name an authority in the middle of the chain, such as the enclave's own CA under an operator.
    """
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    found.load_verify_locations(cafile=str(ca_cert))
    return found
