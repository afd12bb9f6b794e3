"""Rows of the job table that cannot be run."""

import pytest

from tests.crash.scene import one, plant, wait_until_settled
from tests.processes import Installation

pytestmark = pytest.mark.e2e


def test_rows_that_cannot_be_run_fail_with_words_and_the_others_go_on(scene: Installation, endpoint: str) -> None:
    plant(scene, {"name": "shop", "endpoint": f"{endpoint}/good", "deployments": 5, "within_s": 0.1})
    row = (
        "INSERT INTO scheduled_jobs (job_type, phase, sequence_index, scheduled_at, status, retry_count, last_error,"
        " error_code, job_metadata, locked_by) VALUES ('{}', '', 0, now(), 'pending', 0, '', '', '{}', '')"
    )
    broken = [("nobody_knows_me", "{}"), ("post_collect", "[1]"), ("post_collect", "null"), ("post_collect", "{}")]
    for each in [*broken, ("analysis", '"text"')]:
        scene.rows(row.format(*each))
    scene.start_poller("poller")
    wait_until_settled(scene)
    ended = scene.rows(
        "SELECT job_type, status, error_code, last_error <> '' FROM scheduled_jobs WHERE deployment_id IS NULL"
        " AND unique_key IS NULL ORDER BY id"
    )
    assert ended == [
        ("nobody_knows_me", "failed", "unknown_kind", True),
        ("post_collect", "failed", "broken_row", True),
        ("post_collect", "failed", "broken_row", True),
        ("post_collect", "failed", "no_deployment", True),
        ("analysis", "failed", "broken_row", True),
    ]
    assert one(scene, "SELECT count(*) FROM metric_samples WHERE phase = 'post'") == 25
