"""uvicorn's server with the front's connections and bridge."""

import asyncio
import socket
from typing import Any

from uvicorn import Config
from uvicorn.server import Server

from seqpulse.front.bridge import Bridge
from seqpulse.front.connections import Bounds, Door, protocol

OPTIONS: dict[str, Any] = {
    "loop": "asyncio",
    "ws": "none",
    "lifespan": "off",
    "interface": "asgi3",
    "log_config": None,
    # REMOTE_ADDR is the peer. Which proxies are believed says SEQPULSE_TRUSTED_PROXIES.
    "proxy_headers": False,
    "server_header": False,
}


class FrontServer(Server):
    """Serve a bridge until `should_exit` is set. given: more options of uvicorn's Config."""

    def __init__(self, bridge: Bridge, bounds: Bounds, **given: Any) -> None:
        self.bridge = bridge
        self.door = Door(bounds)
        super().__init__(Config(bridge, http=protocol(self.door), **{**OPTIONS, **given}))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.watch = asyncio.create_task(self.door.watch())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.bridge.topics is not None:
            # Who waits is answered as if the time was over.
            self.bridge.topics.wake_all(changed=False)
        await super().shutdown(sockets)
        self.watch.cancel()
