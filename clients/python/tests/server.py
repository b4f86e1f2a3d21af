"""A TLS server of a test: speaks as told and remembers every byte an application would have read."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable
from threading import Thread
from types import TracebackType
from typing import Any, Self

Handler = Callable[[ssl.SSLSocket], None]


class Server:
    """Accepts on loopback until it is closed; each connection is handled by the next handler, or the last."""

    def __init__(self, context: ssl.SSLContext, *handlers: Handler) -> None:
        context.set_alpn_protocols(["enclave-os/1", "http/1.1"])
        self._context = context
        self._handlers = list(handlers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = bytearray()
        """What was decrypted by :func:`drain`."""
        self.connections = 0
        self._closing = False
        self._thread = Thread(target=self._serve)
        self._thread.start()

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def _serve(self) -> None:
        while True:
            raw, _ = self._listener.accept()
            if self._closing:
                raw.close()
                return
            self.connections += 1
            handler = self._handlers.pop(0) if len(self._handlers) > 1 else self._handlers[0]
            with contextlib.suppress(OSError), self._context.wrap_socket(raw, server_side=True) as connection:
                handler(connection)
                # Says that it ends, and does not wait for the answer.
                connection.setblocking(False)
                connection.unwrap()

    def drain(self, connection: ssl.SSLSocket) -> None:
        """A handler that only listens."""
        while data := connection.recv(1 << 16):
            self.received += data

    def close(self) -> None:
        """Stops it, once the connections have ended."""
        self._closing = True
        # Wakes the thread out of its accept.
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def framed(*replies: Any) -> Handler:
    """Reads a frame for each reply and answers with it; bytes are sent as they are. Then it hangs up."""

    def handle(connection: ssl.SSLSocket) -> None:
        with connection.makefile("rb") as reader:
            for reply in replies:
                head = reader.read(4)
                if len(head) < 4:
                    return
                reader.read(int.from_bytes(head, "big"))
                connection.sendall(reply if isinstance(reply, bytes) else frame(reply))

    return handle


def frame(value: Any) -> bytes:
    """One frame."""
    data = json.dumps(value).encode()
    return len(data).to_bytes(4, "big") + data


def http(*answers: bytes) -> Handler:
    """Reads the head of a request for each answer, and answers with it. Then it hangs up."""

    def handle(connection: ssl.SSLSocket) -> None:
        with connection.makefile("rb") as reader:
            for answer in answers:
                while (line := reader.readline()) not in (b"\r\n", b""):
                    pass
                if not line:
                    return
                connection.sendall(answer)

    return handle
