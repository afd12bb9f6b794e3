"""Alternatives measured in the same run: procrastinate, libcurl alone, and a simple threaded poller."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pycurl
import requests

PROCRASTINATE = """
import asyncio, sys, procrastinate
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1]))

@app.task(name="noop")
async def noop():
    pass

async def main(count):
    async with app.open_async():
        if sys.argv[4] == "new":
            await app.schema_manager.apply_schema_async()
        await app.tasks["noop"].batch_defer_async(*[{}] * count)
        await app.run_worker_async(wait=False, concurrency=int(sys.argv[3]), install_signal_handlers=False)
        rows = await app.connector.execute_query_all_async(
            "SELECT count(*) FILTER (WHERE type = 'succeeded')"
            " / extract(epoch FROM max(at) - min(at) FILTER (WHERE type = 'started'))::float8 AS rate"
            " FROM procrastinate_events WHERE type IN ('started', 'succeeded')"
        )
        print(rows[0]["rate"])
        await app.connector.execute_query_async("TRUNCATE procrastinate_jobs CASCADE")

asyncio.run(main(int(sys.argv[2])))
"""


def procrastinate_rate(python: Path, url: str, count: int) -> float | None:
    """Return no-op jobs/s of one procrastinate worker at the best of three concurrencies; None if not installed.

    Counted from the first start to the last end.
    """
    if not python.exists():
        return None
    rates = []
    for place, concurrency in enumerate((10, 30, 100)):
        arguments = [url, str(count), str(concurrency), "known" if place else "new"]
        done = subprocess.run(
            [str(python), "-c", PROCRASTINATE, *arguments], capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode:
            print(done.stderr[-2000:], file=sys.stderr)
            return None
        rates.append(float(done.stdout.split()[-1]))
    return max(rates)


def raw_rate(address: str, count: int, concurrency: int = 64) -> float:
    """Return GETs/s of libcurl's multi interface in one process, over persistent connections."""
    multi = pycurl.CurlMulti()
    handles = []
    for _ in range(concurrency):
        handle = pycurl.Curl()
        handle.setopt(pycurl.URL, f"{address}/0")
        handle.setopt(pycurl.WRITEFUNCTION, len)
        multi.add_handle(handle)
        handles.append(handle)
    done = 0
    begun = time.perf_counter()
    while done < count:
        multi.perform()
        _, succeeded, failed = multi.info_read()
        if failed:
            raise RuntimeError(f"{address}: {failed[0][2]}")
        for handle in succeeded:
            done += 1
            multi.remove_handle(handle)
            multi.add_handle(handle)
        if not succeeded:
            multi.select(0.05)
    rate = count / (time.perf_counter() - begun)
    multi.close()
    return rate


def naive_rate(threads: int, count: int) -> float:
    """Return collections/s of a simple poller: each thread claims one row, calls with requests, and saves one row."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        collected = sum(pool.map(_naive_worker, range(threads)))
    rate = collected / (time.perf_counter() - begun)
    if collected != count:
        raise RuntimeError(f"{collected} of {count} collections")
    return rate


def _naive_worker(_number: int) -> int:
    """Collect until nothing is due; return how often."""
    from django.db import connections, transaction  # noqa: PLC0415  (needs the settings, like all of these)
    from django.utils import timezone  # noqa: PLC0415

    from deployments.models import Deployment  # noqa: PLC0415
    from metrics.models import MetricSample  # noqa: PLC0415
    from metrics.signing import signed_headers  # noqa: PLC0415
    from scheduler.models import ScheduledJob  # noqa: PLC0415

    collected = 0
    while True:
        with transaction.atomic():
            job = ScheduledJob.objects.due().select_for_update(skip_locked=True).order_by("scheduled_at").first()
            if job is None:
                connections.close_all()
                return collected
            job.status, job.locked_until = "running", timezone.now() + timedelta(seconds=30)
            job.save()
        deployment = Deployment.objects.select_related("environment", "project").get(jobs=job)
        url, now = deployment.environment.metrics_endpoint, timezone.now()
        headers = signed_headers(
            deployment.environment.hmac_secret.open(), url=url, now=now, project_id=str(deployment.project.uuid)
        )
        metrics = requests.get(url, headers=headers, timeout=5).json()["metrics"]
        MetricSample.objects.create(
            environment=deployment.environment,
            deployment=deployment,
            phase=job.phase,
            sequence_index=job.sequence_index,
            collected_at=timezone.now(),
            **metrics,
        )
        job.status, job.finished_at = "completed", timezone.now()
        job.save()
        collected += 1
