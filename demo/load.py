"""Send requests to the simulated service at a constant rate, however fast it answers."""

import asyncio
import threading

REQUESTS_PER_SECOND = 40.0
# Open loop: a slow service gets as many requests as a fast one. It needs 40/s x 0.4 s = 16.
MAX_CONCURRENT = 200
REQUEST_TIMEOUT_S = 5.0


class Load:
    """A thread with an event loop that sends the requests; `stop()` waits for it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ended = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._send()), name="load", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join(REQUEST_TIMEOUT_S)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        under_way: set[asyncio.Task[None]] = set()
        due = loop.time()
        while not self.ended.is_set():
            # Catch up after a pause of the machine, by one second at most.
            due = max(due + 1 / REQUESTS_PER_SECOND, loop.time() - 1)
            await asyncio.sleep(due - loop.time())
            if len(under_way) < MAX_CONCURRENT:
                task = asyncio.create_task(self._request())
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    async def _request(self) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(b"GET /work HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
                    await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            pass  # the service is starting or gone; its measurements show it
