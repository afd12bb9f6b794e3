"""Remove expired samples. Verdicts, hints and the evidence in them stay.

Days that no project's plan needs are dropped as whole partitions. Within the others, samples of projects with a shorter
retention are deleted in batches, each in its own transaction. So are the places of a deployment's samples, once all of
them have expired. The levels computed from samples (metrics/levels.py) stay for LEVELS_KEPT, whatever the plan.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import structlog
from django.db import connection

from deployments.models import NEVER_JUDGED, State
from metrics.levels import LEVELS_KEPT
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

    places, levels: numbers of rows of sample_places and metric_levels. busy: nothing was done because another run was
    active.
    """

    samples: Counter[int] = field(default_factory=Counter)
    partitions: list[str] = field(default_factory=list)
    places: int = 0
    levels: int = 0
    busy: bool = False


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
    say = say or (lambda text: None)
    with advisory_lock(LOCK) as taken:
        if taken:
            return Sweep(now or database_now(), dry_run, say).run()
    logger.info("cleanup_skipped", reason="another run is at work")
    say("Another run is at work: nothing done.")
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


# Of deployments whose last sample is expired as well and for which no more can come, or whose row was deleted by hand.
PLACES = """
FROM sample_places AS place LEFT JOIN deployments ON deployments.id = place.deployment_id
WHERE place.environment_id {which} (%s) AND (deployments.id IS NULL OR state = ANY(%s)
    AND coalesce(finished_at, started_at) + make_interval(secs => settle_s + window_samples * interval_s) + %s < %s
    AND NOT EXISTS (SELECT 1 FROM scheduled_jobs AS job
        WHERE job.deployment_id = deployments.id AND job.status = ANY(%s)))
"""


