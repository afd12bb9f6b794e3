"""Make single calls with requests, for code that may wait: `call`.

For requests to addresses of others besides the samples, which `outbound.fetcher` sends by the thousand. The transport
adapter is the guard: it checks and pins the address, and limits time, headers and body. Everything that requests and
urllib3 would do by themselves is left out: proxies, cookies, .netrc, redirects, retries, decompression, pooling, and
urllib3's log lines, which contain the path (that of a webhook is its password).
"""

import http.client
import io
import json as json_format
import ssl
import zlib
from collections.abc import Mapping
from contextlib import closing
from time import monotonic
from typing import Any, NamedTuple

import requests
from requests.adapters import BaseAdapter

from explain.facts import Fact
from outbound.addresses import AllowList
from outbound.authorities import CertificateError, trusted_pem
from outbound.endpoints import EndpointError, parse_endpoint
from outbound.headers import check_values, default_headers, joined_headers
from outbound.inflating import ENCODINGS, inflated
from outbound.proxied import ProxiedWire
from outbound.proxy import operators_proxy
from outbound.transfer import Limits, Options, OutboundError, check_options, shown
from outbound.wire import Transport, Wire

DEADLINE_S = 10.0
MOST_BYTES = 64 * 1024
MOST_HEADER_BYTES = 32 * 1024
# Of http.client, which has no name for it.
MOST_HEADERS = 100
TRANSFER_ENCODINGS = frozenset({"", "chunked", "identity"})


class Answer(NamedTuple):
    """An answer of any status, a redirect's too. elapsed_ms: from connecting until the last byte."""

    status: int
    headers: Mapping[str, str]  # by name, in any case
    body: bytes
    elapsed_ms: float
    remote_ip: str

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")


def call(  # noqa: PLR0913  (as of requests.request; all but two by name)
    method: str,
    url: str,
    *,
    allow: AllowList,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    json: object = None,
    deadline_s: float = DEADLINE_S,
    most_bytes: int = MOST_BYTES,
    whole: bool = True,
    gzip: bool = False,
    ca_pem: str = "",
) -> Answer:
    """Send one request, once, and wait for its answer.

    Args:
        method: one of METHODS.
        allow: addresses that may be called although they are not public.
        body, json: what to send, one of both.
        deadline_s: for everything: DNS, connecting, TLS, sending, until the last byte.
        most_bytes: of the answer's body, as received and inflated.
        whole: whether an answer counts only with its whole body. False: the status is the answer, and `body` what
            came of it within the limits; nothing of an encoded one.
        gzip: whether the answer may be compressed (gzip or deflate).
        ca_pem: certificates in PEM of authorities to trust, besides the usual ones, for this call.

    Raises: OutboundError, which is meant for users, and names the host alone: no path, no header; ValueError for
        invalid headers and methods.
    """
    try:
        endpoint = parse_endpoint(url)
        authorities = trusted_pem(ca_pem) if ca_pem else b""
    except (EndpointError, CertificateError) as error:
        raise OutboundError("other", problem=error.fact) from None
    given = dict(headers or {})
    if json is not None:
        body = json_format.dumps(json).encode()
        if "content-type" not in {name.lower() for name in given}:
            given["Content-Type"] = "application/json"
    options = Options(method, body or b"", gzip, authorities)
    check_options(options)
    request = requests.PreparedRequest()
    request.prepare_method(method)
    request.url = endpoint.url  # as it was checked: requests would normalize the path, which may be signed
    request.prepare_headers(_checked(given, gzip=gzip))
    request.prepare_body(body, None)
    guard = Guard(allow, Limits(deadline_s, most_bytes, MOST_HEADER_BYTES), options, whole=whole)
    with _Session() as session:
        session.trust_env = False
        session.mount("http://", guard)
        session.mount("https://", guard)
        response = session.send(request, allow_redirects=False)
    return Answer(response.status_code, response.headers, response.content, guard.elapsed_ms, guard.remote_ip)


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests looks at where a redirect leads even if it is not to follow."""


class Guard(BaseAdapter):
    """The transport adapter of one request. Ignores requests' own settings for time, proxies and certificates."""

    def __init__(self, allow: AllowList, limits: Limits, options: Options, *, whole: bool = True) -> None:
        super().__init__()
        self.allow, self.limits, self.options, self.whole = allow, limits, options, whole
        self.elapsed_ms = 0.0
        self.remote_ip = ""

    def send(self, request: requests.PreparedRequest, *_args: Any, **_options: Any) -> requests.Response:
        """Send the request and read its answer. Raises OutboundError."""
        endpoint = parse_endpoint(request.url or "")
        proxy = operators_proxy()
        made = Wire(endpoint, self.limits) if proxy is None else ProxiedWire(endpoint, self.limits, proxy)
        with closing(made) as wire:
            wire.connect(self.allow)
            begun = monotonic()
            transport: Transport = wire.encrypted(self.options.ca_pem) if endpoint.scheme == "https" else wire
            wire.waiting = "answer"
            exchange = _Exchange(wire, transport, request, whole=self.whole, gzip=self.options.gzip)
            try:
                response = exchange.response()
                wire.check_status(response.status_code)
            except OutboundError as error:
                error.sent = True
                raise
            self.elapsed_ms, self.remote_ip = (monotonic() - begun) * 1000, wire.remote_ip
        return response

    def close(self) -> None:
        """Do nothing: connections are not kept."""


