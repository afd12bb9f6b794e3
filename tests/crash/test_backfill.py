"""A poller that is killed within a history import."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from metrics.tests.prometheus import prometheus_with
from tests.processes import Installation, wait_for

pytestmark = pytest.mark.e2e

NUMBER = 150
JUDGED = "SELECT count(*) FROM past_deployments WHERE judged_at IS NOT NULL"


def test_another_poller_goes_on_with_what_waits(scene: Installation, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(hours=2, minutes=7 * number) for number in range(NUMBER)]
    minutes = [time.time() - 60 * minute for minute in range(9 * NUMBER)]
    (tmp_path / "tags.txt").write_text("\n".join(f"v{n} {at.isoformat()}" for n, at in enumerate(times)))
    with prometheus_with(tmp_path, {'errors{service="shop"}': dict.fromkeys(minutes, 0.0)}) as url:
        config = {"url": url, "expressions": {"error_rate": 'avg(errors{service="shop"})'}}
        scene.manage("create_project", "shop", "--source", "prometheus", "--source-config", json.dumps(config))
        scene.manage("backfill", "--project", "shop", "--from-git", str(tmp_path / "tags.txt"), "--no-wait")
        poller = scene.start_poller("poller-1")
        wait_for(lambda: scene.rows(JUDGED)[0][0] > 0, "the first verdicts")
        poller.kill()
        poller.wait()
        before = dict(scene.rows("SELECT id, judged_at FROM past_deployments WHERE judged_at IS NOT NULL"))
        assert 0 < len(before) < NUMBER
        scene.start_poller("poller-2")
        wait_for(lambda: scene.rows(JUDGED)[0][0] == NUMBER, "the others", 30)
    after = dict(scene.rows("SELECT id, judged_at FROM past_deployments"))
    assert len(after) == NUMBER
    assert all(after[pk] == at for pk, at in before.items())
