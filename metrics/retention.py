"""Remove expired samples. Verdicts, hints and the evidence in them stay.

Days that no project's plan needs are dropped as whole partitions. Within the others, samples of projects with a shorter
retention are deleted in batches, each in its own transaction. So are the places of a deployment's samples, once all of
them have expired.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import connection

from deployments.models import NEVER_JUDGED, State
from metrics.models import MARGIN
from metrics.partitions import Partition, drop, drop_left_over, left_over, partitions
from projects.models import Environment, Project
from projects.plans import PLANS
from scheduler.models import OPEN_STATUSES
from scheduler.queue import database_now
from scheduler.recurring import recurring

logger = structlog.get_logger(__name__)

BATCH = 5000
# "sweep" in hexadecimal ASCII: the advisory lock of a run.
LOCK = 0x7377656570
# The project id under which samples of deleted projects are counted.
NO_PROJECT = 0


@dataclass(slots=True)
class Swept:
    """The result of a sweep: samples by project id (or NO_PROJECT), names of partitions.

    places: number of rows of sample_places. busy: nothing was done because another run was active.
    """

    samples: Counter[int] = field(default_factory=Counter)
    partitions: list[str] = field(default_factory=list)
    places: int = 0
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Retention:
    """Retention of all environments. days: by project id; project_of: by environment id; uuids: by project id."""

    days: dict[int, int]
    project_of: dict[int, int]
    uuids: dict[int, UUID]

    @classmethod
    def load(cls) -> Retention:
        projects = Project.objects.only("uuid", "plan", "retention_days")
        return cls(
            {project.pk: project.effective_retention_days for project in projects},
            dict(Environment.objects.values_list("pk", "project_id")),
            {project.pk: project.uuid for project in projects},
        )

    @property
    def longest(self) -> int:
        """The number of days after which no project needs a sample."""
        return max(self.days.values(), default=max(plan.retention_days for plan in PLANS.values()))

    def cuts(self, now: datetime) -> list[Cut]:
        """Return what to delete: one cut per shorter retention, and one for all samples beyond the longest."""
        shorter: dict[int, list[int]] = {}
        for environment, project in self.project_of.items():
            days = self.days.get(project, self.longest)
            if days < self.longest:
                shorter.setdefault(days, []).append(environment)
        found = [Cut(days, now - timedelta(days=days), "= ANY", ids) for days, ids in sorted(shorter.items())]
        others = [environment for ids in shorter.values() for environment in ids]
        return [*found, Cut(self.longest, now - timedelta(days=self.longest), "<> ALL", others)]


@dataclass(frozen=True, slots=True)
class Cut:
    """Samples older than a time, of these environments ("= ANY") or of all others ("<> ALL")."""

    days: int
    before: datetime
    which: str
    environments: list[int]

    @property
    def where(self) -> str:
        return f"collected_at < %s AND environment_id {self.which} (%s)"

    @property
    def values(self) -> list[Any]:
        return [self.before, self.environments]


def sweep(*, dry_run: bool = False, now: datetime | None = None, say: Callable[[str], None] | None = None) -> Swept:
    """Remove what has expired. Call it outside any transaction.

    dry_run: only count. now: of the database's clock. say: receives a line for each step. May be interrupted at any
    time: the next run continues. While another run is active it does nothing.
    """
    tell = say or (lambda text: None)
    with advisory_lock(LOCK) as taken:
        if taken:
            return _sweep(now or database_now(), dry_run=dry_run, tell=tell)
    logger.info("cleanup_skipped", reason="another run is at work")
    tell("Another run is at work: nothing done.")
    return Swept(busy=True)


@contextlib.contextmanager
def advisory_lock(lock: int) -> Iterator[bool]:
    """Try to take an advisory lock for the block; yield whether it was free.

    The poller's daily run and one from cron start at the same second, and a run fails if another drops its partitions.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [lock])
        taken: bool = cursor.fetchone()[0]
    try:
        yield taken
    finally:
        if taken:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [lock])


def _sweep(now: datetime, *, dry_run: bool, tell: Callable[[str], None]) -> Swept:
    retention = Retention.load()
    swept = Swept()
    needed_since = now - timedelta(days=retention.longest)
    if not dry_run:
        for name in left_over():
            drop_left_over(name)
    kept = []
    for partition in partitions():
        # The partition for all older days is never dropped: a stray sample still needs it.
        if partition.since is not None and partition.until <= needed_since:
            _drop(partition, retention, swept, dry_run=dry_run, tell=tell)
        else:
            kept.append(partition)
    for partition in kept:
        _thin(partition, retention, swept, now=now, dry_run=dry_run, tell=tell)
    # After the samples: without its place, a sample that still exists could be stored a second time.
    _free_places(retention, swept, now=now, dry_run=dry_run, tell=tell)
    _report(retention, swept, dry_run=dry_run)
    return swept


