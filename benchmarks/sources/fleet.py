"""Serve the metrics of many services as one page in the text format of Prometheus: 28 series of each.

`python -m benchmarks.sources.fleet PORT SERVICES`. Counters grow with time, as if the services had begun at the start.
"""

import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Share of the requests that took at most so many seconds.
BUCKETS = {
    "0.005": 0.05,
    "0.01": 0.12,
    "0.025": 0.3,
    "0.05": 0.55,
    "0.1": 0.8,
    "0.25": 0.94,
    "0.5": 0.98,
    "1.0": 0.99,
    "2.5": 0.995,
    "5.0": 0.998,
    "10.0": 0.999,
    "+Inf": 1.0,
}
STATUSES = {"200": 0.99, "500": 0.01}


def requests_per_s(service: int) -> float:
    return 5.0 + service % 50


def lines(services: int, elapsed_s: float) -> Iterator[str]:
    yield "# TYPE http_request_duration_seconds histogram"
    for service in range(services):
        for status, share in STATUSES.items():
            count = requests_per_s(service) * share * elapsed_s
            labels = f'service="s{service}",status="{status}"'
            for bound, below in BUCKETS.items():
                yield f'http_request_duration_seconds_bucket{{{labels},le="{bound}"}} {count * below:.1f}'
            yield f"http_request_duration_seconds_count{{{labels}}} {count:.1f}"
    yield "# TYPE process_cpu_seconds_total counter"
    yield from (f'process_cpu_seconds_total{{service="s{n}"}} {0.4 * elapsed_s:.2f}' for n in range(services))
    yield "# TYPE memory_share gauge"
    yield from (f'memory_share{{service="s{n}"}} 0.5' for n in range(services))
    yield ""


def main() -> None:
    port, services, begun = int(sys.argv[1]), int(sys.argv[2]), time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = "\n".join(lines(services, time.monotonic() - begun)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
