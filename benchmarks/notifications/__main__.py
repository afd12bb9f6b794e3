"""Measure verdicts with and without a flood of events, and the deliveries of these: `make bench-notifications`.

The receivers run on the same machine, in this process, and use a share of it.
"""

import argparse
import json
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, ClassVar

from benchmarks.poller.world import World
from benchmarks.report import print_json, print_table
from benchmarks.site import bench_site, cpu_seconds

CHANNELS, SLOW_S = 3, 4.0
# Last samples, and their analyses, spread over the time in which the events come.
WINDOWS = """
SELECT j.kind, j.phase, d.id, j.n, now() + (1 + %s * place / (SELECT count(*) FROM deployments) + j.after)
        * interval '1 second', project_id, 'pending'
FROM (SELECT *, row_number() OVER (ORDER BY id) AS place FROM deployments) AS d,
    (VALUES ('post_collect', 'post', 1, 0.0), ('post_collect', 'post', 2, 0.2), ('post_collect', 'post', 3, 0.4),
        ('post_collect', 'post', 4, 0.6), ('post_collect', 'post', 5, 0.8), ('analysis', '', 0, 600.0))
    AS j (kind, phase, n, after)
"""
# From the last sample to the end of the analysis, which is written in the transaction of the verdict.
DELAYS = """
SELECT 1000 * extract(epoch FROM finished_at - collected_at)::float8
FROM scheduled_jobs JOIN metric_samples USING (deployment_id)
WHERE job_type = 'analysis' AND metric_samples.phase = 'post' AND metric_samples.sequence_index = 5
ORDER BY 1
"""


class Receiver(BaseHTTPRequestHandler):
    """Count each event by channel, and answer after the delay."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[Counter[tuple[str, int]]] = Counter()
    lock = Lock()
    delay_s = 0.0

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            self.seen[self.path, event["data"]["event_id"]] += 1
        time.sleep(self.delay_s)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        pass


def measure(world: World, *, name: str, deployments: int, events: int, seconds: float, port: int) -> dict[str, Any]:
    """Judge deployments spread over these seconds, while so many events come. port: of the receivers; 0: no channel."""
    from events.outbox import NewEvent, emit  # noqa: PLC0415  (needs the settings)

    world.plant_environments(world.start_endpoint(0.05), deployments, state="finished")
    if port:
        add_channels(port)
    pids = world.start_pollers(1)
    cpu = sum(map(cpu_seconds, pids)) + world.postgres_cpu_s()
    world.insert_jobs(WINDOWS, seconds)
    Receiver.seen.clear()
    [(team,)] = world.rows("SELECT min(team_id) FROM projects_project")
    begun = time.monotonic()
    for number in range(events):
        time.sleep(max(0.0, begun + number * seconds / events - time.monotonic()))
        emit(NewEvent("key_made", team, environment_id=number))
    world.wait_for("SELECT count(*) = %s FROM deployment_verdicts", deployments)
    world.wait_for("SELECT NOT EXISTS (SELECT FROM events WHERE fanned_out_at IS NULL)")
    if Receiver.delay_s == 0.0:  # a slow channel goes on long after the last verdict
        world.wait_for("SELECT NOT EXISTS (SELECT FROM notification_deliveries WHERE state = 'pending')")
    delays = [delay for (delay,) in world.rows(DELAYS)]
    row = {
        "case": name,
        "verdicts": len(delays),
        "p50_ms": delays[len(delays) // 2],
        "p99_ms": delays[int(0.99 * len(delays))],
        "max_ms": delays[-1],
        "received": sum(Receiver.seen.values()),
        "twice": sum(1 for times in Receiver.seen.values() if times > 1),
        "cpu_s": sum(map(cpu_seconds, pids)) + world.postgres_cpu_s() - cpu,
    }
    world.finish()
    world.rows("TRUNCATE events, notification_channels CASCADE")
    return row


def add_channels(port: int) -> None:
    from accounts.models import Team  # noqa: PLC0415  (needs the settings)
    from notifications.models import Channel  # noqa: PLC0415  (needs the settings)

    for team in Team.objects.all():
        for number in range(CHANNELS):
            Channel.objects.create(
                team=team,
                kind="webhook",
                name=f"bench {number}",
                config=json.dumps({"url": f"http://127.0.0.1:{port}/{team.pk}/{number}"}),
                least_severity="info",
                cooldown_s=0,
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notifications", description=__doc__)
    parser.add_argument("--deployments", type=int, default=200)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    flood: dict[str, Any] = {"events": options.events, "port": server.server_address[1]}
    rows = []
    with bench_site(World) as world:
        for name, delay_s, load in (
            ("no channel, no event", 0.0, {"events": 0, "port": 0}),
            ("events, receivers that answer", 0.0, flood),
            (f"events, receivers that take {SLOW_S:g} s", SLOW_S, flood),
        ):
            Receiver.delay_s = delay_s
            rows.append(measure(world, name=name, deployments=options.deployments, seconds=options.seconds, **load))
    server.shutdown()
    print_table(rows)
    print_json("notifications", rows, **vars(options), channels_per_team=CHANNELS)


if __name__ == "__main__":
    main()
