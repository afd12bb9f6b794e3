"""The one door for requests that we send: `Fetcher`, for one event loop, and the check of the URLs it takes.

It runs on libcurl's multi interface: at 50 µs of CPU per request it leaves the poller's core to the poller. What it guarantees:
the address that a connection really goes to is checked (a name that resolves differently a second later gains nothing), redirects
are not followed, proxies, cookies and .netrc are out of play, and time, body and headers are bounded, whatever the other side does.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import certifi
import pycurl

from security.addresses import AllowList
from security.endpoints import Endpoint, EndpointError, parse_endpoint
from security.transfer import OutboundError, Response, Transfer

__all__ = ["Endpoint", "EndpointError", "Fetcher", "Headers", "OutboundError", "Response", "parse_endpoint"]

# A signed request needs a new nonce each time it is sent. A callable is asked again before a request is sent a second time.
Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
# What libcurl must decide itself; a caller who sets it could split requests.
_OURS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "expect", "accept-encoding"}
)
_DEFAULT_HEADERS = {"User-Agent": "SeqPulse", "Accept": "application/json, */*;q=0.5"}

_parsed = lru_cache(maxsize=4096)(parse_endpoint)


@dataclass
class _Places:
    """A bounded number of places for one host; forgotten when nobody uses it."""

    semaphore: asyncio.Semaphore
    users: int = 0


class Fetcher:
    """GET requests, many at once, from one event loop. Use it from that loop's thread only, and `aclose()` it there.

    allow: what may be called although it is not public.
    max_connections, per_host: requests under way at once; others wait, and their wait counts against their timeout.
    keep_alive: idle connections kept for later; as many as there are hosts, if the limit on open files allows it.
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
        self._allow = allow or AllowList()
        self._max_header_bytes = max_header_bytes
        self._per_host = per_host
        self._places = asyncio.Semaphore(max_connections)
        self._hosts: dict[str, _Places] = {}
        self._idle: list[Transfer] = []
        self._active: dict[pycurl.Curl, Transfer] = {}
        self._watched: dict[int, int] = {}
        self._timer: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._ca_file = os.environ.get("SSL_CERT_FILE") or certifi.where()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        # The limits are ours (places); libcurl's own would queue without an end.
        self._multi.setopt(pycurl.M_MAXCONNECTS, max(keep_alive, 1))

    async def get(self, url: str, headers: Headers, *, timeout_s: float = 5.0, max_bytes: int = 65536) -> Response:
        """GET `url`. `timeout_s` covers everything: waiting for a place, DNS, connecting, TLS, the last byte.

        A redirect (3xx) is returned like any other answer. Raises OutboundError; its text is meant for the user and contains
        no header. A cancelled call leaves nothing behind.
        """
        if self._closed:
            raise OutboundError("other", "the program is shutting down")
        self._loop = self._loop or asyncio.get_running_loop()
        try:
            endpoint = _parsed(url)
        except EndpointError as error:
            raise OutboundError("other", str(error)) from None
        deadline = self._loop.time() + timeout_s
        transfer: Transfer | None = None
        host = self._hosts.setdefault(endpoint.authority, _Places(asyncio.Semaphore(self._per_host)))
        host.users += 1
        try:
            async with asyncio.timeout_at(deadline), host.semaphore, self._places:
                transfer = self._idle.pop() if self._idle else self._new_transfer()
                return await self._run(transfer, endpoint, headers, deadline, max_bytes)
        except TimeoutError:
            where = transfer.phase() if transfer is not None else "waiting for its turn"
            raise OutboundError(
                "timeout", f"no complete answer from {endpoint.authority} within {timeout_s:g} s ({where})"
            ) from None
        finally:
            host.users -= 1
            if not host.users:
                self._hosts.pop(endpoint.authority, None)
            if transfer is not None:
                self._recycle(transfer)

    async def aclose(self) -> None:
        """Close all connections. Requests under way fail; so do later ones."""
        self._closed = True
        for transfer in list(self._active.values()):
            self._remove(transfer)
            transfer.fail(OutboundError("other", "the program is shutting down"))
        await asyncio.sleep(0)
        for transfer in self._idle:
            transfer.close()
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._multi.close()
        for descriptor in list(self._watched):
            self._watch(descriptor, 0)

    # ---------------------------------------------------------------------------------------------- one request

    async def _run(
        self, transfer: Transfer, endpoint: Endpoint, headers: Headers, deadline: float, max_bytes: int
    ) -> Response:
        assert self._loop is not None
        for first in (True, False):
            lines = _header_lines(headers() if callable(headers) else headers)
            remaining = deadline - self._loop.time()
            if remaining <= 0:
                raise TimeoutError
            future = transfer.prepare(endpoint, lines, remaining, max_bytes, fresh=not first)
            self._active[transfer.easy] = transfer
            self._multi.add_handle(transfer.easy)
            response = await future
            # A kept connection had died: the same bytes must not be sent twice, a nonce is valid once.
            if response is not None:
                return response
        raise OutboundError("protocol", f"{endpoint.authority} closed the connection without an answer")

    def _new_transfer(self) -> Transfer:
        assert self._loop is not None
        return Transfer(self._loop, self._allow, ca_file=self._ca_file, max_header_bytes=self._max_header_bytes)

    def _remove(self, transfer: Transfer) -> None:
        if self._active.pop(transfer.easy, None) is not None:
            self._multi.remove_handle(transfer.easy)

    def _recycle(self, transfer: Transfer) -> None:
        self._remove(transfer)
        if self._closed:
            transfer.close()
        else:
            self._idle.append(transfer)

    # ------------------------------------------------------------------------------------- libcurl on the event loop

    def _on_socket(self, what: int, descriptor: int, _multi: Any, _data: Any) -> None:
        self._watch(descriptor, 0 if what == pycurl.POLL_REMOVE else what)

    def _watch(self, descriptor: int, wanted: int) -> None:
        assert self._loop is not None
        changed = self._watched.get(descriptor, 0) ^ wanted
        if changed & pycurl.POLL_IN:
            if wanted & pycurl.POLL_IN:
                self._loop.add_reader(descriptor, self._on_ready, descriptor, pycurl.CSELECT_IN)
            else:
                self._loop.remove_reader(descriptor)
        if changed & pycurl.POLL_OUT:
            if wanted & pycurl.POLL_OUT:
                self._loop.add_writer(descriptor, self._on_ready, descriptor, pycurl.CSELECT_OUT)
            else:
                self._loop.remove_writer(descriptor)
        if wanted:
            self._watched[descriptor] = wanted
        else:
            self._watched.pop(descriptor, None)

    def _on_timer(self, milliseconds: int) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if milliseconds == 0:  # libcurl must not be called from its own callback
            self._timer = self._loop.call_soon(self._on_timeout)
        elif milliseconds > 0:
            self._timer = self._loop.call_later(milliseconds / 1000, self._on_timeout)

    def _on_timeout(self) -> None:
        self._timer = None
        self._on_ready(pycurl.SOCKET_TIMEOUT, 0)

    def _on_ready(self, descriptor: int, events: int) -> None:
        if self._closed:
            return
        self._multi.socket_action(descriptor, events)
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
                return


def _header_lines(headers: Mapping[str, str]) -> list[str]:
    """The header lines for libcurl. Raises ValueError, without the value, if one is not fit to be sent: a caller's mistake."""
    lines = ["Accept-Encoding: identity"]
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            raise ValueError(f"The header {name!r} cannot be set.")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"The value of the header {name} contains a character that is not allowed there.")
        lines.append(f"{name}: {value}" if value.strip() else f"{name};")
    given = {name.lower() for name in headers}
    lines += [f"{name}: {value}" for name, value in _DEFAULT_HEADERS.items() if name.lower() not in given]
    return lines
