"""One GET of `outbound.fetcher.Fetcher`: a reusable libcurl handle with its guards, and its failures in words."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from dataclasses import dataclass
from typing import Any, Literal

import pycurl

from outbound.addresses import AllowList, refusal
from outbound.endpoints import Endpoint

# CURLE_TOO_LARGE, which pycurl does not name: libcurl's own limits on headers (5,000 of them, 100 KB each).
E_TOO_LARGE = 100

Reason = Literal["blocked", "dns", "refused", "timeout", "tls", "too_large", "protocol", "other"]

_TLS_CODES = frozenset(
    {
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_CIPHER,
        pycurl.E_USE_SSL_FAILED,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_ISSUER_ERROR,
        pycurl.E_SSL_INVALIDCERTSTATUS,
    }
)
_BROKEN_CODES = {
    pycurl.E_UNSUPPORTED_PROTOCOL: "the answer is not HTTP",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "the answer is not HTTP",
    pycurl.E_GOT_NOTHING: "the connection was closed without an answer",
    pycurl.E_SEND_ERROR: "the connection broke while the request was being sent",
    pycurl.E_RECV_ERROR: "the connection broke before the answer was complete",
    pycurl.E_PARTIAL_FILE: "the connection was closed before the answer was complete",
    pycurl.E_BAD_CONTENT_ENCODING: "the answer's encoding is broken",
}


class OutboundError(Exception):
    """A request without an answer. `reason` is for programs, `message` for the user: no header, no secret is in it."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Response:
    """An answer, of whatever status. `elapsed_ms`: from starting to connect (or to send) until the last byte."""

    status: int
    body: bytes
    content_type: str
    elapsed_ms: float
    remote_ip: str


@dataclass(frozen=True)
class Limits:
    """What one request may take."""

    timeout_s: float
    max_bytes: int
    max_header_bytes: int


def timed_out(endpoint: Endpoint, timeout_s: float, phase: str) -> OutboundError:
    """The error of a request whose time ran out; `phase` says what it was waiting for."""
    return OutboundError("timeout", f"no complete answer from {endpoint.authority} within {timeout_s:g} s ({phase})")


class _Handed(socket.socket):
    """A socket for libcurl, which duplicates it: the original goes, without a warning, when nobody holds it."""

    def __del__(self) -> None:
        self.close()


