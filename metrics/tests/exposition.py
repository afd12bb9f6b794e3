"""A service under load that serves what exporters serve, and servers that scrape it: for tests."""

import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

from metrics.tests.prometheus import wait_until_ready
from tests.processes import free_port
from tests.system_tools import require

# What a path serves, by the seconds since the service began: samples by name with labels.
Exposition = Callable[[float], Mapping[str, float]]
NATIVE = "checkout_http_request_duration_seconds"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"


def histogram(name: str, labels: str, rate: float, *, fast: float = 0.9) -> Exposition:
    """Requests at this rate: the fast share within 0.1 s, the others between 0.1 and 0.2 s."""

    def at(seconds: float) -> dict[str, float]:
        count = rate * seconds
        return {
            f'{name}_bucket{{{labels},le="0.1"}}': fast * count,
            f'{name}_bucket{{{labels},le="0.2"}}': count,
            f'{name}_bucket{{{labels},le="+Inf"}}': count,
            f"{name}_count{{{labels}}}": count,
            f"{name}_sum{{{labels}}}": 0.06 * count,
        }

    return at


def counter(series: str, rate: float) -> Exposition:
    return lambda seconds: {series: rate * seconds}


def gauge(series: str, value: float) -> Exposition:
    return lambda seconds: {series: value}


def text_of(samples: Mapping[str, float]) -> bytes:
    return "".join(f"{name} {value}\n" for name, value in samples.items()).encode()


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def zigzag(number: int) -> int:
    return number * 2 if number >= 0 else -number * 2 - 1


def block(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def double(field: int, value: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", value)


def native_histogram(name: str, labels: Mapping[str, str], count: int) -> bytes:
    """A native histogram (schema 0: powers of two) with all observations between 0.125 and 0.25, as protobuf."""
    pairs = b"".join(block(1, block(1, key.encode()) + block(2, text.encode())) for key, text in labels.items())
    values = number(1, count) + double(2, 0.2 * count) + number(5, zigzag(0)) + double(6, 1e-9) + number(7, 0)
    values += block(12, number(1, zigzag(-2)) + number(2, 1)) + number(13, zigzag(count))
    family = block(1, name.encode()) + number(3, 4) + block(4, pairs + block(7, values))
    return varint(len(family)) + family


@contextmanager
def service(paths: Mapping[str, Iterable[Exposition]]) -> Iterator[str]:
    """Serve expositions by path, and a native histogram at /native; yield host and port."""
    begun = time.time()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seconds = time.time() - begun
            if self.path == "/native":
                kind, body = PROTOBUF, native_histogram(NATIVE, {"status": "200"}, int(20 * seconds))
            else:
                kind = "text/plain; version=0.0.4"
                body = b"".join(text_of(one(seconds)) for one in paths[self.path])
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def scrape_config(target: str, jobs: Mapping[str, str]) -> str:
    """Return the configuration of Prometheus that scrapes a service every 0.5 s. jobs: paths by name."""
    lines = ["global: {scrape_interval: 500ms, scrape_timeout: 500ms}", "scrape_configs:"]
    lines += [
        f"- {{job_name: {name}, metrics_path: {path}, honor_labels: true, static_configs: [{{targets: ['{target}']}}]}}"
        for name, path in jobs.items()
    ]
    return "\n".join([*lines, ""])


@contextmanager
def scraping(program: str, directory: Path, target: str, jobs: Mapping[str, str]) -> Iterator[str]:
    """Run prometheus or victoria-metrics, which scrapes a service; yield its URL."""
    config, port = directory / "scrape.yml", free_port()
    config.write_text(scrape_config(target, jobs))
    arguments = {
        "prometheus": [
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=native-histograms",
        ],
        "victoria-metrics": [
            f"-promscrape.config={config}",
            f"-storageDataPath={directory / 'data'}",
            f"-httpListenAddr=127.0.0.1:{port}",
        ],
    }
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([require(program), *arguments[program]], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def wait_for(url: str, query: str, seconds: float = 15) -> None:
    """Wait until a query gives something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = requests.get(f"{url}/api/v1/query", {"query": query, "nocache": "1"}, timeout=5).json()
        if answer.get("data", {}).get("result"):
            return
        time.sleep(0.1)
    raise AssertionError(f"{query} gives nothing at {url} after {seconds} s")
