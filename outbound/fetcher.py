"""Send GET requests from one event loop: `Fetcher`, the only way for requests to addresses of others.

It uses libcurl's multi interface, which needed the least CPU of the clients measured. It guarantees that the address of
each connection is checked (a name that resolves differently a second later gains nothing), that redirects are not
followed, that proxies, cookies and .netrc are ignored, and that time, body and headers are limited.
"""

import asyncio
import os
import re
import selectors
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import certifi
import pycurl

from explain.facts import Fact
from outbound.addresses import AllowList
from outbound.endpoints import Endpoint, EndpointError, parse_endpoint
from outbound.resolver import Resolver
from outbound.system_errors import problem_of
from outbound.transfer import Limits, OutboundError, Response, Transfer, timed_out

__all__ = ["Endpoint", "EndpointError", "Fetcher", "Headers", "OutboundError", "Response", "parse_endpoint"]

# A signed request needs a new nonce each time it is sent: a callable is called before each sending.
Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
# Headers set by libcurl only; a caller that sets them could split requests.
_OURS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "expect", "accept-encoding"}
)
_DEFAULT_HEADERS = {"User-Agent": "SeqPulse", "Accept": "application/json, */*;q=0.5"}

_EVENTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}

_parsed = lru_cache(maxsize=4096)(parse_endpoint)


@dataclass
class _Places:
    """A bounded number of places for one host; dropped when unused."""

    semaphore: asyncio.Semaphore
    users: int = 0


