"""Run a real Prometheus with a past of our choosing, for tests."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.processes import free_port
from tests.system_tools import require

# Samples by series, each with its time in seconds since 1970.
Series = Mapping[str, Mapping[float, float]]


def exposition(series: Series) -> str:
    """Return OpenMetrics text of gauges with times, as promtool reads it."""
    lines = []
    for name, samples in series.items():
        family = name.partition("{")[0]
        if f"# TYPE {family} gauge" not in lines:
            lines.append(f"# TYPE {family} gauge")
        lines += [f"{name} {value} {at:.3f}" for at, value in sorted(samples.items())]
    return "\n".join([*lines, "# EOF", ""])


@contextmanager
def prometheus_with(directory: Path, series: Series, *, config: str = "{}") -> Iterator[str]:
    """Start a Prometheus that has these series, and scrapes what its configuration (YAML) says; yield its URL."""
    (directory / "past.om").write_text(exposition(series))
    (directory / "prometheus.yml").write_text(config)
    data = directory / "data"
    # promtool reads the whole file once for each block; by default these are of two hours.
    blocks = "--max-block-duration=2160h"
    command = [require("promtool"), "tsdb", "create-blocks-from", blocks, "openmetrics", directory / "past.om", data]
    subprocess.run(command, check=True, capture_output=True)
    port = free_port()
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                require("prometheus"),
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={data}",
                "--storage.tsdb.retention.time=90d",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def wait_until_ready(url: str) -> None:
    for _ in range(200):
        try:
            if requests.get(f"{url}/-/ready", timeout=1).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.05)
    raise AssertionError(f"no Prometheus at {url} after 10 s")
