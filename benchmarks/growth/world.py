"""Fill the database with a year at scale: what `benchmarks.pages` fills, and samples, levels and jobs. In SQL."""

from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from django.utils import timezone

from benchmarks.pages import world
from benchmarks.poller.world import World
from metrics import partitions
from projects.services import create_project

FULL_DEPLOYMENTS, FULL_ENVIRONMENTS, FULL_SAMPLES = 1_000_000, 10_000, 10_000_000
MINUTES_A_DAY = 1440
ENDPOINTS = """
UPDATE projects_environment SET baseline_interval_s = 60,
    metrics_endpoint = (%(addresses)s::text[])[1 + id %% cardinality(%(addresses)s)] || '/' || id
"""
# One a minute and environment, back from now.
SAMPLES = """
INSERT INTO metric_samples (environment_id, phase, sequence_index, requests_per_sec, latency_p95, error_rate, cpu_usage,
    memory_usage, collected_at)
SELECT environment.id, 'baseline', 0, 40 + random(), 120 + random(), 0.001 * random(), random(), random(),
    now() - minute * interval '1 minute' - environment.id %% 60 * interval '1 second'
FROM generate_series(1, %(minutes)s) AS minute, projects_environment AS environment
"""
# Written slot by slot, as the poller does.
LEVELS = """
INSERT INTO metric_levels (environment_id, start, samples, requests_per_sec, latency_p95, error_rate, cpu_usage,
    memory_usage)
SELECT environment.id, date_bin('5 minutes', %(now)s, 'epoch') - (1 + slot) * interval '5 minutes', 5, random(),
    random(), random(), random(), random()
FROM generate_series(%(from)s, %(to)s - 1) AS slot, projects_environment AS environment
"""
# What pruning leaves of the ticks of baselines: an hour.
TICKS = """
INSERT INTO scheduled_jobs (job_type, phase, sequence_index, scheduled_at, started_at, finished_at, fair_key, status,
    retry_count, last_error, error_code, job_metadata, locked_by, unique_key, expires_at)
SELECT 'baseline_collect', 'baseline', 0, at, at, at, project_id, 'completed', 0, '', '',
    jsonb_build_object('environment_id', id), '', 'baseline_collect:' || id || ':60:' || extract(epoch FROM at),
    at + interval '1 minute'
FROM (SELECT id, project_id, now() - minute * interval '1 minute' AS at
    FROM generate_series(1, 60) AS minute, projects_environment) AS ticks
"""
# And of those of a month's deployments.
WINDOWS = """
INSERT INTO scheduled_jobs (job_type, phase, sequence_index, deployment_id, scheduled_at, started_at, finished_at,
    fair_key, status, retry_count, last_error, error_code, job_metadata, locked_by)
SELECT jobs.*, deployment.id, finished_at, finished_at, finished_at, project_id, 'completed', 0, '', '', '{}', ''
FROM deployments AS deployment, (VALUES ('pre_collect', 'pre', 0), ('post_collect', 'post', 1),
    ('post_collect', 'post', 2), ('post_collect', 'post', 3), ('post_collect', 'post', 4), ('post_collect', 'post', 5),
    ('analysis', '', 0)) AS jobs (kind, phase, place)
WHERE state = 'analyzed' AND finished_at > now() - interval '30 days'
"""


@dataclass(frozen=True, slots=True)
class Size:
    """Rows of a database. level_days: days of levels, of 288 per environment."""

    environments: int
    deployments: int
    samples: int
    level_days: int

    @classmethod
    def of(cls, share: float, *, level_days: int) -> "Size":
        environments = max(20, round(FULL_ENVIRONMENTS * share))
        return cls(
            environments - environments % 2,
            max(1000, round(FULL_DEPLOYMENTS * share)),
            round(FULL_SAMPLES * share),
            level_days,
        )

    @property
    def minutes(self) -> int:
        """Return for how many minutes each environment has samples."""
        return ceil(self.samples / self.environments)

    @property
    def levels(self) -> int:
        return self.environments * 288 * self.level_days


def fill(site: World, size: Size, addresses: list[str]) -> str:
    """Insert all rows; return an API key of a project of its own, with one environment "prod"."""
    world.fill(site, deployments=size.deployments, projects=size.environments // 2)
    days = ceil(size.minutes / MINUTES_A_DAY) + 1
    partitions.ensure_days([(timezone.now() - timedelta(days=ago)).date() for ago in range(days + 1)])
    partitions.make_ahead()
    site.rows(SAMPLES, minutes=size.minutes)
    site.rows(TICKS)
    site.rows(WINDOWS)
    # In parts: the write-ahead log of one statement would need as much space again.
    # All from one time, or those of a part that takes longer than a slot would meet the next part's.
    slots, now = 288 * size.level_days, timezone.now()
    for start in range(0, slots, 288):
        site.rows(LEVELS, now=now, **{"from": start, "to": min(start + 288, slots)})
    made = create_project("measured", environment="prod", plan="free", endpoint=f"{addresses[0]}/measured")
    site.rows(ENDPOINTS, addresses=addresses)
    site.rows("VACUUM ANALYZE")
    return made.api_key
