"""Trigger and finish in one statement: the same answers and the same rows as the usual way, case by case."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from analysis.tests.factories import make_verdict
from common import database
from deployments import statements
from deployments.models import Deployment, DeploymentKey
from deployments.tests.factories import make_deployment
from deployments.tests.pipeline import ENDPOINT, Pipeline
from projects.authentication import look_up
from projects.models import ApiKey, Environment, Freeze, PolicyVersion, Project
from projects.services import create_project
from scheduler.models import ScheduledJob
from security.limits import Rate
from seqpulse import usual_calls
from seqpulse.models import RateCounter
from tests.concurrency import at_once
from tests.databases import end_connection

TABLES = (Project, Environment, PolicyVersion, ApiKey, Deployment, DeploymentKey, ScheduledJob, RateCounter)
# The limit of calls in these tests, and a period that does not end during one.
LIMIT = Rate(5, 86400 * 365)
PAST = datetime(2026, 1, 1, tzinfo=UTC)
OTHER = "http://other.example/metrics"
SHA, OLD_SHA = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334", "0" * 40


@dataclass
class World:
    """A project `shop` with the environments prod (it has an endpoint) and bare (it has none)."""

    pipeline: Pipeline
    project: Project
    prod: Environment
    bare: Environment
    secret: str
    # Ids that the call of a case needs.
    ids: dict[str, str] = field(default_factory=dict)

    def change(self, **values: Any) -> None:
        Project.objects.filter(pk=self.project.pk).update(**values)

    def earlier(self, *commits: str) -> None:
        """Write deployments that were judged ok, conclusively."""
        for commit in commits:
            make_verdict(finished(self, commit))


def verified_since(world: "World") -> None:
    """What is rolled back was verified after it was deployed; the verification names the commit to go back to."""
    world.earlier(SHA, OLD_SHA, SHA)
    Deployment.objects.filter(number=3).update(kind="verification")


def world() -> World:
    made = create_project("shop", environment="prod", endpoint=ENDPOINT)
    bare = Environment.objects.create(project=made.project, name="bare")
    return World(Pipeline(made.api_key), made.project, made.project.environments.get(name="prod"), bare, made.api_key)


def settle(world: World, seconds: int) -> None:
    Environment.objects.filter(pk=world.prod.pk).update(settle_s=seconds)


def run(world: World, **body: Any) -> str:
    return world.pipeline.start(idempotency_key="run-1", **body)


def finished(world: World, commit: str = "", **values: Any) -> Deployment:
    return make_deployment(environment=world.prod, commit_sha=commit, state="finished", started_at=PAST, **values)


def old_key(world: World) -> None:
    finished(world, idempotency_key="old")


def gone(environment: Environment) -> None:
    Environment.objects.filter(pk=environment.pk).update(deleting_at=PAST)


def w_id(world: World) -> dict[str, str]:
    return {"uuid": world.ids["deployment_id"]}


def again(world: World) -> None:
    """Finish the deployment, and bring its key again."""
    world.pipeline.finish(**w_id(world))
    run(world)


def elsewhere(world: World) -> None:
    other = create_project("other", environment="prod", endpoint=ENDPOINT, team=world.project.team)
    world.ids["deployment_id"] = Pipeline(other.api_key).start()


def calls(world: World, number: int) -> None:
    """Have this number of calls counted, whatever was called before."""
    RateCounter.objects.all().delete()
    for _ in range(number):
        world.pipeline.get("/deployments")


def trust(world: World, url: str) -> None:
    Environment.objects.filter(pk=world.prod.pk).update(origins=[url])


def freeze(world: World, **values: Any) -> None:
    Freeze.objects.create(team=world.project.team, reason="Black Friday", **values)


BEGUN = timezone.now()


def weekly(world: World, begins_in: timedelta, lasts: timedelta, zone: str = "Asia/Kolkata") -> None:
    """Write a freeze of every week with a window so long from BEGUN on: the same in both worlds of a case."""
    begin = BEGUN.astimezone(ZoneInfo(zone)) + begins_in
    end = begin + lasts
    days = {"from_weekday": begin.weekday(), "until_weekday": end.weekday()}
    freeze(world, **days, from_time=begin.time(), until_time=end.time(), time_zone=zone)


@dataclass(frozen=True)
class Case:
    """What happened before a call, the call, and whether one statement has to answer it.

    before: given the world; body: given the world, or the body itself, where bytes are sent as they are.
    """

    name: str
    body: Any
    before: Callable[[World], Any] = lambda world: None
    usual: bool = False
    path: str = "/deployments/trigger"
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200


def usual(name: str, body: Any, before: Callable[[World], Any] = lambda world: None, **more: Any) -> Case:
    return Case(name, body, before, usual=True, **more)


SHOWN = {
    "branch": " main ",
    "commit_sha": SHA,
    "version": 7,
    "author": "Zoë",
    "url": "https://ci.example/1",
    "commit_message": "Fix it\n\nAt last",
    "committed_at": "2026-02-03T04:05:06.789+02:00",
}
PROD = {"env": "prod"}
TRIGGERS = [
    usual("nothing but the environment", PROD),
    usual("all that is shown", {**PROD, **SHOWN, "unknown": [1]}),
    usual("what is shown is cut or left out", {**PROD, "branch": "b" * 300, "url": "javascript:1", "author": [1]}),
    usual("times of every offset", {**PROD, "committed_at": "2026-01-01T00:00:00-23:59"}),
    usual("a backslash, quotes, braces and per cent", {**PROD, "branch": '\\{"%s"},NULL', "version": "%(x)s $1"}),
    usual("kind in capitals", {**PROD, "kind": "VERIFICATION"}),
    usual("a settling time of its own", {**PROD, "settle_seconds": 0}, lambda w: settle(w, 90)),
    usual("the environment's settling time", PROD, lambda w: settle(w, 90)),
    usual("a key in the body", {**PROD, "idempotency_key": "run-1"}),
    usual("a key in the header", {**PROD, "idempotency_key": "x"}, headers={"X-Idempotency-Key": " rün-1 "}),
    usual("the key of another environment", {**PROD, "idempotency_key": "run-1"}, lambda w: run(w, env="bare")),
    usual("the environment's endpoint", {**PROD, "metrics_endpoint": ENDPOINT}),
    usual("no endpoint", {"env": "bare"}),
    usual("a longer plan", PROD, lambda w: w.change(plan="enterprise")),
    usual("a shorter window than the plan's", PROD, lambda w: w.change(plan="pro", window_minutes=3)),
    usual("a window beyond the plan's", PROD, lambda w: w.change(window_minutes=500)),
    usual("after a finished one", PROD, finished),
    usual("the last commit again", {**PROD, "commit_sha": SHA.upper()}, lambda w: w.earlier(SHA)),
    usual("another commit that begins alike, never good", {**PROD, "commit_sha": SHA}, lambda w: finished(w, SHA[:4])),
    usual("while another environment is running", PROD, lambda w: w.pipeline.trigger(env="bare")),
    usual("a control group by its URL", {**PROD, "control": "http://metrics.example:8080/old"}),
    usual("a control group elsewhere", {**PROD, "control": {"endpoint": OTHER, "treatment": ""}}),
    usual("a control group by labels", {**PROD, "control": """{ver='a\\"b', env=~"x|y"}"""}),
    usual("a control group elsewhere that a person configured", {**PROD, "control": OTHER}, lambda w: trust(w, OTHER)),
    usual("no control group", {**PROD, "control": " "}),
    Case("a control group that is none", {**PROD, "control": "old.example"}, status=400),
    Case("a control group without labels", {**PROD, "control": "{}"}, status=400),
    Case("half of a surrogate pair in labels", b'{"env": "prod", "control": "a=\'\\ud800\'"}', status=400),
    Case("a control group that breaks out", {**PROD, "control": {"selector": 'a="b"} or {x="y"'}}, status=400),
    Case("the same key again", {**PROD, "idempotency_key": "run-1"}, run),
    Case("the same key after its end", {**PROD, "idempotency_key": "run-1"}, lambda w: w.pipeline.finish(run(w))),
    Case("a key that the previous version wrote", {**PROD, "idempotency_key": "old"}, old_key),
    Case("one is running", PROD, lambda w: w.pipeline.trigger()),
    Case("one is running, with a new key", {**PROD, "idempotency_key": "2"}, lambda w: w.pipeline.trigger()),
    Case(
        "a new key and another commit supersede",
        {**PROD, "idempotency_key": "2", "commit_sha": SHA},
        lambda w: w.pipeline.trigger(commit_sha=OLD_SHA),
    ),
    Case("force", {**PROD, "force": True}, lambda w: w.pipeline.trigger()),
    Case("force with nothing running", {**PROD, "force": True}),
    Case("waiting for the sample from before", {**PROD, "wait_for_pre": True}),
    Case("a policy", {**PROD, "policy": {"limits": {"latency_p95": 800}}}),
    Case("a wrong policy", {**PROD, "policy": {"limits": 7}}, status=400),
    Case("an endpoint to be taken", {"env": "bare", "metrics_endpoint": OTHER}),
    Case("an endpoint spelled differently", {**PROD, "metrics_endpoint": ENDPOINT.replace("metrics.", "METRICS.")}),
    Case("another endpoint", {**PROD, "metrics_endpoint": OTHER}, status=409),
    Case("a rollback that is found", {**PROD, "commit_sha": SHA}, lambda w: w.earlier(SHA, OLD_SHA)),
    Case("a rollback of what was verified since", {**PROD, "commit_sha": SHA}, verified_since),
    Case("a rollback that says so", {**PROD, "kind": "rollback", "commit_sha": SHA}, lambda w: w.earlier(SHA)),
    Case("a rollback by an abbreviation", {**PROD, "commit_sha": SHA[:7]}, lambda w: w.earlier(SHA, OLD_SHA)),
    Case("an unknown environment", {"env": "nowhere"}, status=400),
    Case("a deleted environment", PROD, lambda w: gone(w.prod), status=400),
    Case("an archived project", PROD, lambda w: w.change(archived_at=PAST), status=409),
    Case("NUL in a name", {"env": "pr\0d"}, status=400),
    Case("NUL in a key", {**PROD, "idempotency_key": "a\0b"}, status=400),
    Case("half of a surrogate pair", b'{"env": "prod", "idempotency_key": "\\ud800"}', status=400),
    Case("no environment", {}, status=400),
    Case("no object", [], status=400),
    Case("no JSON", b"{", status=400),
    Case("no body", b"", status=400),
    Case("another type", PROD, headers={"Content-Type": "text/plain"}, status=415),
    Case("a long body", b" " * 600_000, status=413),
    Case("a revoked key", PROD, lambda w: ApiKey.objects.update(revoked_at=PAST), status=401),
    usual("too many calls", PROD, lambda w: calls(w, LIMIT.limit), status=429),
    usual("the last call that is allowed", PROD, lambda w: calls(w, LIMIT.limit - 1)),
    Case("frozen", PROD, freeze, status=423),
    Case("frozen, but another environment", PROD, lambda world: freeze(world, environment=world.bare), usual=True),
    Case("frozen, but lifted", PROD, lambda world: freeze(world, lifted_at=PAST), usual=True),
    Case(
        "frozen, but later", PROD, lambda world: freeze(world, starts_at=timezone.now() + timedelta(days=1)), usual=True
    ),
    Case("in the window of every week", PROD, lambda w: weekly(w, timedelta(days=-2), timedelta(days=3)), status=423),
    Case("in a window of a whole week", PROD, lambda w: weekly(w, timedelta(days=-2), timedelta(0)), status=423),
    usual("before the window of every week", PROD, lambda w: weekly(w, timedelta(hours=5), timedelta(days=6))),
    usual("after the window of every week", PROD, lambda w: weekly(w, timedelta(days=-6), timedelta(days=5, hours=20))),
    Case("soon after the window of every week", PROD, lambda w: weekly(w, timedelta(days=-6), timedelta(days=5.99))),
    Case("a rollback while frozen", {**PROD, "kind": "rollback"}, freeze),
]


def finish(name: str, before: Callable[[World], Any] = lambda world: None, **more: Any) -> Case:
    """Finish a deployment that was started before, by its id."""
    body = {"result": "success", **more.pop("body", {})}
    path = "/deployments/finish"
    trigger = {**PROD, **more.pop("trigger", {})}

    def started(world: World) -> None:
        world.ids["deployment_id"] = world.pipeline.start(**trigger)
        before(world)

    return Case(name, lambda world: {**world.ids, **body}, started, path=path, **more)


FINISHES = [
    finish("it succeeded", usual=True),
    finish("in the words of a CI system", usual=True, body={"result": "UNSTABLE"}),
    finish("with a settling time", usual=True, trigger={"settle_seconds": 90}),
    finish("of a longer plan", lambda w: w.change(plan="pro"), usual=True),
    finish("with the environment's endpoint", usual=True, body={"metrics_endpoint": ENDPOINT}),
    finish("without an endpoint", usual=True, trigger={"env": "bare"}),
    finish("in an archived project", lambda w: w.change(archived_at=PAST), usual=True),
    finish("in a deleted environment", lambda w: gone(w.prod), usual=True, body={"metrics_endpoint": OTHER}),
    finish("whatever else is named", usual=True, body={"env": 7, "idempotency_key": []}),
    finish("a second time", lambda w: w.pipeline.finish(**w_id(w))),
    finish("after it was superseded", lambda w: w.pipeline.trigger(force=True)),
    finish("of a pipeline that ran again", again, trigger={"idempotency_key": "run-1"}),
    finish("with another endpoint", status=409, body={"metrics_endpoint": OTHER}),
    finish("with an endpoint to be taken", trigger={"env": "bare"}, body={"metrics_endpoint": OTHER}),
    finish("at a green endpoint", body={"green": OTHER}),
    finish("at a green endpoint of the environment's origin", body={"green": f"{ENDPOINT}/green"}),
    finish("at a green endpoint that is none", status=400, body={"green": "green.example"}),
    finish("with an endpoint that calls may name", lambda w: trust(w, OTHER), body={"metrics_endpoint": f"{OTHER}/2"}),
    finish("by its environment", body={"deployment_id": None, "env": "prod"}),
    finish("unknown", body={"deployment_id": "00000000-0000-4000-8000-000000000000"}),
    finish("of another project", elsewhere),
    finish("without a result", status=400, body={"result": None}),
    finish("with a wrong id", status=400, body={"deployment_id": "7"}),
    finish("with a revoked key", lambda w: ApiKey.objects.update(revoked_at=PAST), status=401),
    finish("too often", lambda w: calls(w, LIMIT.limit), usual=True, status=429),
]


# What differs in every run, or is not the call's: names, secrets, and times of statements instead of the transaction.
OTHERS = {"key_hash", "prefix", "expires_at", "uuid", "hmac_secret", "previous_hmac_secret", "created_at"}


def rows(model: type[models.Model]) -> list[dict[str, Any]]:
    """Return the rows of a table in the order of their ids, without these."""
    found = list(model._default_manager.order_by("value" if model is RateCounter else "pk").values())
    hidden = OTHERS - ({"expires_at"} if model is ScheduledJob else set()) | (
        {"key"} if model is RateCounter else set()
    )
    return [{name: shown(name, value) for name, value in row.items() if name not in hidden} for row in found]


def shown(name: str, value: Any) -> Any:
    is_id = name == "id" or name.endswith("_id") or name in ("fair_key", "last_used_at")
    return value is not None if is_id else value


def outcome(case: Case, *, one_statement: bool, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return answer and rows of a case, with or without the one statement; nothing remains of it."""
    with monkeypatch.context() as patch, transaction.atomic():
        patch.setattr(usual_calls, "seen_key", lambda secret: None)
        made = world()
        case.before(made)
        look_up(made.secret)
        if one_statement:
            patch.undo()
        body = case.body(made) if callable(case.body) else case.body
        content = body if isinstance(body, bytes) else json.dumps(body)
        headers = {"Content-Type": "application/json", **case.headers}
        with CaptureQueriesContext(connection) as asked, structlog.testing.capture_logs() as logs:
            answer = made.pipeline.client.post(
                case.path, content, content_type=headers["Content-Type"], headers=headers
            )
        if one_statement:
            # In a transaction, as here, pollers are woken by a statement of its own.
            statements = [query["sql"] for query in asked if not query["sql"].startswith("SELECT pg_notify")]
            assert (len(statements) == 1) == case.usual, statements
        # By the id of the key, periods end at different times.
        times = dict.fromkeys(("X-RateLimit-Reset", "Retry-After", *["Content-Length"][: case.status == 429]), "some")
        body = json.loads(re.sub(r"in \d+ s", "in some s", answer.content.decode()))
        found = {
            "status": answer.status_code,
            "body": {name: value for name, value in body.items() if name != "deployment_id"},
            "names a deployment": bool(body.get("deployment_id")),
            "headers": {name: times.get(name, value) for name, value in answer.headers.items()},
            "logged as refused": [line for line in logs if line["event"] == "rate_limited"],
            **{model._meta.db_table: rows(model) for model in TABLES},
        }
        transaction.set_rollback(True)
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("case", [*TRIGGERS, *FINISHES], ids=lambda case: case.name)
def test_both_ways_answer_and_write_alike(case: Case, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.SEQPULSE_RATE_LIMITS = True
    settings.SEQPULSE_RATES = dict.fromkeys(settings.SEQPULSE_RATES, LIMIT)
    expected = outcome(case, one_statement=False, monkeypatch=monkeypatch)
    assert expected["status"] == case.status
    assert bool(expected["logged as refused"]) == (case.status == 429)
    assert outcome(case, one_statement=True, monkeypatch=monkeypatch) == expected


SHORT = [usual("a trigger", PROD), finish("a finish", usual=True, trigger={"settle_seconds": 1})]


@pytest.mark.django_db
@pytest.mark.parametrize("interval_s", [0.25, 1.0, 7.5])
@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
def test_both_ways_plan_alike_by_short_intervals(
    case: Case, interval_s: float, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Where a sample may be taken for longer than an interval, and intervals are no whole seconds."""
    settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS = interval_s
    expected = outcome(case, one_statement=False, monkeypatch=monkeypatch)
    assert outcome(case, one_statement=True, monkeypatch=monkeypatch) == expected


@pytest.mark.django_db
@pytest.mark.parametrize(("seconds_ago", "is_noted"), [(None, True), (59, False), (61, True)])
@pytest.mark.parametrize("way", ["one statement", "counted only", "usual"])
def test_the_last_use_of_a_key_is_noted_to_the_minute(
    shop: World, way: str, seconds_ago: int | None, is_noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "usual":
        monkeypatch.setattr(usual_calls, "seen_key", lambda secret: None)
    now = timezone.now()
    used_at = None if seconds_ago is None else now - timedelta(seconds=seconds_ago)
    ApiKey.objects.update(last_used_at=used_at)
    answer = shop.pipeline.get("/deployments") if way == "counted only" else shop.pipeline.trigger()
    assert answer.status_code == 200
    assert (ApiKey.objects.get().last_used_at != used_at) == is_noted


def outcomes(answers: list[Any]) -> Counter[Any]:
    return Counter(answer.json()["status"] if answer.status_code == 200 else answer.status_code for answer in answers)


@pytest.fixture
def shop(settings: Any) -> World:
    """A project whose key was seen, and 20 calls of it per period."""
    settings.SEQPULSE_RATE_LIMITS = True
    settings.SEQPULSE_RATES = dict.fromkeys(settings.SEQPULSE_RATES, Rate(20, LIMIT.period_s))
    made = world()
    look_up(made.secret)
    return made


@pytest.mark.django_db(transaction=True)
def test_of_calls_at_once_the_limit_is_exact_and_one_wins(shop: World) -> None:
    found = outcomes(at_once(30, lambda number: shop.pipeline.trigger(idempotency_key=f"run-{number}")))
    assert found == {"created": 1, "existing": 19, 429: 10}
    assert RateCounter.objects.get().value == 30
    assert Deployment.objects.count() == ScheduledJob.objects.count() == 1
    RateCounter.objects.all().delete()
    uuid = Deployment.objects.get().uuid
    assert outcomes(at_once(10, lambda _: shop.pipeline.finish(uuid))) == {"accepted": 1, "ignored": 9}
    assert ScheduledJob.objects.count() == 1 + 5 + 1
    RateCounter.objects.all().delete()
    reads = Counter(answer.status_code for answer in at_once(25, lambda _: shop.pipeline.get("/deployments")))
    assert reads == {200: 20, 429: 5}
    assert RateCounter.objects.get().value == 25


@pytest.mark.django_db(transaction=True)
def test_calls_at_once_in_many_environments_get_numbers_without_gaps(shop: World) -> None:
    for number in range(16):
        Environment.objects.create(project=shop.project, name=f"env-{number}")
    answers = at_once(16, lambda number: shop.pipeline.trigger(env=f"env-{number}"))
    assert sorted(answer.json()["number"] for answer in answers) == list(range(1, 17))


@pytest.mark.django_db(transaction=True)
def test_a_call_over_a_lost_connection_is_answered_over_a_new_one(shop: World) -> None:
    """Also without the look at the connection before each request: it may end in the middle of one."""
    first = shop.pipeline.start(env="bare")
    calls: list[Callable[[], Any]] = [shop.pipeline.trigger, lambda: shop.pipeline.finish(first)]
    for call in calls:
        end_connection()
        with structlog.testing.capture_logs() as logs:
            assert call().status_code == 200
        assert "connection_lost" in {line["event"] for line in logs}
    assert [*Deployment.objects.order_by("pk").values_list("state", flat=True)] == ["finished", "running"]


@pytest.mark.django_db(transaction=True)
def test_a_weekly_freeze_in_a_time_zone_that_is_gone_is_decided_the_usual_way(shop: World) -> None:
    weekly(shop, timedelta(days=-1), timedelta(days=2), "UTC")
    Freeze.objects.update(time_zone="Mars/Olympus")
    assert shop.pipeline.trigger().status_code == 423
    Freeze.objects.update(lifted_at=timezone.now())
    assert shop.pipeline.trigger().json()["status"] == "created"


def loops_of(node: dict[str, Any], table: str) -> list[int]:
    """Return how often each scan of the table was run, in a plan of EXPLAIN ANALYZE."""
    below = [loops for child in node.get("Plans", []) for loops in loops_of(child, table)]
    is_scan = node.get("Relation Name") == table and "Scan" in node["Node Type"]
    return [node["Actual Loops"], *below] if is_scan else below


@pytest.mark.django_db
def test_a_trigger_looks_at_no_deployments_of_other_environments(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other projects have environments of the same name."""
    for number in range(10):
        create_project(f"other {number}", environment="prod", endpoint=ENDPOINT)
    plans: list[Any] = []

    def explained(statement: str, values: Any) -> Any:
        plans.extend(database.prepared("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, values))
        return database.prepared(statement, values)

    monkeypatch.setattr(statements, "prepared", explained)
    with transaction.atomic():
        shop.pipeline.trigger(commit_sha=SHA)
    [([plan],)] = plans
    loops = loops_of(plan["Plan"], "deployments")
    assert loops and max(loops) == 1