def _drop(
    partition: Partition, retention: Retention, swept: Swept, *, dry_run: bool, tell: Callable[[str], None]
) -> None:
    counts = Counter() if partition.detaching else _by_project(_count(partition), retention)
    if not dry_run and not drop(partition):
        tell(f"{partition.name}: still in use, to be dropped by the next run")
        return
    swept.partitions.append(partition.name)
    swept.samples.update(counts)
    tell(f"{partition.name}: {'would drop' if dry_run else 'dropped'} {counts.total()} samples")


def _thin(
    partition: Partition,
    retention: Retention,
    swept: Swept,
    *,
    now: datetime,
    dry_run: bool,
    tell: Callable[[str], None],
) -> None:
    """Delete from one partition the samples that their projects' plans do not need."""
    for cut in retention.cuts(now):
        if partition.since is not None and partition.since >= cut.before:
            continue
        removed: Counter[int] = Counter()
        if dry_run:
            removed += _by_project(_count(partition, cut), retention)
        while not dry_run and (batch := _delete(partition, cut)):
            removed += _by_project(batch, retention)
            tell(f"{partition.name}: {removed.total()} samples older than {cut.days} days deleted")
        swept.samples.update(removed)


def _count(partition: Partition, cut: Cut | None = None) -> list[tuple[int, int]]:
    """Return (environment id, number) of all samples or of those of a cut."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT environment_id, count(*) FROM {partition.name}"  # noqa: S608  (names and conditions are ours)
            f" WHERE {cut.where if cut else 'true'} GROUP BY 1",
            cut.values if cut else [],
        )
        rows: list[tuple[int, int]] = cursor.fetchall()
        return rows


def _delete(partition: Partition, cut: Cut) -> list[tuple[int, int]]:
    """Delete one batch; return (environment id, number) of the deleted samples."""
    with connection.cursor() as cursor:
        # By ctid: samples are never updated, so a row stays where it was found.
        cursor.execute(
            f"WITH gone AS (DELETE FROM {partition.name} WHERE ctid = ANY(ARRAY("  # noqa: S608  (as above)
            f"SELECT ctid FROM {partition.name} WHERE {cut.where} LIMIT {BATCH})) RETURNING environment_id)"
            " SELECT environment_id, count(*) FROM gone GROUP BY 1",
            cut.values,
        )
        rows: list[tuple[int, int]] = cursor.fetchall()
        return rows


# Of deployments whose last sample is expired as well and for which no more can come, or whose row was deleted by hand.
PLACES = """
FROM sample_places AS place LEFT JOIN deployments ON deployments.id = place.deployment_id
WHERE place.environment_id {which} (%s) AND (deployments.id IS NULL OR state = ANY(%s)
    AND coalesce(finished_at, started_at) + make_interval(secs => window_samples * interval_s) + %s < %s
    AND NOT EXISTS (SELECT 1 FROM scheduled_jobs AS job
        WHERE job.deployment_id = deployments.id AND job.status = ANY(%s)))
"""


def _free_places(
    retention: Retention, swept: Swept, *, now: datetime, dry_run: bool, tell: Callable[[str], None]
) -> None:
    """Delete the places of deployments whose samples have expired: no job can store one for them any more."""
    for cut in retention.cuts(now):
        found = PLACES.format(which=cut.which)
        values: list[Any] = [cut.environments, [State.ANALYZED, *NEVER_JUDGED], MARGIN, cut.before, list(OPEN_STATUSES)]
        removed = 0
        with connection.cursor() as cursor:
            if dry_run:
                cursor.execute(f"SELECT count(*) {found}", values)
                removed = cursor.fetchone()[0]
            # By ctid, like the samples: these rows are never updated either.
            batch = f"DELETE FROM sample_places WHERE ctid = ANY(ARRAY(SELECT place.ctid {found} LIMIT {BATCH}))"  # noqa: S608
            while not dry_run and cursor.execute(batch, values).rowcount:
                removed += cursor.rowcount
                tell(f"sample_places: {removed} places of samples older than {cut.days} days deleted")
        swept.places += removed


def _by_project(counts: Iterable[tuple[int, int]], retention: Retention) -> Counter[int]:
    found: Counter[int] = Counter()
    for environment, number in counts:
        found[retention.project_of.get(environment, NO_PROJECT)] += number
    return found


def _report(retention: Retention, swept: Swept, *, dry_run: bool) -> None:
    for project, number in sorted(swept.samples.items()):
        uuid = retention.uuids.get(project)
        logger.info(
            "samples_expired",
            project_id=str(uuid) if uuid else None,
            samples=number,
            retention_days=retention.days.get(project, retention.longest),
            dry_run=dry_run,
        )
    if swept.places:
        logger.info("sample_places_expired", places=swept.places, dry_run=dry_run)


@recurring("cleanup_metrics", every_s=86400)
def cleanup() -> None:
    """Sweep once a day."""
    sweep()
