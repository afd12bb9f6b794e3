"""What becomes of samples that no plan needs any more. Verdicts, hints and the evidence in them stay.

Days that nobody's plan needs go as whole partitions. Within the others the samples of projects with a shorter retention
are deleted in batches, each in a transaction of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from django.db import connection

from metrics.partitions import Partition, drop, drop_left_over, left_over, partitions
from projects.models import Environment, Project
from projects.plans import PLANS
from scheduler.queue import database_now
from scheduler.recurring import recurring

logger = structlog.get_logger(__name__)

BATCH = 5000
# Samples whose project is gone, counted under this.
NOBODY = 0


@dataclass(slots=True)
class Swept:
    """What a sweep removed, or would remove: samples by project id (NOBODY: of none), partitions by name."""

    samples: Counter[int] = field(default_factory=Counter)
    partitions: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long which environments' samples are kept. days: by project id; project_of: by environment id."""

    days: dict[int, int]
    project_of: dict[int, int]

    @classmethod
    def load(cls) -> Retention:
        projects = Project.objects.only("plan", "retention_days")
        return cls(
            {project.pk: project.effective_retention_days for project in projects},
            dict(Environment.objects.values_list("pk", "project_id")),
        )

    @property
    def longest(self) -> int:
        """Days after which nobody needs a sample."""
        return max(self.days.values(), default=max(plan.retention_days for plan in PLANS.values()))

    def shorter(self) -> dict[int, list[int]]:
        """Environment ids by days, of those that are kept for less than the longest."""
        found: dict[int, list[int]] = {}
        for environment, project in self.project_of.items():
            days = self.days.get(project, self.longest)
            if days < self.longest:
                found.setdefault(days, []).append(environment)
        return found


def sweep(*, dry_run: bool = False, now: datetime | None = None, say: Callable[[str], None] | None = None) -> Swept:
    """Removes what is over; dry_run: only counts it. now: the database's clock. Outside any transaction.

    say: is told of each step. May be interrupted at any time: the next one goes on.
    """
    now = now or database_now()
    tell = say or (lambda text: None)
    retention = Retention.load()
    swept = Swept()
    needed_since = now - timedelta(days=retention.longest)
    if not dry_run:
        for name in left_over():
            drop_left_over(name)
    kept = []
    for partition in partitions():
        # What holds everything older is never dropped: it is where a stray sample finds its place.
        if partition.since is not None and partition.until <= needed_since:
            _drop(partition, retention, swept, dry_run=dry_run, tell=tell)
        else:
            kept.append(partition)
    for partition in kept:
        _thin(partition, retention, swept, now=now, dry_run=dry_run, tell=tell)
    _report(retention, swept, dry_run=dry_run)
    return swept


def _drop(
    partition: Partition, retention: Retention, swept: Swept, *, dry_run: bool, tell: Callable[[str], None]
) -> None:
    counts = _by_project(_count(partition), retention)
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
    """Deletes from one partition what its projects' plans do not need."""
    cuts: list[tuple[int, list[int] | None]] = [*retention.shorter().items(), (retention.longest, None)]
    for days, environments in cuts:
        before = now - timedelta(days=days)
        if partition.since is not None and partition.since >= before:
            continue
        removed: Counter[int] = Counter()
        if dry_run:
            removed += _by_project(_count(partition, environments, before), retention)
        while not dry_run and (batch := _delete(partition, environments, before)):
            removed += _by_project(batch, retention)
            tell(f"{partition.name}: {removed.total()} samples older than {days} days deleted")
        swept.samples.update(removed)


def _condition(environments: list[int] | None, before: datetime | None) -> tuple[str, list[object]]:
    conditions, values = ["true"], list[object]()
    if environments is not None:
        conditions.append("environment_id = ANY(%s)")
        values.append(environments)
    if before is not None:
        conditions.append("collected_at < %s")
        values.append(before)
    return " AND ".join(conditions), values


def _count(
    partition: Partition, environments: list[int] | None = None, before: datetime | None = None
) -> list[tuple[int, int]]:
    if partition.detaching:
        return []
    where, values = _condition(environments, before)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT environment_id, count(*) FROM {partition.name} WHERE {where} GROUP BY 1",  # noqa: S608
            values,
        )
        rows: list[tuple[int, int]] = cursor.fetchall()
        return rows


def _delete(partition: Partition, environments: list[int] | None, before: datetime) -> list[tuple[int, int]]:
    """One batch; (environment id, how many) of what went."""
    where, values = _condition(environments, before)
    with connection.cursor() as cursor:
        # By place in the table: samples are never updated, so a row is where it was found.
        cursor.execute(
            f"WITH gone AS (DELETE FROM {partition.name} WHERE ctid = ANY(ARRAY("  # noqa: S608
            f"SELECT ctid FROM {partition.name} WHERE {where} LIMIT {BATCH})) RETURNING environment_id)"
            " SELECT environment_id, count(*) FROM gone GROUP BY 1",
            values,
        )
        rows: list[tuple[int, int]] = cursor.fetchall()
        return rows


def _by_project(counts: Iterable[tuple[int, int]], retention: Retention) -> Counter[int]:
    found: Counter[int] = Counter()
    for environment, number in counts:
        found[retention.project_of.get(environment, NOBODY)] += number
    return found


def _report(retention: Retention, swept: Swept, *, dry_run: bool) -> None:
    for project, number in sorted(swept.samples.items()):
        logger.info(
            "samples_expired",
            project_id=project or None,
            samples=number,
            retention_days=retention.days.get(project, retention.longest),
            dry_run=dry_run,
        )


@recurring("cleanup_metrics", every_s=86400)
def cleanup() -> None:
    """Every day, by itself."""
    sweep()
