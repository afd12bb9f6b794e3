"""One request of `outbound.fetcher.Fetcher`: a reusable libcurl handle with guards, and failures as facts."""

import os
import socket
import struct
import zlib
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple

import pycurl

from explain.errors import ExplainedError
from explain.facts import Fact
from outbound.addresses import AllowList, refusal
from outbound.endpoints import Endpoint
from outbound.headers import parsed_headers
from outbound.inflating import ENCODINGS, inflated
from outbound.system_errors import problem_of

# CURLE_TOO_LARGE, which pycurl does not define: libcurl's limits on headers (5,000 of them, 100 KB each).
E_TOO_LARGE = 100

# Chunk extensions, empty TLS records and the like are neither headers nor body, so libcurl passes them to no callback.
# But it reports progress each time it has read something; a usual answer takes 8 reports.
UNSUSPICIOUS_REPORTS = 12
# In pieces of a byte, few bytes cost much time: each piece costs a call of the system. Larger answers come in more.
MAX_REPORTS = 1000
USUAL_PIECE_BYTES = 1024
# Twice of it is what the kernel keeps unread of a connection.
RECEIVE_BUFFER = 64 * 1024
TCP_INFO_BYTES_RECEIVED = struct.Struct("128x Q")  # struct tcp_info of Linux

Waiting = Literal["place", "name", "proxy", "connection", "encryption", "answer", "rest", "previous_secret"]

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
# X509_V_ERR_… of OpenSSL: no issuer's certificate, self-signed, self-signed at the end of the chain, unable to verify.
_UNKNOWN = frozenset({2, 18, 19, 20, 21})
BROKEN_CODES = {
    pycurl.E_UNSUPPORTED_PROTOCOL: "not_http",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "not_http",
    pycurl.E_GOT_NOTHING: "closed_unanswered",
    pycurl.E_SEND_ERROR: "broken_sending",
    pycurl.E_RECV_ERROR: "broken_receiving",
    pycurl.E_PARTIAL_FILE: "closed_early",
    pycurl.E_BAD_CONTENT_ENCODING: "bad_encoding",
}


class OutboundError(ExplainedError):
    """A request without an answer.

    code: of FAILURES in outbound/texts.py; its parameters are for the user: no header, no secret. sent: whether
    something of the request may have left; known of those of `outbound.session.call`.
    """

    sent = False


