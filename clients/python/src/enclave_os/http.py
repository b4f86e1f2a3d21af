"""HTTP/1.1 over a connection that is open and verified. ``docs/formats/http-api.md``."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .encoding import json_value
from .errors import ConnectionClosed, ProtocolError
from .framing import refusal
from .transport import Transport, stream

ALPN = "http/1.1"
MAX_EVIDENCE = 1024 * 1024
"""The largest answer to ``attest``, with its head."""
MAX_DOCUMENT = 8 * 1024 * 1024
"""The largest manifest or evidence document, with its head."""


@dataclass(frozen=True)
class Response:
    """An answer, with its whole body."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; the values of a repeated one are joined by ``", "``."""
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is a success."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON."""
        try:
            return json_value(self.body)
        except ValueError as error:
            raise ProtocolError(f"the answer is not JSON: {error}") from None

    def or_refusal(self) -> Response:
        """Itself, or :class:`RefusedError` with what the problem document says (RFC 9457)."""
        if self.ok:
            return self
        if self.headers.get("content-type", "").partition(";")[0] == "application/problem+json":
            problem = self.json()
            if isinstance(problem, dict):
                raise refusal(problem.get("code"), problem.get("detail"), self.status)
        raise refusal("http", f"the answer is HTTP status {self.status}", self.status)


class Http:
    """Requests over one connection, one after the other."""

    def __init__(self, transport: Transport, host: str) -> None:
        self._connection = http.client.HTTPConnection(host)
        # Never open another connection by itself: it would be neither TLS nor verified.
        self._connection.auto_open = 0
        self._socket = self._connection.sock = _Socket(transport)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        most: int | None = None,
    ) -> Response:
        """Sends a request and reads its whole answer, which has at most so many bytes with its head."""
        self._socket.most = most
        try:
            self._connection.request(method, path, body, dict(headers or {}))
            answer = self._connection.getresponse()
            data = _body(answer, most)
        except (http.client.NotConnected, http.client.RemoteDisconnected, http.client.IncompleteRead) as error:
            raise ConnectionClosed(f"the peer ended the connection: {error}") from error
        except http.client.HTTPException as error:
            raise ProtocolError(f"the answer is not HTTP: {error!r}") from error
        found: dict[str, str] = {}
        for name, value in answer.getheaders():
            name = name.lower()
            found[name] = f"{found[name]}, {value}" if name in found else value
        return Response(answer.status, found, data)

    def ask(self, method: str, path: str, value: Any = None, most: int = MAX_DOCUMENT) -> Any:
        """Sends JSON and gives the JSON that is answered; :class:`RefusedError` if it is an error."""
        body = None if value is None else json.dumps(value, allow_nan=False).encode()
        headers = {} if value is None else {"content-type": "application/json"}
        return self.request(method, path, body, headers, most).or_refusal().json()

    @property
    def closed(self) -> bool:
        """Whether the server, or this side, has ended it."""
        return self._connection.sock is None

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


def _body(answer: http.client.HTTPResponse, most: int | None) -> bytes:
    if most is None:
        return answer.read()
    if answer.length is not None:
        # As much memory is taken as is announced, before the first byte of it.
        if answer.length > most:
            raise ProtocolError(f"the peer announced an answer of {answer.length} bytes")
        return answer.read()
    try:
        # A chunk may announce anything as well. What is longer ends in the stream below.
        return answer.read(most)
    except ValueError as error:
        raise ProtocolError(f"the answer is not HTTP: {error}") from None


class _Socket:
    """As much of a socket as ``http.client`` uses."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.most: int | None = None
        """The longest answer."""

    def sendall(self, data: bytes) -> None:
        self._transport.send(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return stream(self._transport, self.most)

    def close(self) -> None:
        self._transport.close()
