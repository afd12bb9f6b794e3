"""Measure calls and pages that wait, beside threads and polling: `make bench-waiting`.

One web process. The client runs on the same machine and uses a share of it.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
from django.core.management import call_command

from benchmarks.api.client import read, repeat
from benchmarks.report import percentiles, print_json, print_table
from benchmarks.site import Site, bench_site, cpu_seconds

NO_LIMIT = {f"SEQPULSE_RATE_{group}": "100000000/m" for group in ("DEPLOYMENTS", "DASHBOARD")}
PROJECTS, DEPLOYMENTS = 20, 20
THREADS = 24
# How many connections are opened at once: as many as a small backlog takes.
OPENED_AT_ONCE = 50
# PostgreSQL publishes the numbers of transactions of an idle connection that late.
PUBLISHED_AFTER_S = 11.0
# What polling pages did: the page of a deployment asks so often while it is observed.
POLLED_EVERY_S = 2.0

PLANT = """
INSERT INTO deployments (uuid, number, project_id, environment_id, state, pipeline_result, started_at, finished_at,
    duration_ms, branch, commit_sha, version, author, url, window_samples, interval_s)
SELECT gen_random_uuid(), n, project.id, environment.id, 'finished', 'success', now(), now(), 0, '', '', '', '', '',
    5, 60
FROM projects_project AS project
JOIN projects_environment AS environment ON environment.project_id = project.id, generate_series(1, %s) AS n
RETURNING id, uuid::text, project_id, number
"""
JUDGE = """
WITH judged AS (UPDATE deployments SET state = 'analyzed' WHERE id = ANY(%s) RETURNING id)
INSERT INTO deployment_verdicts (deployment_id, verdict, confidence, conclusive, score, summary, failed_metrics, checks,
    quality, policy, evidence, early, shadow)
SELECT id, 'ok', 0.97, true, 0.04, 'All five metrics are as before.', '[]', '[]', '{"score": 1, "issues": []}', '{}',
    '{}', false, false FROM judged