class Response(NamedTuple):
    """An answer of any status. elapsed_ms: from connecting (or sending) until the last byte."""

    status: int
    body: bytes
    content_type: str
    elapsed_ms: float
    remote_ip: str
    header_lines: Sequence[bytes] = ()

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers by name, in any case. They are parsed at each reading."""
        return parsed_headers(self.header_lines)


class Limits(NamedTuple):
    """Limits of one request."""

    timeout_s: float
    max_bytes: int
    max_header_bytes: int

    @property
    def max_wire_bytes(self) -> int:
        """Return how much may be received in all: small chunks and TLS need a multiple of what they carry."""
        return 4 * (self.max_bytes + self.max_header_bytes)

    @property
    def max_pieces(self) -> int:
        """Return in how many pieces an answer may come."""
        return MAX_REPORTS + self.max_wire_bytes // USUAL_PIECE_BYTES


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# RFC 9110, 9.2.2: a server may have done what these ask for although its answer was lost.
NOT_REPEATABLE = frozenset({"POST", "PATCH"})


class Options(NamedTuple):
    """What distinguishes a request from a plain GET.

    gzip: the answer may be compressed. ca_pem: authorities to trust; of a transfer: instead of the usual ones.
    to: the address to connect to.
    """

    method: str = "GET"
    body: bytes = b""
    gzip: bool = False
    ca_pem: bytes = b""
    to: str = ""

    @property
    def repeatable(self) -> bool:
        """Return whether the request may be sent again, if the first sending was not answered."""
        return self.method not in NOT_REPEATABLE

    @property
    def own_handle(self) -> bool:
        """Return whether the request sets what a handle for plain requests must not keep."""
        return self.method != "GET" or bool(self.body or self.ca_pem or self.to)


def check_options(options: Options) -> None:
    """Raise ValueError for options that no request can have."""
    if options.method not in METHODS:
        raise ValueError(f"The method {options.method!r} is not one of {', '.join(METHODS)}.")
    if options.to:
        ip_address(options.to)
    if options.method == "HEAD" and options.body:
        raise ValueError("A request with the method HEAD has no body.")


def timed_out(endpoint: Endpoint, timeout_s: float, phase: Waiting) -> OutboundError:
    """Return the error of a request whose time ran out; `phase` is what it was waiting for."""
    return OutboundError("timeout", host=endpoint.authority, seconds=timeout_s, phase=phase)


class _Handed(socket.socket):
    """A socket for libcurl, which duplicates it; the original is closed without a warning when unreferenced."""

    def __del__(self) -> None:
        self.close()


class Transfer:
    """A libcurl handle with guards, used for one request after another.

    A transfer that reads more often than usual puts itself among the suspects, to be examined outside of libcurl.

    own: used for one request alone, which may have options that no other must inherit.
    """

    # Of a request through a proxy: the address that was checked, if there is one.
    target_ip = ""

    def __init__(self, allow: AllowList, suspects: "set[Transfer]", *, ca_file: str, own: bool = False) -> None:
        self.own = own
        self._allow = allow
        self._suspects = suspects
        self._pinned = False
        self._lines: list[bytes] = []  # of the headers
        self._body: list[bytes] = []
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
            pycurl.PATH_AS_IS: 1,  # send exactly the signed path
            pycurl.HTTP09_ALLOWED: 0,
            pycurl.OPENSOCKETFUNCTION: self._on_open,
            pycurl.PREREQFUNCTION: self._on_request,
            pycurl.HEADERFUNCTION: self._on_header,
            pycurl.WRITEFUNCTION: self._body.append,  # in C, called for every piece; libcurl limits it (MAXFILESIZE)
            pycurl.NOPROGRESS: 0,
            pycurl.XFERINFOFUNCTION: self._on_progress,
        }
        for option, value in options.items():
            easy.setopt(option, value)
        return easy

    def prepare(
        self,
        endpoint: Endpoint,
        addresses: tuple[str, ...],
        headers: list[str],
        limits: Limits,
        *,
        left_s: float,
        fresh: bool = False,
        options: Options | None = None,
    ) -> None:
        """Set up the next request, to one of `addresses` if given. `fresh`: on a new connection."""
        self._endpoint = endpoint
        self._options = options
        self._limits = limits
        self.addresses = addresses
        self.fresh = fresh
        self._suspects.discard(self)
        self._lines = []  # the last one belongs to the answer
        self._body.clear()
        self._header_bytes = self._reports = 0
        self._received_before: int | None = None
        self._sent = self._again = False
        self._refusal: Fact | None = None
        self._open_error: OSError | None = None
        milliseconds = max(1, int(left_s * 1000))
        setopt = self.easy.setopt
        setopt(pycurl.URL, endpoint.url)
        setopt(pycurl.HTTPHEADER, headers)
        setopt(pycurl.TIMEOUT_MS, milliseconds)
        setopt(pycurl.CONNECTTIMEOUT_MS, milliseconds)
        setopt(pycurl.MAXFILESIZE_LARGE, limits.max_bytes)
        setopt(pycurl.FRESH_CONNECT, int(fresh))
        if addresses or self._pinned:
            self._pin(endpoint, addresses)
        if self.own and options is not None:
            # It takes the place of CAINFO, and libcurl uses connections only where both are equal.
            if options.ca_pem:
                setopt(pycurl.CAINFO_BLOB, options.ca_pem)
            else:
                self.easy.unsetopt(pycurl.CAINFO_BLOB)
            if options.to:
                # In contrast to a pinned address, libcurl then uses no connection to another one.
                to = f"[{options.to}]" if ":" in options.to else options.to
                setopt(pycurl.CONNECT_TO, [f"::{to}:{endpoint.port}"])
            self._set_method(options.method, options.body, headers)

    def _pin(self, endpoint: Endpoint, addresses: tuple[str, ...]) -> None:
        # The plus sign: dropped after a minute, so that old addresses do not accumulate in libcurl.
        pins = [f"+{endpoint.host}:{endpoint.port}:{','.join(addresses)}"] if addresses else []
        self.easy.setopt(pycurl.RESOLVE, pins)
        self._pinned = bool(pins)

    def _set_method(self, method: str, body: bytes, headers: list[str]) -> None:
        setopt = self.easy.setopt
        if method == "HEAD":
            setopt(pycurl.NOBODY, 1)
            setopt(pycurl.MAXFILESIZE_LARGE, 0)  # the length of a body that is not sent
            return
        if body or method in ("POST", "PUT", "PATCH"):
            setopt(pycurl.POSTFIELDS, body)
            # No waiting for 100 Continue, and no type but the caller's.
            named = any(line[:13].lower() == "content-type:" for line in headers)
            setopt(pycurl.HTTPHEADER, [*headers, "Expect:"] if named else [*headers, "Expect:", "Content-Type:"])
        if method != "GET" or body:
            setopt(pycurl.CUSTOMREQUEST, method)

    def close(self) -> None:
        """Give the handle back to libcurl. It must not be in use."""
        self.easy.close()

    # ------------------------------------------------------------------------------------------ called by libcurl

    def _on_open(self, _purpose: int, address: Any) -> socket.socket | int:
        family, kind, protocol, target = address
        if family not in (socket.AF_INET, socket.AF_INET6):
            self._refusal = Fact("no_internet_address")
            return int(pycurl.SOCKET_BAD)
        host = target[0].decode() if isinstance(target[0], bytes) else target[0]
        reason = self._refusal_of(host)
        if reason is not None:
            self._refusal = reason
            return int(pycurl.SOCKET_BAD)
        try:
            handed = _Handed(family, kind, protocol)
            handed.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            return handed
        except OSError as error:
            self._open_error = error
            return int(pycurl.SOCKET_BAD)

    def _refusal_of(self, address: str) -> Fact | None:
        return refusal(address, self._allow, self._endpoint.host)

    def _on_request(self, *_connection: Any) -> int:
        if self._sent:  # libcurl restarts by itself if a kept-alive connection is dead
            self._again = True
            return int(pycurl.PREREQFUNC_ABORT)
        self._sent = True
        return int(pycurl.PREREQFUNC_OK)

    def _on_header(self, line: bytes) -> int | None:
        self._header_bytes += len(line)
        if self._header_bytes > self._limits.max_header_bytes:
            return -1
        self._lines.append(line)
        return None

    def _on_progress(self, *_totals: int) -> None:
        self._reports += 1
        if self._reports > UNSUSPICIOUS_REPORTS:
            self._suspects.add(self)

    # -------------------------------------------------------------------------------------------------- endings

    def outcome(self) -> Response | OutboundError:
        """Return the response of a complete transfer, or why it cannot be used."""
        getinfo = self.easy.getinfo
        complete, encoding = self._read_headers()
        if not complete:
            return self._unusable("protocol", Fact(BROKEN_CODES[pycurl.E_PARTIAL_FILE]))
        body = b"".join(self._body)
        if encoding not in ("", "identity"):
            if self._options is None or not self._options.gzip or encoding not in ENCODINGS:
                return self._unusable("protocol", Fact("unwanted_encoding", {"encoding": repr(encoding[:40])}))
            try:
                body = inflated(body, encoding, self._limits.max_bytes)
            except zlib.error:
                return self._unusable("protocol", Fact("bad_encoding"))
        if len(body) > self._limits.max_bytes:
            return self._body_too_large()
        return Response(
            getinfo(pycurl.RESPONSE_CODE),
            body,
            self._content_type(),
            getinfo(pycurl.TOTAL_TIME) * 1000,
            getinfo(pycurl.PRIMARY_IP),
            self._lines,
        )

    def _read_headers(self) -> tuple[bool, str]:
        """Return whether the headers of the final answer are complete, and its encodings."""
        complete, encoding = False, ""
        for line in reversed(self._lines):
            if line in (b"\r\n", b"\n"):
                complete = True
            elif line.startswith(b"HTTP/"):  # before it are informational answers
                break
            elif line[:17].lower() == b"content-encoding:":
                encoding = ", ".join(filter(None, (line[17:].strip().decode("latin-1").lower(), encoding)))
        return complete, encoding

    def unknown_authority(self, code: int) -> bool:
        """Return whether libcurl's error `code` is due to a certificate that none of the authorities has issued."""
        return code == pycurl.E_PEER_FAILED_VERIFICATION and self.easy.getinfo(pycurl.SSL_VERIFYRESULT) in _UNKNOWN

    def failure(self, code: int, text: str) -> OutboundError | None:
        """Return what libcurl's error `code` means, `text` being its explanation; None: send the request again."""
        if self._again:
            return None
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return timed_out(self._endpoint, self._limits.timeout_s, self._phase())
        return self._stopped_by_us(code) or self._failed_there(code, text)

    def excess(self) -> OutboundError | None:
        """Return the error of a transfer that has received more than any answer may need, or in too many pieces."""
        getinfo = self.easy.getinfo
        if self._reports > self._limits.max_pieces:
            return self._unusable("too_large", Fact("many_pieces"))
        received = bytes_received(getinfo(pycurl.ACTIVESOCKET))
        if self._received_before is None:
            # A connection that was there before has received earlier answers.
            self._received_before = 0 if getinfo(pycurl.NUM_CONNECTS) else received
        most = self._limits.max_wire_bytes
        if received - self._received_before <= most:
            return None
        return self._unusable("too_large", Fact("large_answer", {"bytes": most}))

    def _stopped_by_us(self, code: int) -> OutboundError | None:
        if code == pycurl.E_FILESIZE_EXCEEDED:
            return self._body_too_large()
        if code == E_TOO_LARGE or self._header_bytes > self._limits.max_header_bytes:
            return self._headers_too_large()
        host = self._endpoint.authority
        if self._refusal is not None and code == pycurl.E_COULDNT_CONNECT:
            return OutboundError("blocked", host=host, problem=self._refusal)
        if self._open_error is not None:
            problem = Fact("no_socket", {"host": host, "problem": problem_of(self._open_error)})
            return OutboundError("other", problem=problem)
        return None

    def _failed_there(self, code: int, text: str) -> OutboundError:
        host = self._endpoint.authority
        if code == pycurl.E_COULDNT_RESOLVE_HOST:
            return OutboundError("dns", host=self._endpoint.host, problem=Fact("look_up_failed"))
        if code == pycurl.E_COULDNT_CONNECT:
            number = self.easy.getinfo(pycurl.OS_ERRNO)
            problem = problem_of(OSError(number, os.strerror(number)) if number else OSError())
            return OutboundError("refused", host=host, problem=problem)
        if code in _TLS_CODES:
            return OutboundError("tls", host=host, text=shown(text))
        if code in BROKEN_CODES:
            return self._unusable("protocol", Fact(BROKEN_CODES[code]))
        problem = Fact("libcurl_error", {"text": shown(text), "number": code})
        return OutboundError("other", problem=problem)

    def _phase(self) -> Waiting:
        """Return what the request is waiting for."""
        getinfo = self.easy.getinfo
        if self._lines:
            return "rest"
        if self._sent:
            return "answer"
        if getinfo(pycurl.CONNECT_TIME) > 0 and self._endpoint.scheme == "https":
            return "encryption"
        return "connection" if getinfo(pycurl.NAMELOOKUP_TIME) > 0 else "name"

    def _unusable(self, code: str, problem: Fact, **more: str) -> OutboundError:
        return OutboundError(code, host=self._endpoint.authority, problem=problem, **more)

    def _body_too_large(self) -> OutboundError:
        return self._too_large(Fact("large_body", {"bytes": self._limits.max_bytes}))

    def _headers_too_large(self) -> OutboundError:
        return self._too_large(Fact("large_headers", {"bytes": self._limits.max_header_bytes}))

    def _too_large(self, problem: Fact) -> OutboundError:
        return self._unusable("too_large", problem, content_type=shown(self._content_type()))

    def _content_type(self) -> str:
        # Raw: pycurl would raise for bytes that are no UTF-8, and it is the server that chooses them.
        return (self.easy.getinfo_raw(pycurl.CONTENT_TYPE) or b"").decode(errors="replace")


def bytes_received(descriptor: int) -> int:
    """Return how many bytes the connection has received since it was opened; 0 where the system does not tell."""
    if descriptor < 0 or not hasattr(socket, "TCP_INFO"):
        return 0
    connection = socket.socket(fileno=descriptor)
    try:
        about = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES_RECEIVED.size)
    finally:
        connection.detach()
    return int(TCP_INFO_BYTES_RECEIVED.unpack(about)[0]) if len(about) == TCP_INFO_BYTES_RECEIVED.size else 0


def shown(text: str) -> str:
    """Return a text, truncated and without control characters: it, or parts of it, may come from the server."""
    return "".join(character if character.isprintable() else " " for character in text)[:300].strip()
