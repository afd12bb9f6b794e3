"""Push samples to one web process, in batches and one by one: `python -m benchmarks.sources.push`.

The client runs on the same machine and uses a share of it. Each batch is one instance's next minutes.
"""

import argparse
import asyncio
import time
from typing import Any

from benchmarks.api.client import Connection, Tally
from benchmarks.report import print_json, print_table
from benchmarks.site import Site, bench_site, cpu_seconds

CONNECTIONS = 8
BATCHES = (1, 10, 100, 1000)
NO_LIMIT = {"SEQPULSE_RATE_SAMPLES": "100000000/m"}
METRICS = {"requests_per_sec": 42.0, "latency_p95": 118.0, "error_rate": 0.001, "cpu_usage": 0.4, "memory_usage": 0.5}
# Times of samples are within the last ten minutes.
SPREAD_S = 500.0


async def push(port: int, key: str, *, batch: int, seconds: float) -> tuple[Tally, int]:
    """Push for so long; return the calls, and how many samples were taken."""
    tally, taken, until = Tally(), 0, time.perf_counter() + seconds

    async def one(number: int) -> None:
        nonlocal taken
        connection, round_ = Connection(port, tally), 0
        while time.perf_counter() < until:
            round_ += 1
            now = time.time()
            samples = [
                {**METRICS, "at": now - SPREAD_S * place / batch, "instance": f"{number}-{round_ % 50}"}
                for place in range(batch)
            ]
            answer: Any = await connection.call("POST", "/samples", key, {"env": "prod", "samples": samples})
            taken += answer["taken"] if answer else 0
        connection.close()

    begun = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    tally.took_s = time.perf_counter() - begun
    return tally, taken


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sources.push", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    rows = []
    with bench_site(Site, **NO_LIMIT) as site:
        from projects.services import create_project  # noqa: PLC0415  (needs the settings)

        port, pid = site.start_web(WEB_CONCURRENCY="1")
        for batch in BATCHES:
            made = create_project(f"shop {batch}", environment="prod")
            asyncio.run(push(port, made.api_key, batch=batch, seconds=1))
            cpu = cpu_seconds(pid)
            tally, taken = asyncio.run(push(port, made.api_key, batch=batch, seconds=options.seconds))
            cpu = cpu_seconds(pid) - cpu
            rows.append(
                {
                    "samples per call": batch,
                    "samples_per_s": taken / tally.took_s,
                    "calls_per_s": len(tally.latencies_ms) / tally.took_s,
                    "web_cpu_us_each": 1e6 * cpu / max(1, taken),
                    "p95_ms": tally.figures()["p95_ms"],
                    "errors": tally.figures()["errors"],
                }
            )
    print_table(rows)
    print_json("push", rows, connections=CONNECTIONS)


if __name__ == "__main__":
    main()
