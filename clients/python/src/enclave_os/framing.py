"""Framed JSON: ``[u32 big-endian length][JSON]``, both ways. ``docs/formats/framed-json.md``."""

from __future__ import annotations

import json
from typing import Any

from .encoding import json_value
from .errors import ConnectionClosed, ProtocolError, RefusedError, StaleError
from .transport import Transport, stream

ALPN = "enclave-os/1"
MAX_FRAME = 64 * 1024 * 1024
"""The largest frame."""
MAX_EVIDENCE = 256 * 1024
"""The largest answer that is taken from a peer which has not been judged yet."""


class Framed:
    """Frames over one connection. Requests may be sent ahead; they are answered in order."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._reader = stream(transport)

    def send(self, value: Any) -> None:
        """Sends one frame."""
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        if len(data) > MAX_FRAME:
            raise ValueError(f"a frame of {len(data)} bytes; at most {MAX_FRAME} fit (load large artifacts by HTTP)")
        self._transport.send(len(data).to_bytes(4, "big") + data)

    def receive(self, most: int = MAX_FRAME) -> Any:
        """The next frame, of at most so many bytes."""
        length = int.from_bytes(self._exactly(4), "big")
        if not 0 < length <= most:
            raise ProtocolError(f"the peer announced a frame of {length} bytes")
        data = self._exactly(length)
        try:
            return json_value(data)
        except ValueError as error:
            raise ProtocolError(f"the peer sent a frame that is not JSON: {error}") from None

    def ask(self, envelope: dict[str, Any], most: int = MAX_FRAME) -> dict[str, Any]:
        """Sends a command and gives its reply; :class:`RefusedError` if that is an error."""
        self.send(envelope)
        reply = self.receive(most)
        if not isinstance(reply, dict):
            raise ProtocolError(f"the peer answered a command with {type(reply).__name__}")
        if reply.get("status") == "error":
            raise refusal(reply.get("code"), reply.get("message"))
        return reply

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()

    def _exactly(self, length: int) -> bytes:
        data = self._reader.read(length)
        if len(data) < length:
            raise ConnectionClosed("the peer ended the connection before its answer was complete")
        return data


def refusal(code: object, message: object, status: int | None = None) -> RefusedError:
    """The exception for an error the peer sent."""
    kind = StaleError if code == "attestation-stale" else RefusedError
    return kind(str(code), str(message), status)
