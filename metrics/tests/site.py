"""A site over HTTP whose pages a test writes: what it answers on each path, and what it was asked."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Page:
    """One answer. chunks: how often the body is sent; pause_s: before the answer, and between them."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/html; charset=utf-8"),)
    pause_s: float = 0.0
    chunks: int = 1


Answer = Page | Callable[[Asked], Page]


@dataclass
class Site:
    """under_way, most: requests that are answered at once, now and at most."""

    url: str = ""
    pages: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    under_way: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def clear(self) -> None:
        self.pages.clear()
        self.asked.clear()

    def answer(self, asked: Asked) -> Page:
        self.asked.append(asked)
        found = self.pages.get(asked.path.partition("?")[0], Page(b"nothing here", 404))
        return found if isinstance(found, Page) else found(asked)


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Serve a site on this machine until the block ends. tls: over HTTPS."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with site.lock:
                site.under_way += 1
                site.most = max(site.most, site.under_way)
            page = site.answer(Asked(self.command, self.path, dict(self.headers), body))
            site.stopping.wait(page.pause_s)
            with site.lock:
                site.under_way -= 1
            self.send_response(page.status)
            for name, value in page.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(page.body) * page.chunks))
            self.end_headers()
            if self.command == "HEAD":
                return
            try:
                for _ in range(page.chunks):
                    self.wfile.write(page.body)
                    if page.chunks > 1 and page.pause_s and site.stopping.wait(page.pause_s):
                        return
            except OSError:
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  (names of the library)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    site.url = f"http{'' if tls is None else 's'}://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        site.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