class Transfer:
    """A libcurl handle that carries one request after another.

    The future of a request becomes its Response, or None (send it again), or an OutboundError.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, allow: AllowList, *, ca_file: str) -> None:
        self._loop = loop
        self._allow = allow
        self._future: asyncio.Future[Response | None] = loop.create_future()
        self._pinned = False
        self.easy = self._make_handle(ca_file)

    def _make_handle(self, ca_file: str) -> pycurl.Curl:
        easy = pycurl.Curl()
        options: dict[int, Any] = {
            pycurl.NOSIGNAL: 1,
            pycurl.HTTPGET: 1,
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.FOLLOWLOCATION: 0,
            pycurl.PROXY: "",
            pycurl.NOPROXY: "*",
            pycurl.NETRC: pycurl.NETRC_IGNORED,
            pycurl.SSL_VERIFYPEER: 1,
            pycurl.SSL_VERIFYHOST: 2,
            pycurl.CAINFO: ca_file,
            pycurl.PATH_AS_IS: 1,  # what is signed is what is sent
            pycurl.HTTP09_ALLOWED: 0,
            pycurl.OPENSOCKETFUNCTION: self._on_open,
            pycurl.PREREQFUNCTION: self._on_request,
            pycurl.HEADERFUNCTION: self._on_header,
            pycurl.WRITEFUNCTION: self._on_body,
        }
        for option, value in options.items():
            easy.setopt(option, value)
        return easy

    def prepare(
        self, endpoint: Endpoint, addresses: tuple[str, ...], headers: list[str], limits: Limits, *, fresh: bool
    ) -> asyncio.Future[Response | None]:
        """Set up the next request, to one of `addresses` if given. `fresh`: on a new connection."""
        self._endpoint = endpoint
        self._limits = limits
        self._body: list[bytes] = []
        self._body_bytes = self._header_bytes = 0
        self._encoding = ""
        self._headers_complete = False
        self._sent = False
        self._again = False
        self._refusal: str | None = None
        self._open_error: OSError | None = None
        self._too_large: str | None = None
        # `expire` comes first. This is the second line, should the event loop's timer fail us.
        milliseconds = max(1, int(limits.timeout_s * 1000)) + 500
        setopt = self.easy.setopt
        setopt(pycurl.URL, endpoint.url)
        setopt(pycurl.HTTPHEADER, headers)
        setopt(pycurl.TIMEOUT_MS, milliseconds)
        setopt(pycurl.CONNECTTIMEOUT_MS, milliseconds)
        setopt(pycurl.MAXFILESIZE_LARGE, limits.max_bytes)
        setopt(pycurl.FRESH_CONNECT, int(fresh))
        if addresses or self._pinned:
            # The plus sign: forgotten after a minute, so that old addresses do not pile up in libcurl.
            pins = [f"+{endpoint.host}:{endpoint.port}:{','.join(addresses)}"] if addresses else []
            setopt(pycurl.RESOLVE, pins)
            self._pinned = bool(pins)
        self._future = self._loop.create_future()
        return self._future

    def close(self) -> None:
        """Give the handle back to libcurl. It must not be in use."""
        self.easy.close()

    # ------------------------------------------------------------------------------------------ called by libcurl

    def _on_open(self, _purpose: int, address: Any) -> socket.socket | int:
        family, kind, protocol, target = address
        if family not in (socket.AF_INET, socket.AF_INET6):
            self._refusal = "it is not an internet address"
            return int(pycurl.SOCKET_BAD)
        host = target[0].decode() if isinstance(target[0], bytes) else target[0]
        reason = refusal(host, self._allow, self._endpoint.host)
        if reason is not None:
            self._refusal = reason
            return int(pycurl.SOCKET_BAD)
        try:
            return _Handed(family, kind, protocol)
        except OSError as error:
            self._open_error = error
            return int(pycurl.SOCKET_BAD)

    def _on_request(self, *_connection: Any) -> int:
        if self._sent:  # libcurl starts anew by itself when a kept connection turns out to be dead
            self._again = True
            return int(pycurl.PREREQFUNC_ABORT)
        self._sent = True
        return int(pycurl.PREREQFUNC_OK)

    def _on_header(self, line: bytes) -> int:
        self._header_bytes += len(line)
        if self._header_bytes > self._limits.max_header_bytes:
            self._too_large = self._headers_too_large()
            return -1
        if line in (b"\r\n", b"\n"):
            self._headers_complete = True
        elif line[:1] in b"cC" and line[:17].lower() == b"content-encoding:":
            self._encoding = line[17:].strip().decode("latin-1").lower()
        elif line[:5] == b"HTTP/":  # a final answer after an informational one
            self._encoding = ""
            self._headers_complete = False
        return len(line)

    def _on_body(self, chunk: bytes) -> int:
        self._body_bytes += len(chunk)
        if self._body_bytes > self._limits.max_bytes:
            self._too_large = self._body_too_large()
            return -1
        self._body.append(chunk)
        return len(chunk)

    # -------------------------------------------------------------------------------------------------- endings

    def succeed(self) -> None:
        """The transfer is complete: hand over the response."""
        if not self._headers_complete:
            self.fail(self._unusable("protocol", _BROKEN_CODES[pycurl.E_PARTIAL_FILE]))
            return
        if self._encoding not in ("", "identity"):
            self.fail(
                self._unusable("protocol", f"it sent the encoding {self._encoding[:40]!r} although none was asked for")
            )
            return
        easy = self.easy
        response = Response(
            status=easy.getinfo(pycurl.RESPONSE_CODE),
            body=b"".join(self._body),
            content_type=easy.getinfo(pycurl.CONTENT_TYPE) or "",
            elapsed_ms=easy.getinfo(pycurl.TOTAL_TIME) * 1000,
            remote_ip=easy.getinfo(pycurl.PRIMARY_IP),
        )
        if not self._future.done():
            self._future.set_result(response)

    def fail(self, error: Exception) -> None:
        """End the request with `error`, unless it has ended already."""
        if not self._future.done():
            self._future.set_exception(error)

    def expire(self) -> None:
        """End the request because its time is over, unless it has ended already."""
        if not self._future.done():
            self.fail(timed_out(self._endpoint, self._limits.timeout_s, self._phase()))

    def fail_with_code(self, code: int, text: str) -> None:
        """End the request with libcurl's error `code`; `text` is libcurl's explanation."""
        if self._again:
            if not self._future.done():
                self._future.set_result(None)
        elif code == pycurl.E_OPERATION_TIMEDOUT:
            self.expire()
        else:
            self.fail(self._stopped_by_us(code) or self._failed_there(code, text))

    def _stopped_by_us(self, code: int) -> OutboundError | None:
        if self._too_large is not None:
            return self._unusable("too_large", f"it sent {self._too_large}")
        if code == pycurl.E_FILESIZE_EXCEEDED:
            return self._unusable("too_large", f"it sent {self._body_too_large()}")
        if code == E_TOO_LARGE:
            return self._unusable("too_large", f"it sent {self._headers_too_large()}")
        if self._refusal is not None and code == pycurl.E_COULDNT_CONNECT:
            may_not = f"{self._endpoint.authority} may not be called: {self._refusal}. "
            return OutboundError("blocked", may_not + "An operator can let it through with SEQPULSE_OUTBOUND_ALLOW.")
        if self._open_error is not None:
            problem = f"no connection to {self._endpoint.authority} could be opened: {self._open_error.strerror}"
            return OutboundError("other", problem)
        return None

    def _failed_there(self, code: int, text: str) -> OutboundError:
        authority = self._endpoint.authority
        if code == pycurl.E_COULDNT_RESOLVE_HOST:
            return OutboundError("dns", f"the name {self._endpoint.host} could not be resolved")
        if code == pycurl.E_COULDNT_CONNECT:
            return OutboundError("refused", f"could not connect to {authority}: {self._connect_problem()}")
        if code in _TLS_CODES:
            return OutboundError("tls", f"no secure connection to {authority}: {_shown(text)}")
        if code in _BROKEN_CODES:
            return self._unusable("protocol", _BROKEN_CODES[code])
        return self._unusable("other", f"{_shown(text)} (libcurl error {code})")

    def _phase(self) -> str:
        """What the request is waiting for, in words."""
        getinfo = self.easy.getinfo
        if self._header_bytes:
            return "the answer was not complete"
        if self._sent:
            return "no answer"
        if getinfo(pycurl.CONNECT_TIME) > 0 and self._endpoint.scheme == "https":
            return "while agreeing on encryption"
        return "while connecting" if getinfo(pycurl.NAMELOOKUP_TIME) > 0 else "while resolving the name"

    def _unusable(self, reason: Reason, what: str) -> OutboundError:
        return OutboundError(reason, f"no usable answer from {self._endpoint.authority}: {what}")

    def _body_too_large(self) -> str:
        size = (
            f"{self._limits.max_bytes // 1024} KiB"
            if self._limits.max_bytes >= 1024
            else f"{self._limits.max_bytes} bytes"
        )
        return f"a body of more than {size}"

    def _headers_too_large(self) -> str:
        return f"headers of more than {self._limits.max_header_bytes // 1024} KiB"

    def _connect_problem(self) -> str:
        number = self.easy.getinfo(pycurl.OS_ERRNO)
        return os.strerror(number).lower() if number in errno.errorcode else "the connection failed"


def _shown(text: str) -> str:
    """libcurl's words, bounded and without control characters: part of them may come from the other side."""
    return "".join(character if character.isprintable() else " " for character in text)[:300].strip()
