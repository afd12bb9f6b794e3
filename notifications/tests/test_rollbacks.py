"""Rollbacks by webhook: who starts them, once, what is sent, and which events follow."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import Role
from accounts.tests.factories import make_membership, make_user
from analysis.models import DeploymentVerdict
from analysis.services import give_feedback
from analysis.tests.factories import make_verdict
from deployments.models import Deployment, Kind
from deployments.outbox import event_about
from deployments.tests.factories import make_deployment
from events.models import Event
from events.outbox import emit
from explain.facts import Fact
from notifications.channels.posting import ANSWER_SHOWN
from notifications.fanning import fan_out
from notifications.models import RollbackAttempt
from notifications.rollbacks import attempts, payload
from notifications.rollbacks.attempts import CannotRollBack, approve, handle_events, sweep
from notifications.rollbacks.policies import record_of, send_test, set_policy
from notifications.tests.receivers import Receiver, receiving
from projects.models import Environment, Freeze, Project, RollbackPolicy
from projects.tests.factories import make_api_key, make_environment
from scheduler.models import ScheduledJob
from scheduler.queue import cancel as scheduler_cancel
from scheduler.tests.kinds import wait_until
from scheduler.tests.pollers import running_poller
from tests.concurrency import at_once

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "whsec_" + base64.b64encode(b"marked-rollback-secret-!").decode()
BAD = "rollback_recommended"


def prepared(mode: str = "ask", url: str = "http://127.0.0.1:9/hook", **fields: Any) -> Deployment:
    """Make an environment with a good deployment and a bad one; return the bad one."""
    environment = make_environment(name="prod")
    set_policy(environment, mode=mode, url=url, secret=SECRET, minutes=30)
    good = make_deployment(environment=environment, state="analyzed", commit_sha="a" * 40)
    make_verdict(good, verdict="ok")
    bad = make_deployment(environment=environment, state="analyzed", commit_sha="b" * 40, **fields)
    make_verdict(bad, verdict=BAD)
    return reload(bad)


def reload(deployment: Deployment) -> Deployment:
    return Deployment.objects.select_related("project", "environment").get(pk=deployment.pk)


def issue(deployment: Deployment, kind: str = "verdict_issued") -> None:
    """Emit a verdict as its transaction does."""
    emit(event_about(reload(deployment), kind))


def handle_all() -> None:
    """Handle all events, as their fan-out does."""
    with transaction.atomic():
        handle_events(list(Event.objects.all()))


def work_off() -> None:
    """Run a poller until every event is fanned out and no rollback is due."""
    jobs = ScheduledJob.objects.filter(job_type__in=("roll_back", "fan_out"), status__in=("pending", "running"))
    with running_poller():
        wait_until(lambda: not jobs.exists() and not Event.objects.filter(fanned_out_at=None).exists())


def emitted() -> list[str]:
    rows = Event.objects.filter(kind__startswith="rollback_").order_by("id")
    return list(rows.values_list("kind", flat=True))


def bodies(receiver: Receiver) -> list[Any]:
    """Return what was received, checked against its schema and signature."""
    schema = json.loads((Path(settings.BASE_DIR) / "docs/rollback.schema.json").read_text())
    for _, headers, body in receiver.requests:
        jsonschema.validate(json.loads(body), schema, cls=jsonschema.Draft202012Validator)
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(b"marked-rollback-secret-!", signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    return receiver.bodies()


def test_a_verdict_that_cannot_be_read_stops_no_other_rollback() -> None:
    odd, sound = prepared(), prepared()
    DeploymentVerdict.objects.filter(deployment=odd).update(final=["odd"])
    issue(odd)
    issue(sound)
    with transaction.atomic():
        assert fan_out() == 2
    assert RollbackAttempt.objects.get().deployment == sound
    assert not Event.objects.filter(fanned_out_at=None).exclude(kind="rollback_asked").exists()


def test_an_environment_set_so_rolls_back_by_itself_and_says_what_to_return_to() -> None:
    with receiving() as receiver:
        bad = prepared("automatic", receiver.at("/marked-path"))
        for kind in ("early_rollback", "verdict_issued", "verdict_issued"):
            issue(bad, kind)
        work_off()
        issue(bad)
        work_off()
    [body] = bodies(receiver)
    attempt = RollbackAttempt.objects.get()
    assert (attempt.state, attempt.via, attempt.answer_status) == ("sent", "automatic", 200)
    good = Deployment.objects.get(number=1)
    assert body["deployment"]["number"] == 2 and body["leave_commit"] == "b" * 40
    assert body["return_to"]["id"] == str(good.uuid) and body["return_to"]["commit"] == "a" * 40
    assert body["attempt_id"] == str(attempt.uuid) and body["approved_by"] == {"name": None, "via": "automatic"}
    assert emitted() == ["rollback_fired"]
    stored = json.dumps([list(ScheduledJob.objects.values_list("job_metadata", "last_error")), emitted()])
    assert SECRET not in stored and "marked-path" not in stored


def test_a_person_approves_once_whoever_else_does() -> None:
    with receiving((200, {}, f"{SECRET} at /marked-path".encode())) as receiver:
        bad = prepared("ask", receiver.at("/marked-path"))
        issue(bad)
        work_off()
        assert emitted() == ["rollback_asked"] and not receiver.requests
        at_once(4, lambda number: approve(bad, who=f"p{number}", via="page"))
        work_off()
        assert not approve(bad, who="late", via="api").is_new
        work_off()
    [body] = bodies(receiver)
    attempt = RollbackAttempt.objects.get()
    assert body["approved_by"]["name"] == attempt.who != ""
    assert SECRET not in attempt.answer and "marked" not in attempt.answer and attempt.answer_status == 200
    assert emitted() == ["rollback_asked", "rollback_fired"]


@pytest.mark.parametrize("mode", ["ask", "automatic"])
def test_what_is_never_rolled_back(mode: str) -> None:
    bad = prepared(mode)
    verdicts = DeploymentVerdict.objects.filter(deployment=bad)
    rows = Deployment.objects.filter(pk=bad.pk)
    with transaction.atomic():
        spoilers: dict[str, Callable[[], object]] = {
            "inconclusive": lambda: verdicts.update(conclusive=False),
            "shadow": lambda: verdicts.update(shadow=True),
            "not_recommended": lambda: verdicts.update(verdict="warning"),
            "kind": lambda: rows.update(kind=Kind.ROLLBACK),
            "closed": lambda: rows.update(state="superseded"),
            "marked_wrong": lambda: give_feedback(verdicts.get(), right=False, by=None, should_have_been="ok"),
            "off": lambda: set_policy(bad.environment, mode="off"),
            "deleted": lambda: Environment.objects.filter(pk=bad.environment_id).update(deleting_at=timezone.now()),
            "deleted ": lambda: Project.objects.filter(pk=bad.project_id).update(deleting_at=timezone.now()),
            " deleted": lambda: Project.objects.filter(pk=bad.project_id).update(archived_at=timezone.now()),
            "replaced": lambda: make_deployment(environment=bad.environment),
        }
        for code, spoil in spoilers.items():
            point = transaction.savepoint()
            spoil()
            issue(bad)
            handle_all()
            assert not RollbackAttempt.objects.exists(), code
            with pytest.raises(CannotRollBack) as caught:
                approve(bad, who="ana", via="page")
            assert caught.value.code == f"rollback.{code.strip()}"
            transaction.savepoint_rollback(point)
        issue(bad)
        handle_all()
        assert RollbackAttempt.objects.exists()


def test_an_approved_rollback_is_not_sent_once_something_has_changed() -> None:
    changes: tuple[Callable[[Deployment], object], ...] = (
        lambda bad: make_deployment(environment=bad.environment),
        lambda bad: set_policy(bad.environment, mode="off"),
        lambda bad: RollbackPolicy.objects.filter(environment=bad.environment).delete(),
        lambda bad: Project.objects.filter(pk=bad.project_id).update(deleting_at=timezone.now()),
        lambda bad: DeploymentVerdict.objects.filter(deployment=bad).update(conclusive=False),
    )
    with receiving() as receiver:
        for change in changes:
            bad = prepared("ask", receiver.url)
            approve(bad, who="ana", via="page")
            change(bad)
        gone = prepared("ask", receiver.url)
        approve(gone, who="ana", via="page")
        gone.environment.delete()
        frozen = prepared("ask", receiver.url)
        approve(frozen, who="ana", via="page")
        Freeze.objects.create(team=frozen.project.team, reason="Black Friday")
        work_off()
    assert [body["project"]["id"] for body in bodies(receiver)] == [str(frozen.project.uuid)]  # rollbacks pass
    assert emitted().count("rollback_failed") == len(changes)
    states = RollbackAttempt.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == ["withdrawn"] * len(changes) + ["sent"]


# What a receiver answers, and whether the attempt has failed or may have been carried out: docs/rollback.md.
REFUSED = (301, 302, 307, 308, 400, 401, 404, 408, 409, 410, 425, 429, 501, 505)
UNCLEAR = (303, 500, 502, 503, 504, 507, 520, 524, 599)


def outcome_at(url: str) -> tuple[str, bool]:
    """Send a request there; return the code of its failure ("" for none), and whether it may have arrived."""
    request = payload.request_for(RollbackPolicy(url=url, secret=SECRET), "1", {"type": "rollback.test"})
    assert isinstance(request, payload.Request)
    outcome = payload.send(request)
    return outcome.why.code if outcome.why else "", outcome.unclear


def test_what_is_known_after_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifications.channels.posting.DEADLINE_S", 0.5)
    answers = {
        **{(status, False): ("", False) for status in (200, 202, 204)},
        **{(status, False): ("rollback.refused", False) for status in REFUSED},
        **{(status, False): ("rollback.unclear", True) for status in UNCLEAR},
        (201, True): ("", False),  # the body breaks off: the status is the answer
        (502, True): ("rollback.unclear", True),
    }
    more = {"Location": "http://127.0.0.1:1/", "Retry-After": "0"}
    replies = [(status, {**more, "Content-Length": "9"} if cut else more, b"") for status, cut in answers]
    with receiving(*replies) as receiver:
        for case, expected in answers.items():
            assert outcome_at(receiver.url) == expected, case
        assert len(receiver.requests) == len(answers)  # redirects are not followed, nothing is repeated
        assert outcome_at(receiver.at("/hang")) == ("timeout", True)
        assert outcome_at(receiver.at("/drip")) == ("timeout", True)
        # Nothing was sent.
        for url, code in (
            ("http://127.0.0.1:9/closed", "refused"),
            ("http://10.0.0.1/guarded", "blocked"),
            ("http://nowhere.invalid/", "dns"),
            (receiver.at("/no-encryption").replace("http:", "https:"), "t"),
        ):
            found, unclear = outcome_at(url)
            assert found.startswith(code) and not unclear, url


@pytest.mark.parametrize(
    ("answer", "state", "event"),
    [
        ((403, {}, b"no"), "failed", "rollback_failed"),
        ((502, {}, b"no"), "unknown", "rollback_unknown"),
        (None, "unknown", "rollback_unknown"),
    ],
)
def test_a_failed_request_is_notified_and_never_repeated(answer: Any, state: str, event: str) -> None:
    with receiving(*([answer] if answer else [])) as receiver:
        bad = prepared("automatic", receiver.url if answer else receiver.at("/drip"))
        receiver.let_go.set()  # so that a dripping answer ends at once, in the middle of its header
        issue(bad)
        work_off()
        sweep()
        work_off()
    assert len(receiver.requests) == 1 and emitted() == [event]
    assert RollbackAttempt.objects.get().state == state
    assert not approve(bad, who="ana", via="page").is_new  # nor by a person


def test_an_attempt_whose_poller_died_is_unknown_and_notified_once() -> None:
    with receiving() as receiver:
        bad = prepared("ask", receiver.url)
        approve(bad, who="ana", via="page")
        RollbackAttempt.objects.update(state="sending", sending_at=timezone.now())
        work_off()  # the job runs again
        sweep()
    assert not receiver.requests and emitted() == ["rollback_unknown"]
    RollbackAttempt.objects.update(state="sending", sending_at=timezone.now() - attempts.SENT_WITHIN * 2)
    Event.objects.all().delete()
    assert sweep() == 1 and sweep() == 0 and emitted() == ["rollback_unknown"]


def test_the_sweep_finds_what_no_job_will_send_whatever_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "SWEPT_AT_ONCE", 1)
    waiting, ended, unplanned, odd, late = (prepared() for _ in range(5))
    for bad in (waiting, ended, unplanned, odd, late):
        approve(bad, who="ana", via="page")
    jobs = ScheduledJob.objects.filter(job_type="roll_back")
    jobs.filter(deployment=ended).update(status="failed")  # as if its end had not been handled
    jobs.exclude(deployment__in=(waiting, ended)).delete()
    long_ago = timezone.now() - timedelta(hours=1)
    RollbackAttempt.objects.update(approved_at=long_ago, sending_at=long_ago)
    back = make_deployment(environment=odd.environment, kind="rollback", state="analyzed")
    make_verdict(back, verdict="ok")
    DeploymentVerdict.objects.filter(deployment=back).update(final=["odd"])
    RollbackAttempt.objects.filter(deployment__in=(odd, late)).update(state="sent")
    assert sweep() == 3 and sweep() == 0
    assert set(jobs.filter(status="pending").values_list("deployment", flat=True)) == {waiting.pk, unplanned.pk}
    states = dict(RollbackAttempt.objects.values_list("deployment", "state"))
    assert [states[bad.pk] for bad in (waiting, ended, unplanned)] == ["approved", "failed", "approved"]
    failed = Event.objects.filter(kind="rollback_failed").order_by("deployment_id")
    assert [event.deployment_id for event in failed] == [ended.pk, late.pk]


def test_that_it_is_being_sent_waits_for_the_disk_also_where_commits_do_not() -> None:
    bad = prepared()
    attempt = approve(bad, who="ana", via="page").attempt
    job: Any = SimpleNamespace(id=1, metadata={"attempt": attempt.pk})
    with connection.cursor() as cursor, transaction.atomic():
        for before, within in (("off", "on"), ("remote_apply", "remote_apply")):
            cursor.execute("SELECT set_config('synchronous_commit', %s, true)", [before])
            [request] = attempts.prepare([job]).values()
            assert isinstance(request, payload.Request)
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == (within,)
            RollbackAttempt.objects.update(state="approved")


def test_what_waited_too_long_is_not_carried_out_without_a_person() -> None:
    bad = prepared("automatic")
    issue(bad)
    Event.objects.update(occurred_at=timezone.now() - timedelta(minutes=16))
    handle_all()
    assert RollbackAttempt.objects.get().state == "asked" and emitted() == ["rollback_asked"]
    approve(bad, who="ana", via="page")
    RollbackAttempt.objects.update(approved_at=timezone.now() - timedelta(minutes=16))
    work_off()
    attempt = RollbackAttempt.objects.get()
    assert (attempt.state, attempt.error["code"]) == ("withdrawn", "rollback.too_late")
    assert emitted() == ["rollback_asked", "rollback_failed"]


def sent_for(bad: Deployment) -> RollbackAttempt:
    issue(bad)
    handle_all()
    RollbackAttempt.objects.update(state="sent", sending_at=timezone.now())
    return RollbackAttempt.objects.get()


def test_an_attempt_whose_job_ends_before_it_is_sent_is_notified() -> None:
    bad = prepared()
    approve(bad, who="ana", via="page")
    with transaction.atomic():
        scheduler_cancel([bad.pk], ["roll_back"], Fact("cancelled", {"by": "ops"}))
    attempt = RollbackAttempt.objects.get()
    assert (attempt.state, attempt.error["code"]) == ("failed", "rollback.not_started")
    assert Event.objects.filter(kind="rollback_failed", deployment_id=bad.pk).count() == 1


def test_the_rollback_is_linked_and_its_verdict_kept() -> None:
    for number, (verdict, result, events) in enumerate((("ok", "worked", 0), ("warning", "not_ok", 1))):
        bad = prepared("automatic")
        issue(bad)
        handle_all()
        RollbackAttempt.objects.filter(deployment=bad).update(state="sent", sending_at=timezone.now())
        back = make_deployment(environment=bad.environment, kind="rollback", state="finished")
        issue(back, "rolled_back")
        handle_all()
        attempt = RollbackAttempt.objects.get(deployment=bad)
        assert (attempt.rollback, attempt.result) == (back, ""), number
        make_verdict(back, verdict=verdict)
        Deployment.objects.filter(pk=back.pk).update(state="analyzed")
        issue(back)
        handle_all()
        attempt.refresh_from_db()
        failed = Event.objects.filter(kind="rollback_failed", deployment_id=bad.pk)
        assert (attempt.result, failed.count()) == (result, events)


def test_a_rollback_that_is_never_deployed_is_notified() -> None:
    attempt = sent_for(prepared("automatic"))
    assert sweep() == 0
    RollbackAttempt.objects.update(sending_at=timezone.now() - timedelta(minutes=31))
    assert sweep() == 1 and sweep() == 0
    attempt.refresh_from_db()
    [failed] = Event.objects.filter(kind="rollback_failed")
    assert attempt.result == "missing" and failed.parameters["why"]["code"] == "rollback.missing"


def test_a_test_rolls_nothing_back() -> None:
    with receiving() as receiver:
        bad = prepared("automatic", receiver.url)
        outcome = send_test(bad.environment)
    [body] = bodies(receiver)
    assert outcome.why is None and body["type"] == "rollback.test"
    assert not {"deployment", "return_to", "leave_commit"} & body.keys()
    assert not RollbackAttempt.objects.exists()


def test_what_a_receiver_repeats_of_its_address_is_not_shown() -> None:
    cut = "x" * (ANSWER_SHOWN - 10)
    said = ("token marked-token-1, key marked key", '"\\/hooks\\/marked-token-1"', f"{cut} marked-token-1")
    with receiving(*((200, {}, text.encode()) for text in said)) as receiver:
        bad = prepared("ask", receiver.at("/hooks/marked-token-1?key=marked%20key"))
        assert not [answer for _ in said if "marked" in (answer := send_test(bad.environment).sent.answer)]


def test_the_record_counts_what_would_have_been_rolled_back() -> None:
    environment: Environment = prepared("off").environment
    for right in (True, False, None):
        one = make_deployment(environment=environment, state="analyzed")
        verdict = make_verdict(one, verdict=BAD, shadow=True)
        if right is not None:
            give_feedback(verdict, right=right, by=None, should_have_been="" if right else "ok")
    record = record_of(environment)
    assert (record.judged, record.recommended, record.right, record.wrong, record.unmarked) == (5, 4, 1, 1, 2)


def test_the_page_and_the_api_approve_once_and_say_why_not(client: Client) -> None:
    bad = prepared("ask")
    key = make_api_key(project=bad.project)[1]
    owner = make_membership(team=bad.project.team, user=make_user(username="ana"), role=Role.OWNER).user
    client.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")
    page, address = f"/dashboard/deployments/{bad.uuid}/", f"/deployments/{bad.uuid}/rollback"
    calling = {"headers": {"X-API-Key": key}, "content_type": "application/json"}
    assert "Roll back now" in client.get(page).content.decode()
    assert client.get(address, **calling).json()["possible"] is True
    assert client.post(address, {"who": 7}, **calling).status_code in (200, 202, 400)
    RollbackAttempt.objects.all().delete()
    assert client.post(f"{page}rollback/").status_code == 302
    answer = client.post(address, {"who": "bo"}, **calling)
    assert (answer.status_code, answer.json()["state"], answer.json()["approved_by"]) == (200, "approved", "ana")
    shown = client.get(page).content.decode()
    assert "Roll back now" not in shown and "Approved" in shown
    RollbackAttempt.objects.all().delete()
    set_policy(bad.environment, mode="off")
    refused = client.post(address, {}, **calling)
    assert refused.status_code == 409 and "rollback_off" in refused.content.decode()


def test_the_settings_show_no_secret_again(client: Client) -> None:
    bad = prepared("off")
    RollbackPolicy.objects.all().delete()
    owner = make_membership(team=bad.project.team, role=Role.OWNER).user
    client.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")
    address = f"/dashboard/environments/{bad.environment_id}/rollback/"
    refused = client.post(address, {"mode": "ask", "minutes": 5})
    assert refused.status_code == 200 and "Enter the address of the webhook first" in refused.content.decode()
    made = client.post(address, {"mode": "ask", "minutes": 5, "url": "http://127.0.0.1:9/marked-path"})
    secret = RollbackPolicy.objects.get().secret.open()
    assert secret in made.content.decode()
    for page in (client.get(address), client.get(f"/dashboard/environments/{bad.environment_id}/settings/")):
        assert secret not in page.content.decode() and "marked-path" not in page.content.decode()
    stored = RollbackPolicy.objects.values_list("url", "secret").get()
    assert secret not in str(stored) and "marked-path" not in str(stored)


def test_an_answer_that_repeats_parts_of_the_address_is_kept_without_them() -> None:
    said = "no marked-part, marked-token or marked%2Fkey; ".ljust(492, "-") + "/in/mark"
    repeated = json.dumps({"said": said}).replace("/", r"\/").encode()
    with receiving((400, {"Content-Type": "application/json"}, repeated)) as receiver:
        policy = RollbackPolicy(url=receiver.at("/in/marked-part?token=marked-token&key=marked%2Fkey"), secret=SECRET)
        request = payload.request_for(policy, "1", {"type": "rollback.test"})
        assert isinstance(request, payload.Request)
        answer = payload.send(request).sent.answer
    assert "no" in answer and "mark" not in answer
