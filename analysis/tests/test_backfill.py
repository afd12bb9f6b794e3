"""The history import: from a list of tags to verdicts of a real Prometheus' past, by a real poller."""

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from analysis import backfill
from analysis.deployment_list import NoList, read_list
from analysis.models import DeploymentVerdict, PastDeployment
from deployments.models import Deployment
from events.models import Event
from explain.facts import Fact
from explain.rendering import render
from metrics.configuring import add_source
from metrics.models import MetricSample
from metrics.tests.prometheus import prometheus_with
from projects.models import Environment
from projects.services import create_project
from scheduler.models import ScheduledJob
from scheduler.tests.pollers import running_poller

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now().replace(second=0, microsecond=0)
GOOD, BAD, DARK = NOW - timedelta(days=8, hours=2), NOW - timedelta(days=3, hours=2), NOW - timedelta(days=40)
MINUTE = timedelta(minutes=1)
EXPRESSIONS = {
    "requests_per_sec": 'sum(requests{service="shop"})',
    "latency_p95": 'max(latency{service="shop"})',
    "error_rate": 'avg(errors{service="shop"})',
}


def past() -> dict[str, dict[float, float]]:
    """Return a service's minutes around the deployments and on the days before them: the bad one fails and is slow."""
    times = {
        (at - timedelta(days=days) + MINUTE * minute).timestamp()
        for at in (GOOD, BAD)
        for days in (0, 1, 2, 7)
        for minute in range(-60, 60)
    }
    bad = (BAD + 5 * MINUTE).timestamp()

    def since(at: float) -> bool:
        return bad <= at < bad + 3600

    def wave(at: float) -> float:
        return math.sin(at / 60 * 2.4)

    return {
        'requests{service="shop"}': {at: 50 + 2 * wave(at) for at in times},
        'latency{service="shop"}': {at: (900 if since(at) else 120) + 4 * wave(at) for at in times},
        'errors{service="shop"}': {at: 0.25 if since(at) else 0.0 for at in times},
    }


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus_with(tmp_path_factory.mktemp("prometheus"), past()) as url:
        yield url


@pytest.fixture
def environment(settings: Any, prometheus: str) -> Environment:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    made = create_project("shop", environment="prod").environment
    add_source(made, "prometheus", {"url": prometheus, "expressions": EXPRESSIONS})
    return made


LIST = f"""
v1.0 {"a1" * 20} {GOOD.isoformat()}
v1.1 {"b2" * 20} {BAD.isoformat()}
v0.1 {"c3" * 20} {DARK.isoformat()}
"""


def test_a_list_of_tags_is_judged_and_nobody_is_told(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "tags.txt").write_text(LIST)
    with running_poller():
        out = run("--from-git", str(tmp_path / "tags.txt"))
    rows = {row.name: row for row in PastDeployment.objects.filter(environment=environment)}
    assert {name: (row.verdict, row.conclusive) for name, row in rows.items()} == {
        "v1.0": ("ok", True),
        "v1.1": ("rollback_recommended", True),
        "v0.1": ("", None),
    }
    assert render(Fact.from_json(rows["v0.1"].problem)) == "the sources know nothing of that time"
    assert [hint["code"] for hint in rows["v1.1"].hints]
    recorded = rows["v1.0"].judged
    assert recorded is not None
    assert recorded.judged_on.pre_samples == 30
    assert [day.days_ago for day in recorded.judged_on.earlier_days] == [1, 2, 7]
    assert "v1.1  rollback_recommended: " in out
    assert out.splitlines()[0].endswith("the sources know nothing of that time")
    for model in (Deployment, DeploymentVerdict, MetricSample, Event):
        assert not model.objects.exists(), model
    # The same list again changes nothing.
    judged = dict(PastDeployment.objects.values_list("pk", "judged_at"))
    with running_poller():
        run("--from-git", str(tmp_path / "tags.txt"))
    assert dict(PastDeployment.objects.values_list("pk", "judged_at")) == judged
    # By another policy they are judged again.
    Environment.objects.update(policy={"limits": {"latency_p95": 100}})
    with running_poller():
        run("--again")
    assert set(PastDeployment.objects.exclude(verdict="").values_list("verdict", flat=True)) == {"rollback_recommended"}
    run("--clear")
    assert not PastDeployment.objects.exists()


