"""uvicorn's server with the front's connections and bridge."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from django.conf import settings
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import HANDLED_SIGNALS, Server

from seqpulse.front.bridge import Bridge, environ_of
from seqpulse.front.connections import Door, Scope, protocol
from seqpulse.front.health_watch import watch_health
from seqpulse.front.listening import Listener

logger = structlog.get_logger(__name__)

OPTIONS: dict[str, Any] = {
    "loop": "asyncio",
    "ws": "none",
    "lifespan": "off",
    "interface": "asgi3",
    "log_config": None,
    # REMOTE_ADDR is the peer. Which proxies are believed says SEQPULSE_TRUSTED_PROXIES.
    "proxy_headers": False,
    "server_header": False,
    # How many connections the loop accepts in one go; so many clients may come at once beside one that is served.
    "backlog": 50,
}
# How many connections the system keeps until they are accepted.
BACKLOG = 2048
# After an error that a task of the server does not expect, such as a thread that cannot be started.
RESTART_AFTER_S = 1.0


async def restarted(work: Callable[..., Coroutine[Any, Any, None]], *given: Any) -> None:
    """Run a task until cancelled; log an error and begin again: without it clients would wait in vain until the end."""
    while True:
        try:
            await work(*given)
        except Exception:
            logger.exception("task_failed", task=work.__qualname__)
        await asyncio.sleep(RESTART_AFTER_S)


class FrontServer(Server):
    """Serve a bridge until `should_exit` is set.

    Args:
        listener: hears of the changes that held answers wait for.
        given: more options of uvicorn's Config.
    """

    def __init__(self, bridge: Bridge, listener: Listener | None = None, **given: Any) -> None:
        self.bridge = bridge
        self.changes = listener
        self.door = Door(bridge.running, self._refusal, settings.SEQPULSE_TRUSTED_PROXIES, bridge.refused)
        super().__init__(Config(bridge, http=protocol(self.door), **{**OPTIONS, **given}))

    def _refusal(self, status: int, scope: Scope | None) -> bytes:
        """Return the bytes of a refusal, after which the connection is closed."""
        response = self.bridge.refusals.response(status, None if scope is None else environ_of(scope, b""))
        headers = [*response.items(), ("Content-Length", str(len(response.content))), ("Connection", "close")]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return STATUS_LINE[status] + lines.encode("latin-1") + b"\r\n" + response.content

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at the usual signals. uvicorn would raise them again at the end, and the worker die of them."""
        if threading.current_thread() is threading.main_thread():
            for number in HANDLED_SIGNALS:
                signal.signal(number, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)
        self.tasks = [asyncio.create_task(restarted(self.door.watch))]
        if self.changes is not None:
            self.tasks.append(asyncio.create_task(restarted(self.changes.run)))
        if self.bridge.waiting is not None:
            self.tasks.append(asyncio.create_task(restarted(watch_health, self.bridge.waiting)))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.bridge.waiting is not None:
            self.bridge.waiting.end()
        await super().shutdown(sockets)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
