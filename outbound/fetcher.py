"""Send requests from one event loop: `Fetcher`, which collects samples from thousands of addresses of others.

It uses libcurl's multi interface, which needed the least CPU of the clients measured, and calls back instead of having
a task and a future for each request, which cost more than the request. It guarantees that the address of
each connection is checked (a name that resolves differently a second later gains nothing), that redirects are not
followed, that proxies, cookies and .netrc are ignored, and that time, body and headers are limited.

Single calls of code that may wait are made by `outbound.session`, which guarantees the same.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import pycurl

from explain.facts import Fact
from outbound.addresses import AllowList
from outbound.authorities import CertificateError, ca_file, trusted_pem
from outbound.endpoints import Endpoint, EndpointError, parse_endpoint
from outbound.headers import check_values, default_headers
from outbound.polling import READ, WRITE, Poll
from outbound.proxied import ProxiedTransfer
from outbound.proxy import LOOK_UP_S, Proxy, check_target, check_unresolved, look_up_problem, operators_proxy
from outbound.resolver import MAX_CACHED, Resolver, addresses_of
from outbound.system_errors import problem_of
from outbound.targets import Kind, Target, find_targets
from outbound.transfer import (
    Limits,
    Options,
    OutboundError,
    Response,
    Transfer,
    Waiting,
    check_options,
    timed_out,
)

__all__ = ["Endpoint", "EndpointError", "Fetcher", "Headers", "OutboundError", "Response", "parse_endpoint"]

# A signed request needs a new nonce each time it is sent: a callable is called before each sending.
Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]
Ended = Callable[[Response | Exception], None]

_EVENTS = {pycurl.POLL_IN: READ, pycurl.POLL_OUT: WRITE, pycurl.POLL_INOUT: READ | WRITE}
# At most so many ended requests are fetched from libcurl at once.
_AT_ONCE = 1000
# libcurl keeps the deadlines. A request whose end it did not report would hold its place, and its caller, for ever.
_OVERDUE_AFTER_S = 1.0

# Of which it is remembered by which authorities they are verified.
MOST_KNOWN_HOSTS = 10_000

_parsed = lru_cache(maxsize=4096)(parse_endpoint)


class _Host:
    """Requests to one host: how many are under way, and those that wait for one of them to end."""

    __slots__ = ("under_way", "waiting")

    def __init__(self) -> None:
        self.under_way = 0
        self.waiting: deque[Request] = deque()


class Request:
    """One call of `Fetcher.start`, until it has ended."""

    __slots__ = (
        "deadline",
        "ended",
        "endpoint",
        "expiry",
        "headers",
        "host",
        "limits",
        "options",
        "placed",
        "target_ip",
        "task",
        "transfer",
        "verified_twice",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        headers: Headers,
        ended: Ended,
        *,
        limits: Limits,
        deadline: float,
        options: Options | None,
    ) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self.ended: Ended | None = ended
        self.limits = limits
        self.deadline = deadline
        self.options = options  # None: a plain GET
        self.host: _Host | None = None  # while it has a place there
        self.target_ip = ""  # through a proxy: the address that was checked
        self.verified_twice = False  # by its own authorities and by the usual ones
        self.placed = False  # whether it has one of all places, too
        self.transfer: Transfer | None = None
        self.expiry: asyncio.TimerHandle | None = None  # while it waits for a place
        self.task: asyncio.Task[None] | None = None


class Fetcher:
    """Concurrent requests of one event loop: created while it runs, used from its thread, closed by `aclose()`.

    Args:
        allow: addresses that may be called although they are not public.
        max_connections, per_host: concurrent requests; waiting for a place counts against the timeout.
        keep_alive: number of idle connections to keep; as many as hosts, if the limit of open files allows it.
    """

    def __init__(
        self,
        allow: AllowList | None = None,
        *,
        max_connections: int = 512,
        per_host: int = 64,
        keep_alive: int = 256,
        max_header_bytes: int = 32 * 1024,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._resolver = Resolver(self._loop)
        self._allow = allow or AllowList()
        self._max_header_bytes = max_header_bytes
        self._per_host = per_host
        self._free = max_connections
        self._hosts: dict[str, _Host] = {}
        self._waiting: deque[Request] = deque()  # with a place at their host, for one of all
        self._idle: list[Transfer] = []
        # Hosts that are asked with authorities of their own, and the usual ones verify.
        self._usual: set[tuple[str, bytes]] = set()
        self._active: dict[pycurl.Curl, tuple[Request, Transfer]] = {}
        self._requests: set[Request] = set()
        self._suspects: set[Transfer] = set()
        # A separate selector inside the loop's: registering there costs a third of loop.add_reader per request.
        self._selector = Poll()
        self._loop.add_reader(self._selector.fileno(), self._on_ready)
        self._watched: set[int] = set()
        self._due: float | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._soon = False
        self._closed = False
        self._overdue_check = self._loop.call_later(_OVERDUE_AFTER_S, self._end_overdue)
        self._ca_file = ca_file()
        self._proxy = operators_proxy()
        # Listed names that only the proxy resolves, and until when they are not looked up.
        self._resolved_by_proxy: dict[str, float] = {}
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        # Limits are enforced by places; libcurl's own limits would queue without bound.
        self._multi.setopt(pycurl.M_MAXCONNECTS, max(keep_alive, 1))

    async def get(self, url: str, headers: Headers, **options: Any) -> Response:
        """Send a request, and take the same options, as `start` does. A cancelled call is cleaned up.

        Raises: OutboundError, which is meant for users and contains no header; ValueError for invalid headers and
            methods.
        """
        future: asyncio.Future[Response] = self._loop.create_future()
        request = self.start(url, headers, partial(_settle, future), **options)
        try:
            return await future
        finally:
            self.cancel(request)

    def start(  # noqa: PLR0913  (as of requests.request; all but three by name)
        self,
        url: str,
        headers: Headers,
        ended: Ended,
        *,
        timeout_s: float = 5.0,
        max_bytes: int = 65536,
        method: str = "GET",
        body: bytes = b"",
        gzip: bool = False,
        ca_pem: str = "",
        to: str = "",
    ) -> Request | None:
        """Begin a request; `ended` is called once with the response or what `get` would raise, perhaps at once.

        A redirect (3xx) is returned like any other answer. A kept-alive connection that proves dead is replaced and the
        request sent again, unless its method is POST or PATCH: the server may have done what it asks for.

        Args:
            timeout_s: for everything: waiting for a place, DNS, connecting, TLS, until the last byte.
            max_bytes: of the answer's body, as received and inflated.
            method: one of METHODS.
            gzip: whether the answer may be compressed (gzip or deflate).
            ca_pem: certificates in PEM of authorities to trust, besides the usual ones, for this request.
            to: the address to connect to, one of several instances (`resolve`), instead of any of the URL's host.
        """
        if self._closed:
            ended(_shutting_down())
            return None
        try:
            endpoint = _parsed(url)
            authorities = trusted_pem(ca_pem) if ca_pem else b""
        except (EndpointError, CertificateError) as error:
            ended(OutboundError("other", problem=error.fact))
            return None
        options: Options | None = None
        if method != "GET" or body or gzip or authorities or to:
            options = Options(method, body, gzip, authorities, to)
            try:
                check_options(options)
            except ValueError as error:
                ended(error)
                return None
        limits = Limits(timeout_s, max_bytes, self._max_header_bytes)
        deadline = self._loop.time() + timeout_s
        request = Request(endpoint, headers, ended, limits=limits, deadline=deadline, options=options)
        self._requests.add(request)
        host = self._hosts.get(endpoint.authority)
        if host is None:
            host = self._hosts[endpoint.authority] = _Host()
        if host.under_way < self._per_host:
            self._take_place(request, host)
        else:
            self._wait(request, host.waiting)
        return request

    async def resolve(self, name: str, kind: Kind, *, timeout_s: float = 5.0) -> list[Target]:
        """Return the instances behind a name, as `find_targets` does. Raises OutboundError."""
        return await find_targets(self._resolver, name, kind, timeout_s=timeout_s)

    def cancel(self, request: Request | None) -> None:
        """End a request without an answer, unless it has ended already."""
        if request is not None and request.ended is not None:
            request.ended = None
            self._end(request, None)

    async def aclose(self) -> None:
        """Close all connections. Requests under way fail; so do later ones. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        for request in list(self._requests):
            self._end(request, _shutting_down())
        await asyncio.sleep(0)
        for transfer in self._idle:
            transfer.close()
        self._idle.clear()
        if self._alarm is not None:
            self._alarm.cancel()
        self._overdue_check.cancel()
        await self._resolver.aclose()
        self._loop.remove_reader(self._selector.fileno())
        self._multi.close()
        self._selector.close()

    # ---------------------------------------------------------------------------------------------- one request

    def _wait(self, request: Request, queue: "deque[Request]") -> None:
        queue.append(request)
        if request.expiry is None:
            request.expiry = self._loop.call_at(request.deadline, self._expire, request, "place")

    def _expire(self, request: Request, phase: Waiting) -> None:
        self._end(request, timed_out(request.endpoint, request.limits.timeout_s, phase))

    def _end_overdue(self) -> None:
        latest = self._loop.time() - _OVERDUE_AFTER_S
        for request in [one for one in self._requests if one.deadline < latest]:
            if request in self._requests:  # the end of another may have ended it
                self._expire(request, "answer")
        self._overdue_check = self._loop.call_later(_OVERDUE_AFTER_S, self._end_overdue)

    def _take_place(self, request: Request, host: _Host) -> None:
        host.under_way += 1
        request.host = host
        if self._free > 0 and not self._waiting:
            self._begin(request)
        else:
            self._wait(request, self._waiting)

    def _begin(self, request: Request) -> None:
        self._free -= 1
        request.placed = True
        if request.expiry is not None:
            request.expiry.cancel()
            request.expiry = None
        endpoint = request.endpoint
        if self._proxy is not None:
            request.task = self._loop.create_task(self._reach_proxy(request, self._proxy))
        elif not endpoint.needs_look_up or (request.options is not None and request.options.to):
            self._send(request, ())
        elif (known := self._resolver.known(endpoint.host)) is not None:
            self._send(request, known)
        else:
            request.task = self._loop.create_task(self._look_up(request))

    async def _look_up(self, request: Request) -> None:
        try:
            async with asyncio.timeout_at(request.deadline):
                addresses = await self._resolver.look_up(request.endpoint.host)
        except TimeoutError:
            self._expire(request, "name")
        except OSError as error:
            self._end(request, OutboundError("dns", host=request.endpoint.host, problem=problem_of(error)))
        except Exception as error:  # such as no further thread: nothing else would end the request
            self._end(request, error)
        else:
            self._send(request, addresses)

    async def _reach_proxy(self, request: Request, proxy: Proxy) -> None:
        """Send a request through the proxy, if it may go where its host leads as far as that can be seen from here."""
        phase: Waiting = "name"
        try:
            async with asyncio.timeout_at(request.deadline):
                to = request.options.to if request.options is not None else ""
                checked = await self._checked_for_proxy(request.endpoint, to)
                phase = "proxy"
                addresses: tuple[str, ...] = ()
                if proxy.endpoint.needs_look_up:
                    addresses = await self._addresses(proxy.endpoint.host)
        except TimeoutError:
            self._expire(request, phase)
        except OSError as error:
            self._end(request, proxy.failed(problem_of(error)))
        except Exception as error:  # OutboundError, or no further thread: nothing else would end the request
            self._end(request, error)
        else:
            request.target_ip = checked[0] if checked else ""
            self._send(request, addresses)

    async def _checked_for_proxy(self, endpoint: Endpoint, to: str) -> tuple[str, ...]:
        """Return the addresses of a host, all of which may be called; none if it is listed and not resolved here.

        Raises: OutboundError.
        """
        host = endpoint.host
        if to:
            check_target(endpoint, (to,), self._allow)
            return (to,)
        if self._resolved_by_proxy.get(host, 0) > self._loop.time():
            return ()
        try:
            async with asyncio.timeout(LOOK_UP_S):
                addresses = await self._addresses(host) if endpoint.needs_look_up else addresses_of(endpoint, 0)
        except OSError as error:  # TimeoutError, too
            check_unresolved(endpoint, look_up_problem(error), self._allow)
            if len(self._resolved_by_proxy) >= MAX_CACHED:
                self._resolved_by_proxy.clear()
            self._resolved_by_proxy[host] = self._loop.time() + 60
            return ()
        check_target(endpoint, addresses, self._allow)
        return addresses

    async def _addresses(self, host: str) -> tuple[str, ...]:
        return self._resolver.known(host) or await self._resolver.look_up(host)

    def _send(self, request: Request, addresses: tuple[str, ...]) -> None:
        try:
            headers = request.headers
            options = request.options
            lines = _header_lines(headers() if callable(headers) else headers, options is not None and options.gzip)
            again = request.transfer
            own = options is not None and options.own_handle
            transfer = again or (self._idle.pop() if self._idle and not own else self._new_transfer(own))
            request.transfer = transfer
            transfer.target_ip = request.target_ip
            if options is not None and (request.endpoint.authority, options.ca_pem) in self._usual:
                options = options._replace(ca_pem=b"")
            left_s = request.deadline - self._loop.time()
            transfer.prepare(
                request.endpoint,
                addresses,
                lines,
                request.limits,
                left_s=left_s,
                fresh=again is not None,
                options=options,
            )
            self._multi.add_handle(transfer.easy)
            self._active[transfer.easy] = request, transfer
        except Exception as error:  # of the caller's headers, or of libcurl
            self._end(request, error)

    def _try_others(self, request: Request) -> bool:
        """Return whether a certificate of an unknown authority is still to be verified by the others.

        To trust a request's own and the usual ones at once, each connection would have to read all of them: 4 ms, 1 MB.
        """
        options = request.options
        if options is None or not options.ca_pem or request.verified_twice:
            return False
        request.verified_twice = True
        if len(self._usual) >= MOST_KNOWN_HOSTS:
            self._usual.clear()
        self._usual ^= {(request.endpoint.authority, options.ca_pem)}
        return True

    def _new_transfer(self, own: bool) -> Transfer:
        if self._proxy is not None:
            return ProxiedTransfer(self._proxy, self._allow, self._suspects, ca_file=self._ca_file, own=own)
        return Transfer(self._allow, self._suspects, ca_file=self._ca_file, own=own)

    def _end(self, request: Request, result: Response | Exception | None) -> None:
        """Free what the request holds and call back, unless it was cancelled."""
        ended, request.ended = request.ended, None
        self._requests.discard(request)
        if request.expiry is not None:
            request.expiry.cancel()
        if request.task is not None:
            request.task.cancel()
        transfer = request.transfer
        if transfer is not None:
            if self._active.pop(transfer.easy, None) is not None:
                self._multi.remove_handle(transfer.easy)
            if transfer.own:
                transfer.close()
            else:
                self._idle.append(transfer)
        if request.host is not None:
            self._free_places(request, request.host)
        if ended is not None and result is not None:
            try:
                ended(result)
            except Exception as error:  # of the caller; other requests go on
                self._loop.call_exception_handler({"message": "the end of a request raised", "exception": error})

    def _free_places(self, request: Request, host: _Host) -> None:
        self._free += request.placed
        host.under_way -= 1
        if self._closed:
            return
        while self._waiting and self._free > 0:
            following = self._waiting.popleft()
            if following.ended is not None:
                self._begin(following)
        while host.waiting and host.under_way < self._per_host:
            following = host.waiting.popleft()
            if following.ended is not None:
                self._take_place(following, host)
        if not host.under_way and not host.waiting:
            self._hosts.pop(request.endpoint.authority, None)

    # ------------------------------------------------------------------------------------- libcurl on the event loop

    def _on_socket(self, what: int, descriptor: int, _multi: Any, _data: Any) -> None:
        events = _EVENTS.get(what, 0)
        known = descriptor in self._watched
        if not events:
            if known:
                self._watched.discard(descriptor)
                self._selector.unregister(descriptor)
        elif known:
            self._selector.modify(descriptor, events)
        else:
            self._watched.add(descriptor)
            self._selector.register(descriptor, events)

    def _on_timer(self, milliseconds: int) -> None:
        """Set libcurl's single timer. It changes with every request: an earlier alarm stays and checks again."""
        if milliseconds < 0:
            self._due = None
            return
        self._due = self._loop.time() + milliseconds / 1000
        if milliseconds == 0:
            if not self._soon:  # libcurl must not be called from its own callback
                self._soon = True
                self._loop.call_soon(self._on_due)
        elif self._alarm is None or self._alarm.when() > self._due:
            self._set_alarm(self._due)

    def _set_alarm(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(when, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        if self._due is None:
            return
        if self._due > self._loop.time():
            self._set_alarm(self._due)
        else:
            self._on_due()

    def _on_due(self) -> None:
        self._soon = False
        if self._closed:
            return
        self._due = None
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()

    def _on_ready(self) -> None:
        for descriptor, events in self._selector.poll(0):
            if descriptor in self._watched:  # it may have been removed in the same round
                # What is neither (a broken connection) counts as both, as in Python's selectors.
                ready = (pycurl.CSELECT_IN if events & ~WRITE else 0) | (pycurl.CSELECT_OUT if events & ~READ else 0)
                self._multi.socket_action(descriptor, ready)
        self._collect()

    def _collect(self) -> None:
        queued = 1
        while queued:
            queued, succeeded, failed = self._multi.info_read(_AT_ONCE)
            for easy in succeeded:
                self._finish(easy)
            for easy, code, text in failed:
                self._finish(easy, code, text)
        while self._suspects:
            suspect = self._suspects.pop()
            active = self._active.get(suspect.easy)
            if active is not None and (error := suspect.excess()) is not None:
                self._end(active[0], error)

    def _finish(self, easy: pycurl.Curl, code: int = 0, text: str = "") -> None:
        """End the request of a handle, or send it again. code, text: of libcurl's error, if there was one."""
        if easy not in self._active:
            return
        request, transfer = self._active[easy]
        try:
            if code and transfer.unknown_authority(code) and self._try_others(request):
                self._send_again(request, transfer)
                return
            result: Response | Exception | None = transfer.failure(code, text) if code else transfer.outcome()
        except Exception as error:  # libcurl reports an end once: whatever the server sent, this must not be lost
            result = error
        if result is None and (transfer.fresh or (request.options is not None and not request.options.repeatable)):
            problem = Fact("closed_unanswered")
            result = OutboundError("protocol", host=request.endpoint.authority, problem=problem)
        if result is not None:
            self._end(request, result)
            return
        self._send_again(request, transfer)  # a kept-alive connection was dead

    def _send_again(self, request: Request, transfer: Transfer) -> None:
        """Send a request on a new connection. The headers are built anew: a nonce is valid once."""
        self._multi.remove_handle(transfer.easy)
        del self._active[transfer.easy]
        self._send(request, transfer.addresses)


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():  # nobody waits for it any more
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _shutting_down() -> OutboundError:
    return OutboundError("other", problem=Fact("shutting_down"))


def _header_lines(headers: Mapping[str, str], gzip: bool) -> list[str]:
    """Return the header lines for libcurl; raises ValueError for an invalid header."""
    check_values(headers)
    lines = [f"{name}: {value}" if value.strip() else f"{name};" for name, value in headers.items()]
    return lines + _default_lines(tuple(headers), gzip)


@lru_cache(maxsize=256)
def _default_lines(names: tuple[str, ...], gzip: bool) -> list[str]:
    """Return the lines of headers that are not given. (Cached: a program uses few sets of names.)"""
    return [f"{name}: {value}" for name, value in default_headers(names, gzip=gzip).items()]
