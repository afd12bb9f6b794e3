"""One TCP connection, with or without TLS: to an address that was checked, within one deadline, with counted bytes."""

import contextlib
import socket
import ssl
from collections.abc import Mapping
from functools import lru_cache
from time import monotonic
from typing import Protocol

from urllib3.util.ssltransport import SSLTransport

from explain.facts import Fact
from outbound.addresses import AllowList, refusal
from outbound.authorities import ca_file
from outbound.endpoints import Endpoint
from outbound.resolver import addresses_of
from outbound.system_errors import problem_of
from outbound.transfer import RECEIVE_BUFFER, Limits, OutboundError, Waiting, timed_out


class Transport(Protocol):
    """What requests are written to and answers read from: the connection, or TLS on it."""

    def recv(self, most: int) -> int | bytes: ...  # 0, too, is the end

    def sendall(self, data: bytes) -> None: ...


class Wire:
    """A connection for one request. The deadline begins when it is made.

    Any wait raises OutboundError at the deadline, which no slow drip extends; so does receiving too much, whatever
    the bytes are for (TLS records, chunks), or too many small pieces.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        self.endpoint = endpoint
        self.limits = limits
        self.waiting: Waiting = "name"
        self.remote_ip = ""
        self.ended = False  # by the other side
        self._deadline = monotonic() + limits.timeout_s
        self._received = self._pieces = 0
        self._socket: socket.socket | None = None

    @property
    def target(self) -> str:
        """Return what the request line names."""
        return self.endpoint.path + self.endpoint.query

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers that the connection needs."""
        return {}

    def check_status(self, status: int) -> None:
        """Raise OutboundError for a status that is not the host's."""

    def connect(self, allow: AllowList) -> None:
        """Connect to the first address of the host that may be called and answers. Raises OutboundError."""
        host = self.endpoint.host
        try:
            addresses = addresses_of(self.endpoint, self._left_s())
        except TimeoutError:
            raise self._timed_out() from None
        except OSError as error:
            raise OutboundError("dns", host=host, problem=problem_of(error)) from None
        self.waiting = "connection"
        reasons = [refusal(address, allow, host) for address in addresses]
        permitted = [address for address, reason in zip(addresses, reasons, strict=True) if reason is None]
        if not permitted:
            raise OutboundError("blocked", host=self.endpoint.authority, problem=reasons[-1])
        self._socket = self._connected(permitted, self.endpoint.port)

    def encrypted(self, ca_pem: bytes = b"") -> "Transport":
        """Agree on TLS; the certificate must be for the host's name. Raises OutboundError.

        ca_pem: authorities to trust besides the usual ones.
        """
        self.waiting = "encryption"
        try:
            # It reads from and writes to the wire, which a socket of `ssl` would replace: these bytes are counted.
            context = _tls_context(ca_file(), ca_pem)
            return SSLTransport(self, context, self.endpoint.host.rstrip("."))  # type: ignore[arg-type]
        except OSError as error:
            raise self.tls_error(error) from None

    def recv(self, most: int) -> bytes:
        """Wait for bytes; b"" is the end."""
        data = b""
        try:
            data = self._ready().recv(most)
        except TimeoutError:
            raise self._timed_out() from None
        self.ended = not data
        self._pieces += 1
        self._received += len(data)
        if self._received > self.limits.max_wire_bytes:
            raise self.unusable("too_large", Fact("large_answer", {"bytes": self.limits.max_wire_bytes}))
        if self._pieces > self.limits.max_pieces:
            raise self.unusable("too_large", Fact("many_pieces"))
        return data

    def sendall(self, data: bytes) -> None:
        """Send all bytes."""
        try:
            self._ready().sendall(data)
        except TimeoutError:
            raise self._timed_out() from None

    def close(self) -> None:
        """Close the connection at once."""
        if self._socket is not None:
            self._socket.close()

    def unusable(self, code: str, problem: Fact, **more: str) -> OutboundError:
        """Return the error of an answer that cannot be used."""
        return OutboundError(code, host=self.endpoint.authority, problem=problem, **more)

    def tls_error(self, error: OSError) -> OutboundError:
        """Return the error of a connection without working encryption, in OpenSSL's words."""
        if not isinstance(error, ssl.SSLError):
            text = error.strerror or type(error).__name__
        else:
            text = getattr(error, "verify_message", "") or (error.reason or str(error)).replace("_", " ").lower()
        return OutboundError("tls", host=self.endpoint.authority, text=text)

    def _connected(self, addresses: list[str], port: int) -> socket.socket:
        problem: Fact | None = None
        for position, address in enumerate(addresses):
            # None of them may use up the time of the others.
            patience_s = self._left_s() / (len(addresses) - position)
            connection = self._new_socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            try:
                connection.settimeout(patience_s)
                connection.connect((address, port))
            except TimeoutError:
                problem = None
            except OSError as error:
                problem = problem_of(error)
            else:
                self.remote_ip = address
                return connection
            connection.close()
        if problem is None:
            raise self._timed_out()
        raise OutboundError("refused", host=self.endpoint.authority, problem=problem)

    def _new_socket(self, family: socket.AddressFamily) -> socket.socket:
        try:
            made = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            problem = Fact("no_socket", {"host": self.endpoint.authority, "problem": problem_of(error)})
            raise OutboundError("other", problem=problem) from None
        # A wish: the operating system may have a limit of its own.
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _ready(self) -> socket.socket:
        """Return the socket, set to wait until the deadline."""
        if self._socket is None:
            raise ValueError("not connected")
        self._socket.settimeout(self._left_s())
        return self._socket

    def _left_s(self) -> float:
        left_s = self._deadline - monotonic()
        if left_s <= 0:
            raise self._timed_out()
        return left_s

    def _timed_out(self) -> OutboundError:
        return timed_out(self.endpoint, self.limits.timeout_s, self.waiting)


@lru_cache(maxsize=16)
def _tls_context(authorities: str, ca_pem: bytes) -> ssl.SSLContext:
    """Return the context that all connections share: reading the authorities takes some 30 ms, and 1 MB."""
    context = ssl.create_default_context(cafile=authorities)
    if ca_pem:
        context.load_verify_locations(cadata=ca_pem.decode())
    # As libcurl verifies: an intermediate authority may be trusted, and is not refused for what its certificate lacks.
    context.verify_flags = context.verify_flags & ~ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    return context
