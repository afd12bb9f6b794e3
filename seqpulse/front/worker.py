"""gunicorn's worker that runs the front's server.

gunicorn's master imports it before `on_starting`: nothing here may import prometheus_client or need Django's settings.
"""

import logging
import os
import resource
import sys
from contextlib import suppress
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING

from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from seqpulse.front.bounds import Bounds

if TYPE_CHECKING:
    from seqpulse.front.server import FrontServer

# How often the worker tells its master that it lives, and looks whether the master does.
NOTIFY_S = 1
# Files of a worker that are no clients: database connections, logs, counters.
OTHER_FILES = 256


class FrontWorker(UvicornWorker):
    """Serve a WSGI application from an event loop and a pool of threads (gunicorn's setting `threads`)."""

    bounds = Bounds()
    server: "FrontServer | None" = None

    def init_process(self) -> None:
        # Each client is an open file: as many as the system allows.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.bounds = replace(self.bounds, connections=min(self.bounds.connections, files - OTHER_FILES))
        super().init_process()

    async def _serve(self) -> None:
        from django.conf import settings  # noqa: PLC0415  (see above)

        from scheduler.listener import connection_parameters  # noqa: PLC0415
        from seqpulse.front.bridge import Bridge  # noqa: PLC0415
        from seqpulse.front.listening import Listener  # noqa: PLC0415
        from seqpulse.front.server import FrontServer  # noqa: PLC0415
        from seqpulse.front.topics import Topics  # noqa: PLC0415
        from seqpulse.front.waiting import Waiting  # noqa: PLC0415

        # Into the common log, and only what is wrong with us: the front counts what is wrong with clients.
        logger = logging.getLogger("uvicorn.error")
        logger.propagate = True
        logger.setLevel(logging.ERROR)
        topics = Topics()
        bridge = Bridge(
            self.wsgi,
            threads=self.cfg.threads,
            body_bytes=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
            bounds=self.bounds,
            waiting=Waiting(topics, settings.SEQPULSE_WAITING_MAX),
        )
        self.server = FrontServer(
            bridge,
            Listener(topics, connection_parameters),
            timeout_keep_alive=self.cfg.keepalive,
            limit_max_requests=self.max_requests,
            timeout_notify=NOTIFY_S,
            callback_notify=self.callback_notify,
        )
        self._install_sigquit_handler()
        await self.server.serve(sockets=self.sockets)
        if not self.server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at once (SIGQUIT): answers that are under way are not waited for."""
        if self.server is not None:
            self.server.should_exit = self.server.force_exit = True

    async def callback_notify(self) -> None:
        self.notify()
        # gunicorn's reloader ends it; or its master is gone, and it would serve for ever beside the next one's workers.
        if self.server is not None and (not self.alive or self.ppid != os.getppid()):
            self.server.should_exit = True
