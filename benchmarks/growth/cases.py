"""Cases of `make bench-growth`: each page, call, claim and sweep, and what a database of this size takes on disk."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from time import sleep
from typing import Any

from django.conf import settings
from django.test import Client
from django.urls import reverse

from accounts.models import Team
from analysis.models import DeploymentVerdict
from benchmarks.growth.world import Size
from benchmarks.pages.cases import get, member, signed_in
from benchmarks.poller.cases import claim_times
from benchmarks.poller.world import World
from benchmarks.report import percentile
from benchmarks.site import cpu_seconds
from deployments.models import Deployment
from metrics import baseline
from scheduler import health, operations
from scheduler.recurring import registered
from scheduler.registry import Job, kind_of

Case = tuple[str, Callable[[], Any]]
SEEN = """
SELECT count(*)::float8, 1000 * extract(epoch FROM percentile_cont(0.99) WITHIN GROUP (
    ORDER BY started_at - scheduled_at))::float8 FROM scheduled_jobs
WHERE job_type = 'baseline_collect' AND status = 'completed' AND finished_at > now() - %s * interval '1 second'
"""
SIZES = """
SELECT sum(pg_total_relation_size(relid))::float8, (SELECT count(*)::float8 FROM {}) FROM (
    SELECT %s::regclass AS relid UNION SELECT relid FROM pg_partition_tree(%s::regclass)) AS tables
"""


def pages() -> Iterator[Case]:
    """Yield the pages of a user who sees everything."""
    client = signed_in(member("everywhere", 1000))
    root = signed_in(member("root", 0, is_superuser=True, is_staff=True))
    judged = DeploymentVerdict.objects.select_related("deployment__environment__project").order_by("-id")[0]
    project, environment = judged.deployment.environment.project, judged.deployment.environment
    overview = reverse("dashboard:overview")
    addresses: dict[str, str] = {
        "overview": overview,
        "overview, what is refreshed": reverse("dashboard:overview-live"),
        "overview, page 3": f"{overview}?page=3",
        "overview, searched": f"{overview}?q={project.name}",
        "overview with figures of 30 days": f"{overview}?days=30",
        "overview with figures of one project": f"{overview}?project={project.uuid}",
        "deployments": reverse("dashboard:deployments"),
        "deployments of a project": f"{reverse('dashboard:deployments')}?project={project.uuid}",
        "deployments, verdict warning": f"{reverse('dashboard:deployments')}?verdict=warning",
        "deployments, searched": f"{reverse('dashboard:deployments')}?q=feature/check",
        "hints": reverse("dashboard:hints"),
        "hints, critical": f"{reverse('dashboard:hints')}?severity=critical",
        "projects": reverse("dashboard:projects"),
        "project": reverse("dashboard:project", args=[project.uuid]),
        "deployment": reverse("dashboard:deployment", args=[judged.deployment.uuid]),
        "environment": reverse("dashboard:environment", args=[environment.pk]),
        "policy": reverse("dashboard:policy", args=[environment.pk]),
        "teams": reverse("dashboard:teams"),
        "team": reverse("dashboard:team", args=[Team.objects.order_by("id")[0].pk]),
        "status": reverse("dashboard:status"),
    }
    for name, address in addresses.items():
        yield f"page: {name}", partial(get, client, address)
    for name in ("deployments_deployment", "scheduler_scheduledjob", "metrics_metricsample", "projects_environment"):
        yield f"admin: {name}", partial(get, root, reverse(f"admin:{name}_changelist"))


def calls(key: str) -> Iterator[Case]:
    """Yield what pipelines and monitoring call."""
    client = Client(headers={"X-API-Key": key})
    numbers = count()

    def post(path: str, **body: Any) -> Any:
        answer = client.post(path, body, content_type="application/json")
        if answer.status_code != 200:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.content!r}")
        return answer.json()

    def cycle() -> None:
        made = post("/deployments/trigger", env="prod", branch="main", idempotency_key=f"run-{next(numbers)}")
        post("/deployments/finish", deployment_id=made["deployment_id"], result="success")

    yield "call: trigger and finish", cycle
    yield "call: list", partial(get, client, "/deployments")
    uuid = Deployment.objects.get(project__name="measured", number=1).uuid
    yield "call: deployment", partial(get, client, f"/deployments/{uuid}")
    yield "call: hints", partial(get, client, "/sdh")
    monitoring = Client(headers={"Authorization": f"Bearer {settings.SEQPULSE_METRICS_TOKEN}"})
    yield "call: /metrics", partial(get, monitoring, "/metrics")
    yield "call: /health", health.look


def sweeps() -> Iterator[Case]:
    """Yield the recurring work of pollers. Run over and over, as they do: a first run may have old work to do."""
    nothing: Any = None
    job: Job = nothing
    for name in sorted(registered()):
        yield f"sweep: {name}", partial(kind_of(name).run, job, None)
    yield "sweep: summary of jobs", operations.summary


def claim(world: World) -> list[float]:
    """Return the ms of claims of twenty jobs."""
    return claim_times(world, 60, [])


def sustained(world: World, seconds: float) -> dict[str, Any]:
    """Run a poller on the baselines of all environments; return its rate, start lag and CPU in the last seconds."""
    baseline.sweep()
    [pid] = world.start_pollers(1)
    # Ticks are spread over a minute; before it is over, not all chains have begun.
    sleep(62)
    used_s = cpu_seconds(pid)
    # The time that is measured.
    sleep(seconds)
    used_s = cpu_seconds(pid) - used_s
    number, lag_ms = world.rows(SEEN, seconds)[0]
    world.stop("poller-")
    return {
        "collections_per_s": number / seconds,
        "start_lag_p99_ms": lag_ms,
        "cpu_ms_each": 1000 * used_s / max(1, number),
    }


def disk(world: World, size: Size) -> dict[str, float]:
    """Return the bytes of a row of each table that grows, with its indexes, and MB per environment and day."""
    bytes_of: dict[str, float] = {}
    tables = ("metric_samples", "metric_levels", "scheduled_jobs", "deployments", "deployment_verdicts", "sdh_hints")
    for table in tables:
        [(taken, rows)] = world.rows(SIZES.format(table), table, table)
        bytes_of[table] = taken / max(1, rows)
    hints = world.one("SELECT count(*)::float8 FROM sdh_hints") / size.deployments
    deployment = bytes_of["deployments"] + bytes_of["deployment_verdicts"] + hints * bytes_of["sdh_hints"]
    return {
        **{f"bytes_{table}": value for table, value in bytes_of.items()},
        "samples_mb_a_day": 1440 * bytes_of["metric_samples"] / 1e6,
        "levels_mb_a_day": 288 * bytes_of["metric_levels"] / 1e6,
        "deployment_kb": (deployment + 7 * bytes_of["scheduled_jobs"]) / 1e3,
        "ticks_mb": 60 * bytes_of["scheduled_jobs"] / 1e6,
        "database_gb": world.one("SELECT pg_database_size(current_database())::float8") / 1e9,
    }


def median_of(work: Callable[[], Any], repetitions: int) -> tuple[float, int]:
    """Return the median CPU time of the work and its backend in ms, and the bytes of its answer. The first run fills
    caches and does not count."""
    from benchmarks.pages.__main__ import processor_ms  # noqa: PLC0415  (needs the settings)

    answer = work()
    worked = []
    for _ in range(repetitions):
        busy = processor_ms()
        work()
        worked.append(processor_ms() - busy)
    body = answer if isinstance(answer, bytes) else getattr(answer, "content", b"")
    return percentile(worked, 0.5), len(body)