class Fetcher:
    """Concurrent GET requests of one event loop: created while it runs, used from its thread, closed by `aclose()`.

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
        self._places = asyncio.Semaphore(max_connections)
        self._hosts: dict[str, _Places] = {}
        self._idle: list[Transfer] = []
        self._active: dict[pycurl.Curl, Transfer] = {}
        self._suspects: set[Transfer] = set()
        # A separate selector inside the loop's: registering there costs a third of loop.add_reader per request.
        self._selector = selectors.DefaultSelector()
        self._loop.add_reader(self._selector.fileno(), self._on_ready)
        self._watched: set[int] = set()
        self._due: float | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._soon = False
        self._closed = False
        self._ca_file = os.environ.get("SSL_CERT_FILE") or certifi.where()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        # Limits are enforced by places; libcurl's own limits would queue without bound.
        self._multi.setopt(pycurl.M_MAXCONNECTS, max(keep_alive, 1))

    async def get(self, url: str, headers: Headers, *, timeout_s: float = 5.0, max_bytes: int = 65536) -> Response:
        """GET `url`.

        A redirect (3xx) is returned like any other answer. A cancelled call is cleaned up.

        Args:
            timeout_s: for everything: waiting for a place, DNS, connecting, TLS, until the last byte.

        Raises: OutboundError, which is meant for users and contains no header; ValueError for invalid headers.
        """
        if self._closed:
            raise OutboundError("other", problem=Fact("shutting_down"))
        try:
            endpoint = _parsed(url)
        except EndpointError as error:
            raise OutboundError("other", problem=error.fact) from None
        deadline = self._loop.time() + timeout_s
        host = self._hosts.get(endpoint.authority)
        if host is None:
            host = self._hosts[endpoint.authority] = _Places(asyncio.Semaphore(self._per_host))
        host.users += 1
        try:
            await self._wait_for_a_place(host, endpoint, deadline, timeout_s)
            try:
                return await self._run(
                    endpoint, headers, deadline, Limits(timeout_s, max_bytes, self._max_header_bytes)
                )
            finally:
                self._places.release()
                host.semaphore.release()
        finally:
            host.users -= 1
            if not host.users:
                self._hosts.pop(endpoint.authority, None)

    async def aclose(self) -> None:
        """Close all connections. Requests under way fail; so do later ones. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        for transfer in list(self._active.values()):
            self._remove(transfer)
            transfer.fail(OutboundError("other", problem=Fact("shutting_down")))
        await asyncio.sleep(0)
        for transfer in self._idle:
            transfer.close()
        self._idle.clear()
        if self._alarm is not None:
            self._alarm.cancel()
        await self._resolver.aclose()
        self._loop.remove_reader(self._selector.fileno())
        self._multi.close()
        self._selector.close()

    # ---------------------------------------------------------------------------------------------- one request

    async def _wait_for_a_place(self, host: _Places, endpoint: Endpoint, deadline: float, timeout_s: float) -> None:
        if not host.semaphore.locked() and not self._places.locked():
            await host.semaphore.acquire()  # neither waits; a timer would cost more than everything else here
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout_at(deadline):
                await host.semaphore.acquire()
                try:
                    await self._places.acquire()
                except BaseException:
                    host.semaphore.release()
                    raise
        except TimeoutError:
            raise timed_out(endpoint, timeout_s, "place") from None

    async def _run(self, endpoint: Endpoint, headers: Headers, deadline: float, limits: Limits) -> Response:
        addresses = await self._resolve(endpoint, deadline, limits.timeout_s)
        transfer = self._idle.pop() if self._idle else self._new_transfer()
        expiry = self._loop.call_at(deadline, transfer.expire)
        try:
            for first in (True, False):
                lines = _header_lines(headers() if callable(headers) else headers)
                future = transfer.prepare(endpoint, addresses, lines, limits, fresh=not first)
                self._active[transfer.easy] = transfer
                self._multi.add_handle(transfer.easy)
                response = await future
                # None: a kept-alive connection was dead. Build the headers anew: a nonce is valid once.
                if response is not None:
                    return response
            raise OutboundError("protocol", host=endpoint.authority, problem=Fact("closed_unanswered"))
        finally:
            expiry.cancel()
            self._remove(transfer)
            if self._closed:
                transfer.close()
            else:
                self._idle.append(transfer)

    async def _resolve(self, endpoint: Endpoint, deadline: float, timeout_s: float) -> tuple[str, ...]:
        """Return the addresses of the endpoint's name; none if libcurl needs no look-up."""
        if not endpoint.needs_look_up:
            return ()
        known = self._resolver.known(endpoint.host)
        if known is not None:
            return known
        try:
            async with asyncio.timeout_at(deadline):
                return await self._resolver.look_up(endpoint.host)
        except TimeoutError:
            raise timed_out(endpoint, timeout_s, "name") from None
        except OSError as error:
            raise OutboundError("dns", host=endpoint.host, problem=problem_of(error)) from None

    def _new_transfer(self) -> Transfer:
        return Transfer(self._loop, self._allow, self._suspects, ca_file=self._ca_file)

    def _remove(self, transfer: Transfer) -> None:
        if self._active.pop(transfer.easy, None) is not None:
            self._multi.remove_handle(transfer.easy)

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
        for key, events in self._selector.select(0):
            if key.fd in self._watched:  # it may have been removed in the same round
                self._multi.socket_action(key.fd, events)
        self._collect()

    def _collect(self) -> None:
        while True:
            queued, succeeded, failed = self._multi.info_read()
            for easy in succeeded:
                transfer = self._active[easy]
                self._remove(transfer)
                transfer.succeed()
            for easy, code, text in failed:
                transfer = self._active[easy]
                self._remove(transfer)
                transfer.fail_with_code(code, text)
            if not queued:
                break
        while self._suspects:
            transfer = self._suspects.pop()
            if transfer.easy in self._active and (error := transfer.excess()) is not None:
                self._remove(transfer)
                transfer.fail(error)


def _header_lines(headers: Mapping[str, str]) -> list[str]:
    """Return the header lines for libcurl.

    Raises: ValueError, without the value, for an invalid header.
    """
    if not _VALUE.fullmatch("".join(headers.values())):
        raise ValueError("A header's value contains a character that is not allowed there.")
    lines = [f"{name}: {value}" if value.strip() else f"{name};" for name, value in headers.items()]
    return lines + _default_lines(tuple(headers))


@lru_cache(maxsize=256)
def _default_lines(names: tuple[str, ...]) -> list[str]:
    """Check the names; return the additional default lines. (Cached: a program uses few sets of names.)"""
    given = {name.lower() for name in names}
    for name in names:
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            raise ValueError(f"The header {name!r} cannot be set.")
    defaults = [f"{name}: {value}" for name, value in _DEFAULT_HEADERS.items() if name.lower() not in given]
    return ["Accept-Encoding: identity", *defaults]
