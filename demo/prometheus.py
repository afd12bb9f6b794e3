"""Start a real Prometheus that scrapes the simulated service every second, and already knows the time before."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from demo.load import REQUESTS_PER_SECOND
from demo.service import BUCKETS_S, MEMORY_LIMIT_BYTES, VERSIONS
from seqpulse.devserver.processes import Children
from seqpulse.devserver.runner import RunError

JOB = "shop"
SCRAPE_S = 1
# More than the half hour that a deployment is compared with.
PAST_S = 40 * 60
CPU = 0.05
_OF = f'{{job="{JOB}"}}'
_FAILED = f'{{job="{JOB}",status=~"5.."}}'
REQUESTS = f"sum(rate(http_request_duration_seconds_count{_OF}[$__rate_interval]))"
EXPRESSIONS = {
    "requests_per_sec": REQUESTS,
    "latency_p95": "1000 * histogram_quantile(0.95,"
    f" sum by (le) (rate(http_request_duration_seconds_bucket{_OF}[$__rate_interval])))",
    "error_rate": f"(sum(rate(http_request_duration_seconds_count{_FAILED}[$__rate_interval])) or vector(0))"
    f" / {REQUESTS}",
    "cpu_usage": f"max(rate(process_cpu_seconds_total{_OF}[$__rate_interval]))",
    "memory_usage": f"max(process_resident_memory_bytes{_OF}) / {MEMORY_LIMIT_BYTES}",
}


def programs() -> tuple[str, str]:
    """Return the paths of prometheus and promtool. Raises RunError."""
    found = [shutil.which(name) for name in ("prometheus", "promtool")]
    if not all(found):
        raise RunError("--source prometheus starts a Prometheus, which is not installed: apt-get install prometheus")
    return str(found[0]), str(found[1])


def start_prometheus(children: Children, directory: Path, target: str, *, port: int, service: int) -> str:
    """Start it on this port; return its URL once it answers. service: process id. Raises RunError."""
    prometheus, promtool = programs()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    memory = psutil.Process(service).memory_info().rss
    with (directory / "past.om").open("w") as out:
        out.writelines(f"{line}\n" for line in past(target, memory=memory))
    blocks = [
        promtool,
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        str(directory / "past.om"),
        str(directory / "data"),
    ]
    made = subprocess.run(blocks, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RunError(f"promtool has failed: {made.stderr.strip()}")
    (directory / "prometheus.yml").write_text(
        f"global: {{scrape_interval: {SCRAPE_S}s}}\n"
        f"scrape_configs: [{{job_name: {JOB}, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    options = [f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'data'}"]
    options.append(f"--web.listen-address=127.0.0.1:{port}")
    children.start("prometheus", [prometheus, *options], env=os.environ, cwd=directory, log_dir=directory.parent)
    return f"http://127.0.0.1:{port}"


def past(target: str, *, memory: int) -> Iterator[str]:
    """Yield OpenMetrics text: what it would have scraped of the good version until now."""
    rng, until = random.Random(20), time.time()  # noqa: S311
    low, high = (ms / 1000 for ms in VERSIONS["good"].latency_ms)
    labels = f'instance="{target}",job="{JOB}"'
    times = [until - PAST_S + SCRAPE_S * number for number in range(PAST_S // SCRAPE_S)]
    counts, total = [], 0
    for _ in times:
        total += round(REQUESTS_PER_SECOND * SCRAPE_S * rng.uniform(0.95, 1.05))
        counts.append(total)
    name = "http_request_duration_seconds"
    yield f"# TYPE {name} histogram"
    for bound in BUCKETS_S:
        share = min(1.0, max(0.0, (bound - low) / (high - low)))
        le = "+Inf" if bound == float("inf") else f"{bound:g}"
        series = f'{name}_bucket{{{labels},le="{le}",status="200"}}'
        yield from lines(series, times, [round(count * share) for count in counts])
    yield from lines(f'{name}_count{{{labels},status="200"}}', times, counts)
    yield "# TYPE process_cpu_seconds counter"
    cpu_s = [number * SCRAPE_S * CPU for number in range(len(times))]
    yield from lines(f"process_cpu_seconds_total{{{labels}}}", times, cpu_s)
    yield "# TYPE process_resident_memory_bytes gauge"
    yield from lines(f"process_resident_memory_bytes{{{labels}}}", times, [memory] * len(times))
    yield "# EOF"


def lines(series: str, times: Sequence[float], values: Sequence[float]) -> Iterator[str]:
    return (f"{series} {value} {at:.3f}" for at, value in zip(times, values, strict=True))
