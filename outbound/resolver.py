"""Resolve names without letting a hanging name block others.

A look-up cannot be interrupted, and libcurl has few threads for them: twenty names with a dead server would block all
others, and the end of the program. Here every name is looked up by its own daemon thread.
"""

import asyncio
import contextlib
import errno
import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass

from outbound.endpoints import Endpoint

MAX_CACHED = 10_000
# RFC 6761: these names lead to the own machine, whatever a name server says.
LOCALHOST = ("127.0.0.1", "::1")

# Look-ups of `addresses_of` under way, by name: who asks for a name that hangs waits for the thread that is there.
_running: dict[str, "Future[tuple[str, ...]]"] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class _Known:
    addresses: tuple[str, ...]
    until: float  # the loop's time


class Resolver:
    """Look names up for one event loop, with a cache. Not thread-safe, like the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, ttl_s: float = 60.0, max_threads: int = 512) -> None:
        self._loop = loop
        self._ttl_s = ttl_s
        self._free = asyncio.Semaphore(max_threads)
        self._known: dict[str, _Known] = {}
        self._running: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    def known(self, host: str) -> tuple[str, ...] | None:
        """Return the cached addresses of `host`, else None."""
        entry = self._known.get(host)
        return entry.addresses if entry is not None and entry.until > self._loop.time() else None

    async def look_up(self, host: str) -> tuple[str, ...]:
        """Return the addresses of `host` in the order in which to try them. May take long.

        If the caller is cancelled, the look-up continues: the next caller for this name waits for the same one.

        Raises: OSError.
        """
        task = self._running.get(host)
        if task is None:
            task = self._running[host] = self._loop.create_task(self._look_up(host))
            task.add_done_callback(lambda done: self._finished(host, done))
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Close without waiting: hanging threads end by themselves and do not keep the process alive."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _finished(self, host: str, task: asyncio.Task[tuple[str, ...]]) -> None:
        self._running.pop(host, None)
        if task.cancelled() or task.exception() is not None:
            return
        if len(self._known) >= MAX_CACHED:
            self._known.clear()
        self._known[host] = _Known(task.result(), self._loop.time() + self._ttl_s)

    async def _look_up(self, host: str) -> tuple[str, ...]:
        await self._free.acquire()
        future: asyncio.Future[tuple[str, ...]] = self._loop.create_future()
        # The place is free when the thread ends, not when its callers have gone.
        thread = threading.Thread(target=self._work, args=(host, future), name=f"resolve {host}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system allows no more threads
            self._free.release()
            raise
        return await future

    def _work(self, host: str, future: asyncio.Future[tuple[str, ...]]) -> None:
        found: tuple[str, ...] | OSError
        try:
            found = _addresses(host)
        except OSError as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._deliver, future, found)

    def _deliver(self, future: asyncio.Future[tuple[str, ...]], found: tuple[str, ...] | OSError) -> None:
        self._free.release()
        if future.done():
            return
        if isinstance(found, OSError):
            future.set_exception(found)
        else:
            future.set_result(found)


def addresses_of(endpoint: Endpoint, timeout_s: float) -> tuple[str, ...]:
    """Return the addresses of an endpoint's host in the order in which to try them; waits, for one thread.

    Raises: TimeoutError, and OSError for a name without addresses.
    """
    host = endpoint.host
    if endpoint.needs_look_up:
        return _look_up_in_thread(host).result(timeout_s)
    if host.rstrip(".").rpartition(".")[2] == "localhost":
        return LOCALHOST
    return _addresses(host, socket.AI_NUMERICHOST)


def _look_up_in_thread(host: str) -> "Future[tuple[str, ...]]":
    """Return the look-up of a name that is under way, or begin one. Raises OSError."""
    with _lock:
        future = _running.get(host)
        if future is not None:
            return future
        future = Future()
        thread = threading.Thread(target=_settle, args=(host, future), name=f"resolve {host}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system allows no more threads
            raise OSError(errno.EAGAIN, str(error)) from None
        _running[host] = future
    return future


def _settle(host: str, future: "Future[tuple[str, ...]]") -> None:
    try:
        found = _addresses(host)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(found)
    finally:
        with _lock:
            _running.pop(host, None)


def _addresses(host: str, flags: int = 0) -> tuple[str, ...]:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError as error:  # from Python's encoding of invalid names
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from None
    return tuple(dict.fromkeys(str(address[0]) for *_, address in answers))