class _Exchange:
    """A request and its answer on a connection; what goes wrong becomes an OutboundError."""

    def __init__(
        self, wire: Wire, transport: Transport, request: requests.PreparedRequest, *, whole: bool, gzip: bool
    ) -> None:
        self.wire, self.request, self.whole, self.gzip = wire, request, whole, gzip
        self.connection = _Connection(wire, transport)
        self.unsent = False

    def response(self) -> requests.Response:
        self._send()
        try:
            answer = self.connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreadable(error) from None
        made = requests.Response()
        made.status_code, made.reason = answer.status, answer.reason
        made.headers = joined_headers(answer.getheaders())
        made.request, made.url = self.request, self.request.url or ""
        made.raw = io.BytesIO(self._body(answer))
        return made

    def _send(self) -> None:
        endpoint, request = self.wire.endpoint, self.request
        host = endpoint.url.split("/")[2]
        headers = {"Host": host, "Connection": "close", **self.wire.headers, **request.headers}
        try:
            self.connection.request(request.method or "GET", self.wire.target, request.body, headers)
        except (BrokenPipeError, ConnectionResetError):
            self.unsent = True  # a server may answer, and close, before it has read everything
        except OSError as error:
            raise self._broken(error) from None

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        body = bytearray()
        encoding = ""
        try:
            encoding = self._encoding(answer)
            self._read(answer, body)
            if encoding:
                return self._inflated(answer, bytes(body), encoding)
        except OutboundError:
            if self.whole:
                raise
            if encoding:
                return b""
        return bytes(body[: self.wire.limits.max_bytes])

    def _encoding(self, answer: http.client.HTTPResponse) -> str:
        """Return how the body is compressed, "" if it is not. Raises OutboundError for what was not asked for."""
        headers = joined_headers(answer.getheaders())
        content, transfer = (headers.get(f"{kind}-Encoding", "").lower() for kind in ("Content", "Transfer"))
        accepted = {"", "identity", *(ENCODINGS if self.gzip else ())}
        for encoding, known in (content, accepted), (transfer, TRANSFER_ENCODINGS):
            if encoding not in known:
                raise self.wire.unusable("protocol", Fact("unwanted_encoding", {"encoding": repr(encoding[:40])}))
        return content if content in ENCODINGS else ""

    def _inflated(self, answer: http.client.HTTPResponse, body: bytes, encoding: str) -> bytes:
        most = self.wire.limits.max_bytes
        try:
            whole = inflated(body, encoding, most)
        except zlib.error:
            raise self.wire.unusable("protocol", Fact("bad_encoding")) from None
        if len(whole) > most:
            raise self._body_too_large(answer)
        return whole

    def _body_too_large(self, answer: http.client.HTTPResponse) -> OutboundError:
        content_type = shown(answer.headers.get("Content-Type", ""))
        problem = Fact("large_body", {"bytes": self.wire.limits.max_bytes})
        return self.wire.unusable("too_large", problem, content_type=content_type)

    def _read(self, answer: http.client.HTTPResponse, body: bytearray) -> None:
        most = self.wire.limits.max_bytes
        try:
            # A body that is announced as too large is not waited for, unless a part of it is of use.
            while len(body) <= most and (not self.whole or (answer.length or 0) <= most - len(body)):
                piece = answer.read1(most + 1 - len(body))
                if not piece:
                    break
                body += piece
            else:
                raise self._body_too_large(answer)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from None
        if answer.length:
            raise self.wire.unusable("protocol", Fact("closed_early"))

    def _unreadable(self, error: Exception) -> OutboundError:
        """Return why there is no status with headers."""
        if isinstance(error, OSError):  # RemoteDisconnected is both
            return self._broken(error)
        if isinstance(error, http.client.IncompleteRead):
            return self.wire.unusable("protocol", Fact("closed_early"))
        if isinstance(error, http.client.LineTooLong):
            return self.wire.unusable("too_large", Fact("large_headers", {"bytes": MOST_HEADER_BYTES}))
        if isinstance(error, (http.client.BadStatusLine, http.client.UnknownProtocol)):
            return self.wire.unusable("protocol", Fact("not_http"))
        return self.wire.unusable("too_large", Fact("many_headers", {"n": MOST_HEADERS}))

    def _broken(self, error: Exception) -> OutboundError:
        """Return why there is no more to read."""
        if isinstance(error, ssl.SSLError):
            return self.wire.tls_error(error)
        if self.unsent:
            code = "broken_sending"
        elif isinstance(error, http.client.RemoteDisconnected):
            code = "closed_unanswered"
        elif isinstance(error, OSError):
            code = "broken_receiving"
        else:  # of the chunks
            code = "closed_early" if self.wire.ended else "bad_encoding"
        return self.wire.unusable("protocol", Fact(code))