def run(*options: str) -> str:
    out = StringIO()
    call_command("backfill", "--project", "shop", *options, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_a_source_that_does_not_answer_is_told_at_each(environment: Environment) -> None:
    source = environment.sources.get()
    source.delete()
    add_source(environment, "prometheus", {"url": "http://127.0.0.1:9", "expressions": EXPRESSIONS})
    backfill.add(environment, read_list(LIST, NOW + MINUTE).listed)
    ScheduledJob.objects.update(retry_count=9)
    with running_poller():
        assert "refused" in run()
    assert backfill.progress_of(environment).failed == 3
    # Nothing is left to be done, until somebody asks for it.
    backfill.sweep()
    assert not ScheduledJob.objects.open().filter(job_type=backfill.KIND).exists()


def test_an_import_that_is_ended_keeps_what_it_has(environment: Environment) -> None:
    backfill.add(environment, read_list(LIST, NOW + MINUTE).listed)
    run("--stop", "--no-wait")
    assert backfill.progress_of(environment).failed == 3
    with running_poller():
        run()
    assert not PastDeployment.objects.filter(judged_at__isnull=False).exists()
    # The same list again goes on with it.
    assert backfill.add(environment, read_list(LIST, NOW + MINUTE).listed) == 0
    assert backfill.progress_of(environment).waiting == 3


def test_a_verdict_is_not_shown_where_it_could_not_be_judged_again(environment: Environment) -> None:
    backfill.add(environment, read_list(LIST, NOW + MINUTE).listed)
    with running_poller():
        run()
    environment.sources.get().delete()
    add_source(environment, "prometheus", {"url": "http://127.0.0.1:9", "expressions": EXPRESSIONS})
    backfill.judge_again(environment)
    ScheduledJob.objects.open().filter(job_type=backfill.KIND).update(retry_count=9)
    with running_poller():
        out = run()
    assert "rollback_recommended" not in out
    assert [row.judged for row in PastDeployment.objects.all()] == [None] * 3


def test_what_a_job_finds_is_not_stored_once_it_is_asked_for_again(environment: Environment) -> None:
    backfill.add(environment, read_list(LIST, NOW + MINUTE).listed)
    rows = list(PastDeployment.objects.all())
    for row in rows:
        row.problem = Fact("backfill_no_data").to_json()
    job: Any = None
    backfill.judge_again(environment)
    backfill.record([(job, rows)])
    assert backfill.progress_of(environment).waiting == 3
    # A list whose deployments took another time is judged anew.
    backfill.stop(environment)
    assert backfill.add(environment, read_list(LIST, NOW + MINUTE).listed, takes=8 * MINUTE) == 0
    assert backfill.progress_of(environment).waiting == 3
    assert set(PastDeployment.objects.values_list("takes_s", flat=True)) == {480}


def test_a_window_that_is_not_over_is_refused(environment: Environment) -> None:
    listed = read_list(f"{LIST}now {timezone.now().isoformat()}", timezone.now()).listed
    with pytest.raises(backfill.CannotBackfill) as raised:
        backfill.add(environment, listed)
    assert raised.value.code == "backfill_unfinished"
    assert not PastDeployment.objects.exists()


def test_it_needs_a_source_that_knows_the_past() -> None:
    create_project("shop", environment="prod")
    with pytest.raises(CommandError, match="knows the past"):
        backfill_of("v1 2026-11-30T12:00:00Z")


def backfill_of(text: str) -> None:
    environment = Environment.objects.get()
    try:
        backfill.add(environment, read_list(text, datetime.fromisoformat("2026-12-01T00:00:00+00:00")).listed)
    except backfill.CannotBackfill as error:
        raise CommandError(render(error.fact)) from None


# --- lists -----------------------------------------------------------------------------------------------------------

AT = datetime.fromisoformat("2026-12-01T09:00:00+00:00")
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("line", "name", "sha", "time"),
    [
        (f"v1.2 {SHA} 2026-11-30T14:05:00+01:00", "v1.2", SHA, "2026-11-30T13:05:00+00:00"),
        (f"{SHA} 2026-11-30T14:05:00Z Cache prices", "Cache prices", SHA, "2026-11-30T14:05:00+00:00"),
        (f"{SHA}\t2026-11-30 14:05:00 +0100\tFix, and test", "Fix and test", SHA, "2026-11-30T13:05:00+00:00"),
        (f"{SHA[:12]} 1764511500", SHA[:8], SHA[:12], "2025-11-30T14:05:00+00:00"),
        ("release-7;2026-11-30T14:05:00.5-05:00", "release-7", "", "2026-11-30T19:05:00.500000+00:00"),
        ("2026-11-30T14:05Z deadbeef", "deadbeef", "deadbeef", "2026-11-30T14:05:00+00:00"),
        ("2026.11.30 2026-11-30T14:05:00Z", "2026.11.30", "", "2026-11-30T14:05:00+00:00"),
        (f"2026113001 {SHA} 2026-11-30T14:05:00Z", "2026113001", SHA, "2026-11-30T14:05:00+00:00"),
        (f"2026-11-30T1405 {SHA} 2026-11-30T14:06:00Z", "2026-11-30T1405", SHA, "2026-11-30T14:06:00+00:00"),
        (f"deadbeef {SHA} 2026-11-30T14:05:00Z", "deadbeef", SHA, "2026-11-30T14:05:00+00:00"),
        (f'"v1.2","{SHA}","2026-11-30T14:05:00Z"', "v1.2", SHA, "2026-11-30T14:05:00+00:00"),
    ],
)
def test_lines_of_lists(line: str, name: str, sha: str, time: str) -> None:
    now = AT if "1764511500" not in line else datetime.fromisoformat("2025-12-01T00:00:00+00:00")
    [one] = read_list(f"\ufeff\n# a comment\n{line}\n", now).listed
    assert (one.name, one.commit_sha, one.at.isoformat()) == (name, sha, time)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "names no deployment"),
        ("v1.2", "no time"),
        ("v1.2 2026-11-30", "no time"),
        ("v1.2 2026-13-30T14:05:00Z", "no time"),
        ("v1.2 2026-11-30T14:05:00", "offset"),
        ("v1.2 2026-11-30 14:05:00", "offset"),
        ("v1.2 2026-12-30T14:05:00Z", "in the future"),
        ("v1.2 2026-07-30T14:05:00Z", "more than 90 days ago"),
        ("v1.2 99999999999", "in the future"),
        ("2026-11-30T14:05:00Z", "neither a name nor a commit"),
        ("v1\x00 2026-11-30T14:05:00Z", "cannot be printed"),
        ("v" * 2000 + " 2026-11-30T14:05:00Z", "longer than 1000 characters"),
    ],
)
def test_what_is_no_line_of_a_list(line: str, problem: str) -> None:
    with pytest.raises(NoList) as raised:
        read_list(line, AT)
    [(number, fact)] = raised.value.problems.items()
    assert number == 1
    assert problem in render(fact)


def test_every_wrong_line_is_named_and_nothing_is_taken() -> None:
    with pytest.raises(NoList) as raised:
        read_list("v1 2026-11-30T14:05:00Z\nv2\n\nv3 soon\n", AT)
    assert list(raised.value.problems) == [2, 4]


def test_a_list_is_bounded_and_has_each_once() -> None:
    line = "v{} 2026-11-30T14:05:00Z"
    assert len(read_list("\n".join([line.format(1)] * 3), AT).listed) == 1
    found = read_list(f"{line.format(1)}\nv0 2020-01-01T00:00:00Z", AT)
    assert (len(found.listed), found.too_old) == (1, 1)
    with pytest.raises(NoList, match="list_long"):
        read_list("\n".join(line.format(number) for number in range(1001)), AT)
