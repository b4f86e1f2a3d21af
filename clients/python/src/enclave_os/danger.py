"""Connections that verify nothing: to look at a server that cannot be attested, such as in development.

Whoever answers reads what is sent and can answer anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import framing, http
from .client import Client, parse_address
from .framing import Framed
from .http import Http
from .transport import connect


def connect_without_verification(address: str, *, server_name: str | None = None, timeout: float = 30.0) -> Client:
    """As :func:`enclave_os.connect`, to anyone at all."""
    host, port = parse_address(address)
    client = Client(_AnyPeer((host, port), server_name or host, timeout), unverified=True)
    client.reconnect()
    return client


@dataclass
class _AnyPeer:
    address: tuple[str, int]
    server_name: str
    timeout: float

    def framed(self) -> tuple[Framed, None]:
        return Framed(connect(self.address, self.server_name, [framing.ALPN], self.timeout)), None

    def http(self) -> tuple[Http, None]:
        transport = connect(self.address, self.server_name, [http.ALPN], self.timeout)
        return Http(transport, self.server_name), None