class _Lines(io.BufferedReader):
    """What comes from a connection, for http.client, whose own limits on headers allow 6 MiB."""

    def __init__(self, stream: io.RawIOBase, wire: Wire) -> None:
        super().__init__(stream)
        self.wire = wire
        self.in_head = True
        self.head_bytes = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        if not self.in_head:
            return super().readline()  # the lines between chunks: the wire limits them
        line = super().readline(size)
        if self.head_bytes and not line.endswith(b"\n") and self.wire.ended:
            raise http.client.IncompleteRead(line)  # http.client would take what there is for all of the headers
        self.wire.waiting = "rest"
        self.head_bytes += len(line)
        if self.head_bytes > self.wire.limits.max_header_bytes:
            raise http.client.LineTooLong("headers")
        return line


class _Response(http.client.HTTPResponse):
    fp: _Lines

    def begin(self) -> None:
        super().begin()
        if self.fp is not None:
            self.fp.in_head = False

    def _read_status(self) -> tuple[str, int, str]:
        start = self.fp.peek(5)[:5]
        if not b"HTTP/".startswith(start):  # without waiting for the end of a line
            raise http.client.BadStatusLine(repr(start))
        version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the stubs
        # http.client knows one status that an answer follows; there are more, such as 103.
        return version, http.client.CONTINUE if status < http.client.OK else status, reason


class _Connection(http.client.HTTPConnection):
    """http.client on a connection that is made already."""

    response_class = _Response

    def __init__(self, wire: Wire, transport: Transport) -> None:
        super().__init__(wire.endpoint.host, wire.endpoint.port)
        self.sock = _Sock(wire, transport)


class _Sock:
    """The part of a socket that http.client uses."""

    def __init__(self, wire: Wire, transport: Transport) -> None:
        self.wire = wire
        self.transport = transport
        self.sendall = transport.sendall

    def makefile(self, _mode: str) -> _Lines:
        return _Lines(_Stream(self.transport, self.wire), self.wire)

    def close(self) -> None:
        """Do nothing: http.client closes before it reads the body. The guard closes the wire."""


class _Stream(io.RawIOBase):
    def __init__(self, transport: Transport, wire: Wire) -> None:
        super().__init__()
        self.transport, self.wire = transport, wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.transport.recv(len(buffer))
        if not data or isinstance(data, int):
            self.wire.ended = True  # TLS ends before the connection does
            return 0
        buffer[: len(data)] = data
        return len(data)


def _checked(headers: Mapping[str, str], *, gzip: bool) -> dict[str, str]:
    check_values(headers)
    return {name: value.strip() for name, value in headers.items()} | default_headers(headers, gzip=gzip)
