"""Send 10,000 alerts in a minute to one source, one a call and a hundred a call: `python -m benchmarks.sources.alerts`.

In the middle a critical one begins, from the same sender. It is told whether it was stored, and what calls of a
pipeline took meanwhile.
"""

import argparse
import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from benchmarks.api.client import Connection, Tally
from benchmarks.report import print_json, print_table
from benchmarks.site import Site, bench_site, cpu_seconds

ALERTS, MINUTE_S = 10_000, 60.0
CONNECTIONS = 4


def alert(name: str, severity: str = "warning") -> dict[str, Any]:
    labels = {"alertname": name, "severity": severity}
    return {"status": "firing", "labels": labels, "startsAt": datetime.now(UTC).isoformat(), "fingerprint": name}


async def flood(port: int, token: str, key: str, *, at_once: int, seconds: float) -> tuple[Tally, Tally, int]:
    """Send them evenly over the time; return what became of these calls, of the pipeline's, and of the critical one."""
    sent, others, begun = Tally(), Tally(), time.perf_counter()
    calls, attempts = ALERTS // at_once, 0

    async def some(place: int) -> None:
        connection = Connection(port, sent)
        for number in range(place, calls, CONNECTIONS):
            await asyncio.sleep(max(0.0, begun + number * seconds / calls - time.perf_counter()))
            body = {"alerts": [alert(f"noise-{number * at_once + one}") for one in range(at_once)]}
            await connection.call("POST", f"/alerts/{token}", "", body)
        connection.close()

    async def pipeline() -> None:
        connection = Connection(port, others)
        while time.perf_counter() < begun + seconds:
            await connection.call("GET", "/deployments", key)
            await asyncio.sleep(0.25)
        connection.close()

    async def critical() -> None:
        """Send it until it is taken, as Alertmanager does, which sends again what was answered with 429."""
        nonlocal attempts
        await asyncio.sleep(seconds / 2)
        connection = Connection(port, Tally())
        while await connection.call("POST", f"/alerts/{token}", "", {"alerts": [alert("down", "critical")]}) is None:
            attempts += 1
            await asyncio.sleep(5)
        connection.close()

    await asyncio.gather(*(some(place) for place in range(CONNECTIONS)), pipeline(), critical())
    return sent, others, attempts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sources.alerts", description=__doc__)
    parser.add_argument("--seconds", type=float, default=MINUTE_S)
    options = parser.parse_args()
    rows = []
    with bench_site(Site) as site:
        from metrics.alerting import address_for  # noqa: PLC0415  (needs the settings)
        from projects.services import create_project  # noqa: PLC0415  (needs the settings)

        port, pid = site.start_web(WEB_CONCURRENCY="1")
        for at_once in (1, 100):
            made = create_project(f"shop {at_once}", environment="prod")
            token, cpu = address_for(made.environment), cpu_seconds(pid)
            sent, others, again = asyncio.run(
                flood(port, token, made.api_key, at_once=at_once, seconds=options.seconds)
            )
            known = Counter(
                dict(
                    site.rows(
                        "SELECT level, count(*)::int FROM alerts WHERE environment_id = %s GROUP BY 1",
                        made.environment.pk,
                    )
                )
            )
            rows.append(
                {
                    "alerts per call": at_once,
                    "calls": sum(sent.statuses.values()),
                    "taken": sent.statuses[200],
                    "429": sent.statuses[429],
                    "other answers": sum(n for status, n in sent.statuses.items() if status not in (200, 429)),
                    "stored": known.total(),
                    "critical stored": known["critical"],
                    "sent again": again,
                    "pipeline_p95_ms": others.figures()["p95_ms"],
                    "web_cpu_s": cpu_seconds(pid) - cpu,
                }
            )
    print_table(rows)
    print_json("alerts", rows, alerts=ALERTS)


if __name__ == "__main__":
    main()
