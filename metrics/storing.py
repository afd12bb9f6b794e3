"""Writing samples: one statement for a batch, each place of a deployment once."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from metrics.models import MetricSample
from metrics.partitions import ensure_days, utc_day

COLUMNS = (
    ("environment_id", "bigint"),
    ("deployment_id", "bigint"),
    ("phase", "text"),
    ("sequence_index", "int"),
    ("requests_per_sec", "float8"),
    ("latency_p95", "float8"),
    ("error_rate", "float8"),
    ("cpu_usage", "float8"),
    ("memory_usage", "float8"),
    ("collected_at", "timestamptz"),
)
NAMES = ", ".join(name for name, _ in COLUMNS)

# First the places: whoever comes second finds them taken, waits for nothing and writes no sample.
STORE = f"""
WITH given AS (SELECT * FROM unnest({", ".join(f"%s::{kind}[]" for _, kind in COLUMNS)}) AS given({NAMES})),
placed AS (
    INSERT INTO sample_places (deployment_id, phase, sequence_index)
    SELECT deployment_id, phase, sequence_index FROM given WHERE deployment_id IS NOT NULL
    ON CONFLICT DO NOTHING RETURNING deployment_id, phase, sequence_index)
INSERT INTO metric_samples ({NAMES})
SELECT {NAMES} FROM given
WHERE deployment_id IS NULL OR (deployment_id, phase, sequence_index) IN (SELECT * FROM placed)
ON CONFLICT DO NOTHING
"""  # noqa: S608  (put together from the constants above)


def store(samples: Sequence[MetricSample]) -> int:
    """Writes the samples, those of a deployment only where their place (phase, index) is free; returns how many."""
    if not samples:
        return 0
    # Once per place, and in one order for everybody: two writers of the same places must not wait for each other.
    once = {place_of(sample) or (number,): sample for number, sample in enumerate(samples)}
    rows = [once[key] for key in sorted(once, key=lambda key: (len(key), key))]
    ensure_days({utc_day(sample.collected_at) for sample in rows})
    with connection.cursor() as cursor:
        cursor.execute(STORE, [[getattr(sample, name) for sample in rows] for name, _ in COLUMNS])
        written: int = cursor.rowcount
        return written


def place_of(sample: MetricSample) -> tuple[int, str, int] | None:
    """What may have one sample; None for the baseline, which belongs to no deployment."""
    if sample.deployment_id is None:
        return None
    return sample.deployment_id, str(sample.phase), sample.sequence_index
