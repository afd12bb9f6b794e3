"""Events about verdicts: which are emitted, their severity, and how many statements a burst takes."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from analysis.evidence import Evidence, load_evidence, observed_until
from analysis.judge.types import Health, Quality, Verdict, Window
from analysis.services import Judgement, assess, store_early, store_judgement, store_judgements, store_unjudged
from deployments.models import Deployment, State
from deployments.tests.factories import make_deployment
from events.models import Event, Incident
from explain.facts import Fact
from metrics.tests.factories import make_sample
from projects.models import Environment
from projects.policy import policy_from_dict
from projects.tests.factories import make_environment

pytestmark = pytest.mark.django_db


def judgement(verdict: str = "ok", **fields: Any) -> Judgement:
    """Return a judgement, put together where tests need many."""
    values: dict[str, Any] = {
        "verdict": verdict,
        "confidence": 0.9,
        "conclusive": True,
        "score": 0.1,
        "summary": Fact("no_regression"),
        "checks": (),
        "quality": Quality(1.0),
        "policy": {},
        **fields,
    }
    evidence = Evidence(pre=(), post=(), window=Window(expected=5), policy=policy_from_dict({}))
    return Judgement(evidence, Verdict(**values), ())


def finished(environment: Environment, **fields: Any) -> Deployment:
    return make_deployment(environment=environment, state=State.FINISHED, **fields)


def emitted() -> list[tuple[str, str, int]]:
    rows = Event.objects.order_by("id").values_list("kind", "severity", "parameters__deployment__number")
    return list(rows)


def test_a_verdict_from_samples_is_told_with_everything_that_a_message_needs() -> None:
    environment = make_environment(name="prod")
    good = finished(environment, started_at=timezone.now() - timedelta(hours=2), commit_sha="abc")
    store_judgement(good.pk, judgement())
    bad = finished(
        environment,
        commit_sha="7c1f2a9",
        author="ana",
        commit_message="Cache prices\n\nlong",
        url="https://ci/1?token=x",
    )
    make_sample(bad, phase="pre", collected_at=bad.started_at - timedelta(seconds=1))
    for index in range(1, 6):
        make_sample(bad, sequence_index=index, error_rate=0.25)
    at = observed_until(bad) + timedelta(seconds=1)
    store_judgement(bad.pk, assess(load_evidence([bad], at)[bad.pk]))
    event = Event.objects.latest("id")
    assert (event.kind, event.severity, event.deployment_id) == ("verdict_issued", "critical", bad.pk)
    assert (event.team_id, event.environment_id) == (environment.project.team_id, environment.pk)
    said = event.parameters
    assert said["environment"] == "prod" and said["project"] == environment.project.name
    assert said["deployment"] == {
        "id": str(bad.uuid),
        "number": bad.number,
        "kind": "deployment",
        "commit": "7c1f2a9",
        "title": "Cache prices",
        "author": "ana",
        "branch": "main",
        "version": "",
        "url": "https://ci/1",
        "pipeline": "success",
    }
    assert said["last_good"] == {"number": good.number, "id": str(good.uuid), "commit": "abc"}
    [check] = said["verdict"]["checks"]
    assert (check["metric"], check["outcome"], check["observed"]) == (
        "error_rate",
        "critical",
        pytest.approx(0.25, abs=0.02),
    )
    assert said["verdict"]["verdict"] == "rollback_recommended" and said["hints"]


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        (["ok"], ["verdict_issued info"]),
        (["rollback_recommended"], ["verdict_issued critical"]),
        (["warning", "ok"], ["verdict_issued warning", "verdict_issued info", "recovered warning"]),
        # As grave as the worst of what ends; the first good one only.
        (
            ["warning", "rollback_recommended", "warning", "ok", "ok"],
            [
                *("verdict_issued warning", "verdict_issued critical", "verdict_issued warning"),
                *("verdict_issued info", "recovered critical", "verdict_issued info"),
            ],
        ),
        # Too little data is neither a failure nor a recovery.
        (["ok", "inconclusive", "ok"], ["verdict_issued info", "verdict_issued warning", "verdict_issued info"]),
        (["unjudged", "ok"], ["verdict_issued warning", "verdict_issued info"]),
        (
            ["rollback_recommended", "inconclusive", "ok"],
            ["verdict_issued critical", "verdict_issued warning", "verdict_issued info", "recovered critical"],
        ),
    ],
)
def test_which_events_a_course_of_verdicts_has(course: list[str], expected: list[str]) -> None:
    environment = make_environment()
    for verdict in course:
        deployment = finished(environment)
        if verdict == "unjudged":
            store_unjudged(deployment.pk, Fact("analysis_ended", {"status": "failed"}))
        elif verdict == "inconclusive":
            store_judgement(deployment.pk, judgement("warning", conclusive=False))
        else:
            store_judgement(deployment.pk, judgement(verdict))
    assert [f"{kind} {severity}" for kind, severity, _ in emitted()] == expected
    assert Incident.objects.exists() == (course[-1] not in ("ok", "unjudged"))


@pytest.mark.parametrize(
    ("final", "expected"),
    [
        ("rollback_recommended", [("verdict_issued", "info")]),
        ("warning", [("verdict_issued", "critical")]),
        ("ok", [("verdict_issued", "critical"), ("recovered", "critical")]),
    ],
)
def test_the_final_verdict_after_an_early_one_tells_what_changed(final: str, expected: list[tuple[str, str]]) -> None:
    deployment = finished(make_environment())
    assert store_early(deployment.pk, judgement("rollback_recommended", early=True))
    store_judgement(deployment.pk, judgement(final))
    kinds = [(kind, severity) for kind, severity, _ in emitted()]
    assert kinds == [("early_rollback", "critical"), *expected]
    assert Event.objects.filter(kind="verdict_issued").get().parameters["early"]["verdict"] == "rollback_recommended"


def test_shadow_mode_is_told() -> None:
    deployment = finished(make_environment())
    store_judgement(deployment.pk, judgement("rollback_recommended", policy={"shadow": True}))
    assert Event.objects.get().parameters["verdict"]["shadow"] is True


def test_a_burst_of_verdicts_writes_all_events_in_one_statement() -> None:
    def burst(size: int) -> tuple[int, int]:
        places = [make_environment() for _ in range(size)]
        for place in places[::2]:
            store_judgement(finished(place).pk, judgement("warning"))
        names = ("ok", "warning", "rollback_recommended")
        given = {finished(place).pk: judgement(names[number % 3]) for number, place in enumerate(places)}
        before = Event.objects.count()
        with CaptureQueriesContext(connection) as asked:
            assert len(store_judgements(given)) == size
        assert (
            Event.objects.count() - before
            == size + Event.objects.filter(kind="recovered", deployment_id__in=given).count()
        )
        inserts = [one for one in asked.captured_queries if one["sql"].startswith('INSERT INTO "events"')]
        return len(asked), len(inserts)

    few, many = burst(3), burst(60)
    assert few[1] == many[1] == 1
    assert few[0] == many[0]


@pytest.mark.parametrize(
    ("pipeline", "healthy", "ends"),
    [
        ("success", "yes", True),
        ("", "unknown", True),
        ("failed", "yes", False),
        ("cancelled", "yes", False),
        ("success", "no", False),
    ],
)
def test_only_what_was_deployed_and_is_healthy_ends_an_incident(pipeline: str, healthy: Any, ends: bool) -> None:
    environment = make_environment()
    bad, ok = finished(environment), finished(environment, pipeline_result=pipeline)
    store_judgement(bad.pk, judgement("rollback_recommended"))
    store_judgement(ok.pk, judgement("ok", health=Health(healthy)))
    kinds = [kind for kind, _, _ in emitted()]
    assert kinds == ["verdict_issued", "verdict_issued", *["recovered"] * ends]
    assert Incident.objects.exists() is not ends


def test_a_bad_verdict_says_what_to_return_to_and_what_replaced_it() -> None:
    environment, hour = make_environment(), timedelta(hours=1)
    started = [timezone.now() - hour * ago for ago in (9, 8.5, 8, 7)]
    [good, verified, failed, bad] = [finished(environment, started_at=at) for at in started]
    Deployment.objects.filter(pk=failed.pk).update(pipeline_result="failed")
    # Nothing was deployed with it that one could return to.
    Deployment.objects.filter(pk=verified.pk).update(kind="verification")
    store_judgements({one.pk: judgement() for one in (good, verified, failed)})
    later = finished(environment, started_at=timezone.now())
    store_judgement(bad.pk, judgement("rollback_recommended"))
    said = Event.objects.latest("id").parameters
    assert said["last_good"]["number"] == good.number and said["replaced_by"] == {"number": later.number}
    assert Deployment.objects.filter(pk__lt=bad.pk).restorable().get() == good
    first = finished(make_environment())
    store_judgement(first.pk, judgement("rollback_recommended"))
    said = Event.objects.latest("id").parameters
    assert said["last_good"] is None and "replaced_by" not in said