@dataclass
class Sweep:
    """A run of `sweep`. project_of: by environment id."""

    now: datetime
    dry_run: bool
    say: Callable[[str], None]
    projects: dict[int, Project] = field(
        default_factory=lambda: Project.objects.only("uuid", "plan", "retention_days").in_bulk()
    )
    project_of: dict[int, int] = field(
        default_factory=lambda: dict(Environment.objects.values_list("pk", "project_id"))
    )
    swept: Swept = field(default_factory=Swept)

    @cached_property
    def longest(self) -> int:
        """The number of days after which no project needs a sample."""
        days = [project.effective_retention_days for project in self.projects.values()]
        return max(days or [plan.retention_days for plan in PLANS.values()])

    @cached_property
    def cuts(self) -> list[Cut]:
        """Return what to delete: one cut per shorter retention, and one for all samples beyond the longest."""
        longest = self.longest
        shorter: dict[int, list[int]] = {}
        for environment, project in self.project_of.items():
            days = self.projects[project].effective_retention_days if project in self.projects else longest
            if days < longest:
                shorter.setdefault(days, []).append(environment)
        others = [environment for ids in shorter.values() for environment in ids]

        def cut(days: int, which: str, environments: list[int]) -> Cut:
            return Cut(days, self.now - timedelta(days=days), which, environments)

        return [*(cut(days, "= ANY", ids) for days, ids in sorted(shorter.items())), cut(longest, "<> ALL", others)]

    def run(self) -> Swept:
        needed_since = self.now - timedelta(days=self.longest)
        if not self.dry_run:
            for name in left_over():
                drop_left_over(name)
        for partition in partitions():
            # The partition for all older days is never dropped: a stray sample still needs it.
            if partition.since is not None and partition.until <= needed_since:
                self.drop(partition)
            else:
                self.thin(partition)
        # After the samples: without its place, a sample that still exists could be stored a second time.
        self.free_places()
        self.remove_levels()
        self.report()
        return self.swept

    def drop(self, partition: Partition) -> None:
        """Drop a partition without a sample that a project needs."""
        counts = Counter() if partition.detaching else self.count(partition)
        if not self.dry_run and not drop(partition):
            self.say(f"{partition.name}: still in use, to be dropped by the next run")
            return
        self.swept.partitions.append(partition.name)
        self.swept.samples.update(counts)
        self.say(f"{partition.name}: {'would drop' if self.dry_run else 'dropped'} {counts.total()} samples")

    def thin(self, partition: Partition) -> None:
        """Delete from one partition the samples that their projects' plans do not need."""
        for cut in self.cuts:
            if partition.since is not None and partition.since >= cut.before:
                continue
            if self.dry_run:
                self.swept.samples += self.count(partition, cut)
                continue
            removed: Counter[int] = Counter()
            # By ctid: samples are never updated, so a row stays where it was found.
            while batch := self.by_project(
                f"WITH deleted AS (DELETE FROM {partition.name} WHERE ctid = ANY(ARRAY("  # noqa: S608  (our names)
                f"SELECT ctid FROM {partition.name} WHERE {cut.where} LIMIT {BATCH})) RETURNING environment_id)"
                " SELECT environment_id, count(*) FROM deleted GROUP BY 1",
                cut.values,
            ):
                removed += batch
                self.say(f"{partition.name}: {removed.total()} samples older than {cut.days} days deleted")
            self.swept.samples += removed

    def count(self, partition: Partition, cut: Cut | None = None) -> Counter[int]:
        """Count all samples of the partition, or those of a cut, by project."""
        return self.by_project(
            f"SELECT environment_id, count(*) FROM {partition.name}"  # noqa: S608  (names and conditions are ours)
            f" WHERE {cut.where if cut else 'true'} GROUP BY 1",
            cut.values if cut else [],
        )

    def by_project(self, query: str, values: list[Any]) -> Counter[int]:
        """Add up the (environment id, number) of a query by project."""
        found: Counter[int] = Counter()
        with connection.cursor() as cursor:
            for environment, number in cursor.execute(query, values).fetchall():
                found[self.project_of.get(environment, NO_PROJECT)] += number
        return found

    def free_places(self) -> None:
        """Delete the places of deployments whose samples have expired: no job can store one for them any more."""
        for cut in self.cuts:
            found = PLACES.format(which=cut.which)
            states = [State.ANALYZED, *NEVER_JUDGED]
            values: list[Any] = [cut.environments, states, MARGIN, cut.before, list(OPEN_STATUSES)]
            removed = 0
            with connection.cursor() as cursor:
                if self.dry_run:
                    cursor.execute(f"SELECT count(*) {found}", values)
                    removed = cursor.fetchone()[0]
                # By ctid, like the samples: these rows are never updated either.
                batch = f"DELETE FROM sample_places WHERE ctid = ANY(ARRAY(SELECT place.ctid {found} LIMIT {BATCH}))"  # noqa: S608
                while not self.dry_run and cursor.execute(batch, values).rowcount:
                    removed += cursor.rowcount
                    self.say(f"sample_places: {removed} places of samples older than {cut.days} days deleted")
            self.swept.places += removed

    def remove_levels(self) -> None:
        """Delete the levels that are older than LEVELS_KEPT."""
        found, before = "FROM metric_levels WHERE start < %s", [self.now - LEVELS_KEPT]
        with connection.cursor() as cursor:
            if self.dry_run:
                cursor.execute(f"SELECT count(*) {found}", before)
                self.swept.levels = cursor.fetchone()[0]
            # By ctid, like the samples: only the latest rows are ever updated.
            batch = f"DELETE FROM metric_levels WHERE ctid = ANY(ARRAY(SELECT ctid {found} LIMIT {BATCH}))"  # noqa: S608
            while not self.dry_run and cursor.execute(batch, before).rowcount:
                self.swept.levels += cursor.rowcount
                self.say(f"metric_levels: {self.swept.levels} levels older than {LEVELS_KEPT.days} days deleted")

    def report(self) -> None:
        for pk, number in sorted(self.swept.samples.items()):
            project = self.projects.get(pk)
            logger.info(
                "samples_expired",
                project_id=str(project.uuid) if project else None,
                samples=number,
                retention_days=project.effective_retention_days if project else self.longest,
                dry_run=self.dry_run,
            )
        if self.swept.places:
            logger.info("sample_places_expired", places=self.swept.places, dry_run=self.dry_run)
        if self.swept.levels:
            logger.info("metric_levels_expired", levels=self.swept.levels, dry_run=self.dry_run)


@recurring("cleanup_metrics", every_s=86400)
def cleanup() -> None:
    """Sweep once a day."""
    sweep()
