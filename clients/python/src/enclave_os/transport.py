"""TLS 1.3 connections that hand over what a verifier needs: the whole chain and, if possible, an exporter.

Neither library is asked to verify the certificate. Its chain ends in the enclave's own CA, which no list of
authorities knows, and what makes it trustworthy is the quote inside. So verification is switched off here
(``CERT_NONE``) and done by :mod:`enclave_os.verify` on the chain of the finished handshake. That is sound
because a finished TLS 1.3 handshake proves that the peer holds the key of the leaf (CertificateVerify, RFC
8446 §4.4.3) whether or not somebody checks whose key that is, and because :mod:`enclave_os.connection` hands a
connection out, and lets anything of the caller's be sent, only after the verdict. Resumption, which would
skip the certificate, is not used.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from .errors import ConnectionClosed, HandshakeError, ProtocolError
from .errors import ConnectionError as EnclaveConnectionError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from OpenSSL import SSL


class Transport(Protocol):
    """An open TLS connection."""

    chain: Sequence[bytes]
    """What the peer presented (DER), leaf first."""
    protocol: str | None
    """The ALPN name the peer selected."""

    def send(self, data: bytes) -> None:
        """Sends all of it."""

    def receive(self, most: int) -> bytes:
        """At least one byte and at most so many; nothing when the peer has ended the connection."""

    def export(self, label: bytes, context: bytes, length: int) -> bytes | None:
        """The TLS exporter (RFC 8446 §7.5), or ``None`` where the library has none."""

    def limit(self, deadline: float | None) -> None:
        """Nothing of it takes longer than to this moment (``time.monotonic``); ``None``: each wait has its timeout."""

    def close(self) -> None:
        """Ends the connection without another byte."""


def has_exporter() -> bool:
    """Whether a library with TLS exporters is installed: pyOpenSSL (``pip install enclave-os[channel]``)."""
    return find_spec("OpenSSL") is not None


def connect(
    address: tuple[str, int],
    server_name: str | None,
    alpn: Sequence[str],
    timeout: float,
    *,
    exporter: bool = False,
    authority: ssl.SSLContext | None = None,
) -> Transport:
    """Connects and completes the handshake. Nothing of the peer is verified yet.

    ``server_name`` is sent as SNI unless it is an address; ``None`` sends none.
    ``timeout`` is for all of that together, and afterwards for each wait.
    With ``authority`` the standard library verifies the chain and the name under it, and there is no exporter.
    """
    deadline = monotonic() + timeout
    try:
        raw = socket.create_connection(address, timeout)
    except OSError as error:
        raise EnclaveConnectionError(f"cannot connect to {address[0]}:{address[1]}: {error}") from error
    try:
        raw.settimeout(_left(deadline))
        transport: _OpenSsl | _Standard
        if exporter and authority is None:
            transport = _OpenSsl(raw, server_name, alpn)
        else:
            transport = _Standard(raw, server_name, alpn, authority or _unverified())
        transport.timeout = timeout
        return transport
    except TimeoutError as error:
        raw.close()
        raise HandshakeError(f"{address[0]}:{address[1]} {error}") from error
    except BaseException:
        raw.close()
        raise


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("did not answer in time")
    return left


def stream(transport: Transport, most: int | None = None) -> io.BufferedReader:
    """What is received, as a file; :class:`ProtocolError` where it is longer than ``most`` bytes."""
    return io.BufferedReader(_Reader(transport, most))


class _Reader(io.RawIOBase):
    def __init__(self, transport: Transport, most: int | None) -> None:
        self._transport = transport
        self._most = self._left = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        data = self._transport.receive(len(view))
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise ProtocolError(f"the peer's answer is longer than {self._most} bytes")
        view[: len(data)] = data
        return len(data)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _refused(error: Exception) -> HandshakeError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return HandshakeError(f"the server's certificate is not one of the given authority: {error.verify_message}")
    return HandshakeError(
        f"the TLS handshake failed: {error}. A server that cannot make a fresh certificate for this connection "
        "refuses so; its log and its `ready` page say why"
    )


class _Timed:
    """How long the waits of a connection may be."""

    _socket: socket.socket
    timeout: float | None = None
    _deadline: float | None = None

    def limit(self, deadline: float | None) -> None:
        self._deadline = deadline

    def _before_waiting(self) -> None:
        self._socket.settimeout(self.timeout if self._deadline is None else _left(self._deadline))


class _Standard(_Timed):
    """The standard library's ``ssl``: no exporter."""

    def __init__(
        self, raw: socket.socket, server_name: str | None, alpn: Sequence[str], context: ssl.SSLContext
    ) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(alpn)
        try:
            # An end that TLS does not announce is an error, not the end of an answer.
            self._socket = context.wrap_socket(raw, server_hostname=server_name, suppress_ragged_eofs=False)
        except OSError as error:
            raise _refused(error) from error
        self.chain: Sequence[bytes] = _standard_chain(self._socket)
        self.protocol = self._socket.selected_alpn_protocol()

    def send(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                self._before_waiting()
                rest = rest[self._socket.send(rest) :]
        except OSError as error:
            raise ConnectionClosed(f"the connection broke: {error}") from error

    def receive(self, most: int) -> bytes:
        try:
            self._before_waiting()
            return self._socket.recv(most)
        except OSError as error:
            raise ConnectionClosed(f"the connection broke: {error}") from error

    def export(self, label: bytes, context: bytes, length: int) -> bytes | None:
        return None

    def close(self) -> None:
        self._socket.close()


def _standard_chain(connection: ssl.SSLSocket) -> list[bytes]:
    public: Any = getattr(connection, "get_unverified_chain", None)
    if public is not None:
        return [bytes(der) for der in public()]
    # Python 3.11 and 3.12 have the same function under a private name, with certificates as objects.
    inner: Any = connection._sslobj  # type: ignore[attr-defined]
    der = 2
    return [bytes(certificate.public_bytes(der)) for certificate in inner.get_unverified_chain() or ()]


class _OpenSsl(_Timed):
    """pyOpenSSL, over memory buffers, so that the socket keeps its timeout."""

    def __init__(self, raw: socket.socket, server_name: str | None, alpn: Sequence[str]) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding
        from OpenSSL import SSL

        self._ssl = SSL
        self._socket = raw
        self.timeout = raw.gettimeout()
        if self.timeout is not None:
            self.limit(monotonic() + self.timeout)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_verify(SSL.VERIFY_NONE)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_alpn_protos([name.encode() for name in alpn])
        self._connection: SSL.Connection = SSL.Connection(context, None)
        if server_name is not None and not _is_address(server_name):
            self._connection.set_tlsext_host_name(server_name.encode("idna"))
        self._connection.set_connect_state()
        try:
            self._until_done(self._connection.do_handshake)
            self._flush()
        except (SSL.Error, OSError) as error:
            raise _refused(error) from error
        self.limit(None)
        certificates = self._connection.get_peer_cert_chain(as_cryptography=True) or ()
        self.chain: Sequence[bytes] = [certificate.public_bytes(Encoding.DER) for certificate in certificates]
        self.protocol = self._connection.get_alpn_proto_negotiated().decode() or None

    def send(self, data: bytes) -> None:
        try:
            while data:
                # One call takes at most one record's worth.
                part = data[: 1 << 14]
                sent: int = self._until_done(lambda part=part: self._connection.send(part))
                self._flush()
                data = data[sent:]
        except (self._ssl.Error, OSError) as error:
            raise ConnectionClosed(f"the connection broke: {error}") from error

    def receive(self, most: int) -> bytes:
        try:
            return bytes(self._until_done(lambda: self._connection.recv(most)))
        except self._ssl.ZeroReturnError:
            return b""
        except (self._ssl.Error, OSError) as error:
            raise ConnectionClosed(f"the connection broke: {error}") from error

    def export(self, label: bytes, context: bytes, length: int) -> bytes | None:
        return self._connection.export_keying_material(label, length, context)

    def close(self) -> None:
        self._socket.close()

    def _until_done(self, step: Any) -> Any:
        while True:
            try:
                return step()
            except self._ssl.WantReadError:
                self._flush()
                self._before_waiting()
                data = self._socket.recv(1 << 16)
                if not data:
                    raise OSError("the peer ended the connection") from None
                self._connection.bio_write(data)

    def _flush(self) -> None:
        while True:
            try:
                data = self._connection.bio_read(1 << 16)
            except self._ssl.WantReadError:
                return
            self._before_waiting()
            self._socket.sendall(data)