"""
TRANSACTIONS = (
    "SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database WHERE datname = current_database()"
)


class WaitingSite(Site):
    """A site with projects, and with deployments that wait for their verdict."""

    def plant(self) -> None:
        from projects.services import create_project  # noqa: PLC0415  (models, which need the settings)

        made = [create_project(f"bench {n}", environment="prod", plan="free") for n in range(PROJECTS)]
        self.keys = {each.project.pk: each.api_key for each in made}
        # One of each project after the other.
        planted = sorted(self.rows(PLANT, DEPLOYMENTS), key=lambda row: (row[3], row[2]))
        self.unjudged: list[tuple[int, str, int]] = [(pk, uuid, project) for pk, uuid, project, _ in planted]

    def judge(self, ids: list[int]) -> float:
        """Commit verdicts; return when that was done."""
        self.rows(JUDGE, ids)
        return time.perf_counter()

    def transactions(self) -> int:
        time.sleep(PUBLISHED_AFTER_S)
        number: int = self.one(TRANSACTIONS)
        return number


@contextmanager
def counted(site: WaitingSite, row: dict[str, Any]) -> Iterator[None]:
    """Add the transactions of the block per minute."""
    before, began = site.transactions(), time.perf_counter()
    yield
    # Without the one that reads the number.
    row["transactions_per_min"] = (site.transactions() - before - 1) * 60 / (time.perf_counter() - began)


def web_process(pid: int) -> psutil.Process:
    """Return the only worker of a web server, which listens before it has one."""
    while not (workers := psutil.Process(pid).children()):
        time.sleep(0.1)
    return workers[0]


def memory_mb(worker: psutil.Process) -> float:
    """Return the memory that only this process has."""
    return float(worker.memory_full_info().uss) / 2**20


@dataclass
class Client:
    """An open call. answered: when the first bytes after the head came, for pages the first event after a change."""

    port: int
    request: str
    headers: str = ""
    answered: float = 0.0
    status: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, until: bytes = b"") -> None:
        """Send, and read up to these bytes; without them the head of the answer is what is waited for."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{self.request} HTTP/1.1\r\nHost: localhost\r\n{self.headers}\r\n".encode())
        if not until:
            self.ready.set()
        with suppress(asyncio.IncompleteReadError, OSError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.status = int(head.split(b" ", 2)[1])
            self.ready.set()
            if until:
                await reader.readuntil(until)
            self.answered = time.perf_counter()
        writer.close()


def verdict_client(port: int, uuid: str, key: str) -> Client:
    return Client(port, f"GET /deployments/{uuid}/verdict?wait=60", f"X-API-Key: {key}\r\n")


async def opened(clients: list[Client], until: bytes = b"") -> list[asyncio.Task[None]]:
    """Start the clients, a few at once."""
    tasks = []
    for number in range(0, len(clients), OPENED_AT_ONCE):
        group = clients[number : number + OPENED_AT_ONCE]
        tasks += [asyncio.create_task(client.run(until)) for client in group]
        await asyncio.gather(*(client.ready.wait() for client in group))
        # Answered after those before it: a web server refuses a client that fills its queue.
        await Client(group[0].port, "GET /health/live").run()
    return tasks


async def settled(worker: psutil.Process) -> None:
    """Wait until the process is idle."""
    while await asyncio.to_thread(worker.cpu_percent, 0.5) > 10:
        pass


async def waiting_calls(
    site: WaitingSite, web: tuple[int, int], *, name: str, number: int, quiet: bool
) -> dict[str, Any]:
    """Have so many calls wait for the verdicts of different deployments, and commit these.

    quiet: count transactions for ten seconds. They wait for a minute at most.
    """
    port, pid = web
    worker = web_process(pid)
    row: dict[str, Any] = {"case": f"{name}: {number} calls wait"}
    deployments, site.unjudged = site.unjudged[:DEPLOYMENTS], site.unjudged[DEPLOYMENTS:]
    key = next(iter(site.keys.values()))
    other = partial(read, "/deployments")
    # Threads and connections are there already.
    await repeat(other, port, [key] * THREADS, seconds=3)
    idle = await repeat(other, port, [key], seconds=3)
    memory, cpu = memory_mb(worker), cpu_seconds(pid)
    clients = [
        (deployment, verdict_client(port, uuid, site.keys[project]))
        for deployment, uuid, project in (deployments[n % len(deployments)] for n in range(number))
    ]
    tasks = await opened([client for _, client in clients])
    await settled(worker)
    row["mb"] = memory_mb(worker) - memory
    row["cpu_ms_each"] = (cpu_seconds(pid) - cpu) * 1000 / number
    row["at_once"] = dict(
        Counter(client.status for task, (_, client) in zip(tasks, clients, strict=True) if task.done())
    )
    if quiet:
        with counted(site, row):
            # The time in which they are counted.
            await asyncio.sleep(10)
    busy = await repeat(other, port, [key], seconds=3)
    row |= {"others_p50_ms": busy.figures()["p50_ms"], "others_idle_p50_ms": idle.figures()["p50_ms"]}
    latencies = []
    for deployment, _, _ in deployments:
        waits = {
            task: client
            for task, (each, client) in zip(tasks, clients, strict=True)
            if each == deployment and not task.done()
        }
        committed = await asyncio.to_thread(site.judge, [deployment])
        if waits:
            await asyncio.wait(waits, timeout=30)
        # It may come before the answer to the one who committed.
        latencies += [max(0.0, client.answered - committed) * 1000 for client in waits.values() if client.answered]
    row |= {"answered": len(latencies), **percentiles(latencies, 50, 99), "max_ms": max(latencies, default=0.0)}
    await asyncio.gather(*tasks)
    return row


def cookies_of(number: int) -> list[str]:
    """Sign in so many members of the projects' team; return their cookies."""
    from django.conf import settings  # noqa: PLC0415  (needs the settings)
    from django.test import Client as Browser  # noqa: PLC0415  (needs the settings)

    from accounts.models import Membership, Team, User  # noqa: PLC0415  (models, which need the settings)

    team, cookies = Team.objects.get(), []
    for n in range(number):
        user = User.objects.create(username=f"viewer{n}")
        Membership.objects.create(user=user, team=team)
        browser = Browser()
        browser.force_login(user)
        cookies.append(f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}")
    return cookies


async def open_pages(site: WaitingSite, web: tuple[int, int], *, number: int) -> list[dict[str, Any]]:
    """Have so many pages of deployments under observation open, and change one of them."""
    port, pid = web
    worker = web_process(pid)
    row: dict[str, Any] = {"case": f"events: {number} open pages"}
    cookies = await asyncio.to_thread(cookies_of, PROJECTS)
    projects = list(site.keys)
    of_project = {project: (pk, uuid) for pk, uuid, project in site.unjudged}
    # Threads and connections are there already.
    for _ in range(3):
        here = f"Cookie: {cookies[0]}\r\n"
        await asyncio.gather(*(Client(port, "GET /dashboard/", here).run() for _ in range(THREADS)))
    await settled(worker)
    memory, cpu = memory_mb(worker), cpu_seconds(pid)
    clients = []
    for n in range(number):
        pk, uuid = of_project[projects[n % PROJECTS]]
        headers = f"Cookie: {cookies[n % PROJECTS]}\r\n"
        clients.append((pk, Client(port, f"GET /dashboard/deployments/{uuid}/events/", headers)))
    tasks = await opened([client for _, client in clients], until=b"event: changed")
    await settled(worker)
    row |= {"mb": memory_mb(worker) - memory, "cpu_ms_each": (cpu_seconds(pid) - cpu) * 1000 / number}
    row["at_once"] = dict(Counter(client.status for _, client in clients if client.status != 200))
    with counted(site, row):
        # The time in which they are counted.
        await asyncio.sleep(20)
    chosen = of_project[projects[0]][0]
    committed = await asyncio.to_thread(site.judge, [chosen])
    # Longer than any event takes: pages whose event does not come must not be waited for.
    await asyncio.sleep(1)
    latencies = [
        max(0.0, client.answered - committed) * 1000 for pk, client in clients if pk == chosen and client.answered
    ]
    row |= {"answered": len(latencies), **percentiles(latencies, 50, 99), "max_ms": max(latencies, default=0.0)}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # Too many to be run: what one of them asks, as often as all of them did.
    polls, before = 20, site.transactions()
    uuid = of_project[projects[1]][1]
    for _ in range(polls):
        await Client(port, f"GET /dashboard/deployments/{uuid}/live/", f"Cookie: {cookies[1]}\r\n").run()
    each = (site.transactions() - before - 1) / polls
    polled = {
        "case": f"polling every {POLLED_EVERY_S:g} s: {number} open pages (computed from {polls} requests)",
        "transactions_per_min": each * number * 60 / POLLED_EVERY_S,
    }
    return [row, polled]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-waiting", description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--pages", type=int, default=1000)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with bench_site(WaitingSite, WEB_CONCURRENCY="1", **NO_LIMIT) as site:
        call_command("collectstatic", interactive=False, verbosity=0)
        site.plant()
        for number in (100, options.calls):
            web = site.start_web()
            rows.append(asyncio.run(waiting_calls(site, web, name="in the loop", number=number, quiet=number == 100)))
            site.stop("web")
        before = ("-k", "gthread", "--threads", str(THREADS), "-w", "1", "benchmarks.waiting.before")
        threads = site.start_web(*before, name="before")
        rows.append(
            asyncio.run(waiting_calls(site, threads, name="threads, a look each 250 ms", number=100, quiet=True))
        )
        site.stop("before")
        rows += asyncio.run(open_pages(site, site.start_web(), number=options.pages))
    print_table(rows)
    print_json("waiting", rows)


if __name__ == "__main__":
    main()
