"""The client that the first documents of the system print: one connection, JSON objects out and in.

>>> from ratls_client import RaTlsClient
>>> client = RaTlsClient("server.example.com", 443, ca_cert="path/to/ca.crt")
>>> client.connect()  # doctest: +SKIP
>>> client.send({"wasm_call": {"app": "test-app", "function": "hello", "params": []}})  # doctest: +SKIP
>>> client.recv()  # doctest: +SKIP
{'status': 'ok', 'returns': [{'type': 'string', 'value': 'Hello, World!'}]}

``ca_cert`` alone says who operates the server: the chain has to end in that authority and the certificate has
to be for the host's name. It does not say what runs there. ``policy`` does: with it the connection is attested
as by :func:`enclave_os.connect`. Both together demand both.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from enclave_os import CollateralCache, ConnectionClosed, Tier, Verdict, VerificationPolicy, strongest_tier
from enclave_os import authority as authorities
from enclave_os.connection import VerifiedOpener
from enclave_os.framing import ALPN, Framed
from enclave_os.transport import connect

__all__ = ["RaTlsClient"]


class RaTlsClient:
    """One connection for framed JSON.

    Replies are handed over as they are, errors included: ``{"status": "error", "code": …}``. Requests may be
    sent ahead; replies come in order.
    """

    def __init__(
        self,
        host: str,
        port: int = 443,
        ca_cert: str | Path | None = None,
        *,
        policy: VerificationPolicy | str | Path | None = None,
        timeout: float = 30.0,
    ) -> None:
        if ca_cert is None and policy is None:
            raise ValueError("give ca_cert, policy or both: otherwise anybody could answer")
        self._address = (host, port)
        self._ca_cert = ca_cert
        self._policy = policy
        self._timeout = timeout
        self._framed: Framed | None = None
        self.verdict: Verdict | None = None
        """What the attestation found, once connected with a policy."""

    def connect(self) -> None:
        """Connects and verifies. Nothing is sent to a server that does not pass."""
        self.close()
        authority = None if self._ca_cert is None else authorities.context(self._ca_cert)
        if self._policy is not None:
            self._framed, self.verdict = self._attested(self._policy, authority)
        else:
            transport = connect(self._address, self._address[0], [ALPN], self._timeout, authority=authority)
            self._framed = Framed(transport)

    def _attested(
        self, policy: VerificationPolicy | str | Path, authority: ssl.SSLContext | None
    ) -> tuple[Framed, Verdict]:
        if not isinstance(policy, VerificationPolicy):
            policy = VerificationPolicy.from_file(policy)
        opener = VerifiedOpener(
            address=self._address,
            policy=policy,
            tier=strongest_tier() if authority is None else Tier.CHALLENGE,
            server_name=self._address[0],
            demand_name=authority is not None,
            given=None,
            cache=CollateralCache(),
            timeout=self._timeout,
            authority=authority,
        )
        return opener.framed()

    def send(self, request: Any) -> None:
        """Sends one JSON value: an envelope such as ``{"wasm_list": {}}``, or ``"Ping"``."""
        self._open().send(request)

    def recv(self) -> Any:
        """The next reply."""
        return self._open().receive()

    def close(self) -> None:
        """Ends the connection."""
        if self._framed is not None:
            self._framed.close()
            self._framed = None

    def _open(self) -> Framed:
        if self._framed is None:
            raise ConnectionClosed("not connected: call connect() first")
        return self._framed

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
