"""Buttons below the messages of a Slack bot: who may press them, and what comes of it."""

import json
import time
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse
from slack_sdk.signature import SignatureVerifier

from analysis.models import Acknowledgement, DeploymentVerdict, Feedback
from analysis.tests.factories import make_verdict
from deployments.models import Deployment
from deployments.outbox import event_about
from deployments.tests.factories import make_deployment
from events.outbox import emit
from notifications import slack_actions
from notifications.channels.slack import SlackBot
from notifications.describing import describe
from notifications.fanning import fan_out
from notifications.models import Channel, Delivery, RollbackAttempt
from notifications.tests.factories import make_channel
from notifications.tests.receivers import receiving
from notifications.tests.test_delivery import work_off
from notifications.tests.test_rollbacks import prepared
from projects.tests.factories import make_environment, make_project
from scheduler.models import ScheduledJob

pytestmark = pytest.mark.django_db
SECRET = "s1gning-s3cret"
BAD = "rollback_recommended"
# Surrogates, NUL, and directions of writing, from a name.
HOSTILE_NAME = "a\u0000n\ud800a\u202e <!channel>"


def make_slack(deployment: Deployment, **fields: Any) -> Channel:
    config = {"token": "xoxb-t0ken", "channel": "C1", "signing_secret": SECRET}
    values = {"kind": "slack_bot", "team": deployment.project.team, "config": config, "least_severity": "warning"}
    return make_channel(**values | fields)


def judged(**fields: Any) -> Deployment:
    deployment = make_deployment(state="finished", environment=make_environment(name="prod"), **fields)
    make_verdict(deployment, verdict=BAD)
    return deployment


def pressed(action: str, deployment: Any, **more: Any) -> dict[str, Any]:
    value = f"{deployment.uuid} {BAD}" if isinstance(deployment, Deployment) else deployment
    user = {"id": "U0123ABC", "username": "ana", "team_id": "T1"}
    button = {"type": "button", "action_id": action, "block_id": "b", "value": value}
    return {"type": "block_actions", "user": user, "actions": [button], **more}


def body_of(payload: Any) -> bytes:
    return urlencode({"payload": payload if isinstance(payload, str) else json.dumps(payload)}).encode()


def post(uuid: UUID, body: bytes, *, secret: str = SECRET, age_s: int = 0, **headers: str) -> Any:
    timestamp = str(int(time.time()) - age_s)
    try:
        signature = SignatureVerifier(secret).generate_signature(timestamp=timestamp, body=body)
    except UnicodeDecodeError:
        signature = "v0=" + "0" * 64
    given = {"x-slack-request-timestamp": timestamp, "x-slack-signature": str(signature), **headers}
    kind = "application/x-www-form-urlencoded"
    client = Client(enforce_csrf_checks=True)
    return client.post(reverse("slack-actions", args=[uuid]), body, content_type=kind, headers=given)


def press(channel: Channel, payload: Any, **more: Any) -> str:
    answer = post(channel.uuid, body_of(payload), **more)
    assert answer.status_code == 200, answer.content
    return str(answer.json()["text"])


def kept() -> list[tuple[str, str, str]]:
    return list(Acknowledgement.objects.order_by("pk").values_list("who", "what", "via"))


def test_each_button_does_what_it_says_once() -> None:
    deployment = judged()
    channel = make_slack(deployment)
    said = [press(channel, pressed("on_it", deployment, trigger_id=str(n))) for n in range(2)]
    said += [press(channel, pressed("rolled_back", deployment))]
    assert Feedback.objects.get().right
    said += [press(channel, pressed("wrong", deployment, trigger_id=str(n))) for n in range(2)]
    assert said == [
        "Everybody can see that you are on it.",
        "You said this before: nothing changed.",
        "Everybody can see that you roll back, and the verdict is marked right.",
        "The verdict is marked wrong. Its page takes the right one and the reason.",
        "The verdict is marked wrong already.",
    ]
    who = "ana (U0123ABC)"
    assert kept() == [(who, "on_it", "chat"), (who, "rolled_back", "chat"), (who, "ignored", "chat")]
    mark = Feedback.objects.get()
    assert (mark.right, mark.given_by, mark.reason) == (False, None, f"{who}, Slack")
    # Although this channel wants warnings only: what was pressed there is posted there.
    assert Delivery.objects.filter(channel=channel, event__kind="acknowledged").count() == 3


def test_roll_back_approves_the_rollback_once_and_says_why_it_cannot() -> None:
    deployment = prepared("ask")
    channel = make_slack(deployment)
    DeploymentVerdict.objects.filter(deployment=deployment).update(shadow=True)
    said = [press(channel, pressed("rolled_back", deployment))]
    assert not RollbackAttempt.objects.exists()
    DeploymentVerdict.objects.filter(deployment=deployment).update(shadow=False)
    said += [press(channel, pressed("rolled_back", deployment, trigger_id=str(n))) for n in range(2)]
    assert said == [
        "Nothing was rolled back: its verdict was made in shadow mode.",
        "You approved the rollback: it is asked for within seconds.",
        "Nothing changed: this rollback was approved before. State: Approved.",
    ]
    attempt = RollbackAttempt.objects.get()
    assert (attempt.who, attempt.via, attempt.state) == ("ana (U0123ABC)", "chat", "approved")
    assert ScheduledJob.objects.filter(job_type="roll_back").count() == 1
    # What was approved is not yet what was done.
    assert not kept() and not Feedback.objects.exists()


def test_it_answers_in_the_language_of_the_channel() -> None:
    deployment = judged()
    assert press(make_slack(deployment, language="fr"), pressed("on_it", deployment)).startswith("Tout le monde")


def test_a_verdict_that_was_revised_since_is_not_marked() -> None:
    deployment = judged()
    channel = make_slack(deployment)
    DeploymentVerdict.objects.update(verdict="ok")
    assert "revised" in press(channel, pressed("wrong", deployment))
    DeploymentVerdict.objects.all().delete()
    assert "no verdict" in press(channel, pressed("wrong", deployment, trigger_id="2"))
    assert not Feedback.objects.exists() and not kept()


def test_forged_old_and_replayed_requests_change_nothing() -> None:
    deployment = judged()
    channel = make_slack(deployment)
    body = body_of(pressed("on_it", deployment))
    forged: list[dict[str, Any]] = [
        {"secret": "another"},
        {"age_s": 301},
        {"age_s": -310},
        {"x-slack-signature": ""},
        {"x-slack-signature": "v0=é"},
        {"x-slack-signature": "v1=" + "0" * 64},
        {"x-slack-request-timestamp": ""},
        {"x-slack-request-timestamp": "NaN"},
        {"x-slack-request-timestamp": "١٢"},
        {"x-slack-request-timestamp": "9" * 5000},
        {"x-slack-request-timestamp": "-1"},
    ]
    for change in forged:
        assert post(channel.uuid, body, **change).status_code == 401, change
    assert post(channel.uuid, b"payload=\xff").status_code == 401
    assert post(channel.uuid, b"x" * (64 * 1024 + 1)).status_code == 413
    assert not kept()
    # The very same request again, and to another channel of the same app.
    twin = make_slack(deployment)
    stamp = str(int(time.time()))
    signature = str(SignatureVerifier(SECRET).generate_signature(timestamp=stamp, body=body))
    headers = {"x-slack-request-timestamp": stamp, "x-slack-signature": signature}
    assert [post(channel.uuid, body, **headers).status_code for _ in range(3)] == [200, 401, 401]
    assert post(twin.uuid, body, **headers).status_code == 401 and len(kept()) == 1


def test_malformed_payloads_are_refused_by_the_name_of_the_field() -> None:
    deployment = judged()
    channel = make_slack(deployment)
    good = pressed("on_it", deployment)
    button = good["actions"][0]
    table: list[tuple[Any, str]] = [
        (b"", "payload:"),
        (b"payload", "payload:"),
        (b"payload=%FF", "payload:"),
        (b"payload={}&payload={}", "payload:"),
        (b"&".join(b"a%d=1" % n for n in range(20)), "payload:"),
        ("{", "payload:"),
        ("[" * 15_000, "payload:"),
        ("[1e999, NaN]", "payload"),
        ([], "payload.type:"),
        ({**good, "type": "view_submission"}, "payload.type:"),
        ({**good, "user": None}, "payload.user.id:"),
        ({**good, "user": {"id": 7}}, "payload.user.id:"),
        ({**good, "user": {"id": "U1\n"}}, "payload.user.id:"),
        ({**good, "actions": {}}, "payload.actions:"),
        ({**good, "actions": []}, "payload.actions:"),
        ({**good, "actions": [None]}, "payload.actions:"),
        ({**good, "actions": [button, button]}, "payload.actions:"),
        ({**good, "actions": [{**button, "value": None}]}, "payload.actions.value:"),
        ({**good, "actions": [{**button, "value": "84"}]}, "payload.actions.value:"),
        ({**good, "actions": [{**button, "value": f"{deployment.uuid}\u0000"}]}, ""),
        ({**good, "actions": [{**button, "value": f"{deployment.uuid} x; DROP"}]}, "payload.actions.value:"),
    ]
    for number, (payload, words) in enumerate(table):
        body = payload if isinstance(payload, bytes) else body_of(payload)
        answer = post(channel.uuid, body)
        if words:
            assert answer.status_code == 400 and answer.json()["detail"].startswith(words), (number, answer.content)
    for action in ("open", None, 7, ["on_it"]):
        answer = post(channel.uuid, body_of({**good, "actions": [{**button, "action_id": action}]}))
        assert (answer.status_code, answer.content) == (200, b""), action


def test_odd_but_signed_fields_break_nothing() -> None:
    deployment = judged()
    channel = make_slack(deployment)
    user = {"id": "W1", "username": HOSTILE_NAME + "x" * 5000}
    more = {"message": {"ts": ["1"], "thread_ts": "\u0000" * 9}, "response_url": "http://[", "user": user}
    press(channel, {**pressed("on_it", deployment), **more})
    [(who, _, _)] = kept()
    assert who.startswith("ana <!channel>") and who.endswith(" (W1)") and len(who) <= 150


def test_foreign_and_unknown_deployments_are_the_same() -> None:
    deployment, foreign = judged(), judged()
    channel = make_slack(deployment)
    elsewhere = make_deployment(
        environment=make_environment(project=make_project(team=deployment.project.team), name="prod")
    )
    narrow = make_slack(
        deployment, project=deployment.project, config={"token": "t", "channel": "C2", "signing_secret": "other"}
    )
    words = {press(channel, pressed("on_it", foreign)), press(channel, pressed("on_it", str(uuid4())))}
    words |= {press(narrow, pressed("on_it", elsewhere), secret="other")}
    assert words == {"There is no such deployment in this channel."} and not kept()
    # Another channel of the same app and team covers it: an app has one address for all of them.
    assert "on it" in press(make_slack(deployment, project=deployment.project), pressed("on_it", elsewhere))


def test_only_active_bots_with_a_secret_have_an_address() -> None:
    deployment = judged()
    config = {"token": "t", "channel": "C1", "signing_secret": ""}
    others = [
        make_slack(deployment, config=config),
        make_slack(deployment, kind="slack"),
        make_slack(deployment, disabled_at="2026-01-01T00:00Z"),
    ]
    body = body_of(pressed("on_it", deployment))
    answers = [post(uuid, body) for uuid in (uuid4(), *(other.uuid for other in others))]
    assert {answer.status_code for answer in answers} == {404} and len({answer.content for answer in answers}) == 1


def test_calls_are_limited_by_address_and_by_channel(settings: Any) -> None:
    deployment = judged()
    channel = make_slack(deployment)
    settings.SEQPULSE_RATE_LIMITS = True
    settings.SEQPULSE_RATES = {**settings.SEQPULSE_RATES, "slack": type(settings.SEQPULSE_RATES["slack"])(2, 3600)}
    body = body_of(pressed("open", "x"))
    # The address is counted before anything is read; in front of a proxy, addresses differ.
    assert [post(channel.uuid, b"x" * 70_000).status_code for _ in range(3)] == [413, 413, 429]
    found = []
    for number in range(3):
        client = Client(REMOTE_ADDR=f"192.0.2.{number + 1}")
        stamp = str(int(time.time()) - 20 * number)
        signature = str(SignatureVerifier(SECRET).generate_signature(timestamp=stamp, body=body))
        headers = {"x-slack-request-timestamp": stamp, "x-slack-signature": signature}
        url = reverse("slack-actions", args=[channel.uuid])
        answer = client.post(url, body, content_type="application/x-www-form-urlencoded", headers=headers)
        found.append(answer.status_code)
    assert found == [200, 200, 429]


@pytest.mark.django_db(transaction=True)
def test_what_is_pressed_is_posted_in_the_thread_of_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = Deployment.objects.select_related("project", "environment").get(pk=judged().pk)
    ok = b'{"ok": true, "ts": "%d.5"}'
    with receiving(*((200, {}, ok % number) for number in (1, 2))) as slack:
        monkeypatch.setattr(SlackBot, "api", f"http://127.0.0.1:{slack.port}/api")
        channel = make_slack(deployment)
        emit(event_about(deployment, "early_rollback", verdict={"verdict": BAD}))
        work_off()
        first = slack.bodies()[0]
        buttons = {button["action_id"]: button for button in first["blocks"][-1]["elements"]}
        assert "thread_ts" not in first and list(buttons["rolled_back"]["confirm"]) == [
            "title",
            "text",
            "confirm",
            "deny",
        ]
        payload = pressed("on_it", buttons["on_it"]["value"], message={"ts": "1.5"})
        monkeypatch.setattr(slack_actions, "RESPONSE_ORIGIN", f"http://127.0.0.1:{slack.port}")
        words = press(channel, {**payload, "response_url": f"http://127.0.0.1:{slack.port}/actions/T1/2"})
        assert slack.requests[1][0] == "/actions/T1/2"
        assert slack.bodies()[1] == {"response_type": "ephemeral", "replace_original": False, "text": words}
        work_off()
    reply = slack.bodies()[2]
    assert reply["thread_ts"] == "1.5" and "ana (U0123ABC)" in reply["text"]
    assert all(block["type"] != "actions" for block in reply["blocks"])


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1:{port}/x",
            "https://hooks.slack.com.evil.example/x",
            "https://hooks.slack.com@127.0.0.1:{port}/",
        ),
        *(
            "http://hooks.slack.com/x",
            "https://hooks.slack.com:8443/x",
            "//hooks.slack.com/x",
            "",
            "https://[",
            "x" * 9000,
        ),
    ],
)
def test_only_slack_is_called(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack_actions, "exchange", lambda *_args, **_more: pytest.fail("called"))
    slack_actions.send_reply(url.format(port=9), {})


def test_slack_that_hangs_up_does_not_undo_it(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = judged()
    with receiving((500, {}, b"")) as slack:
        channel = make_slack(deployment)
        monkeypatch.setattr(slack_actions, "RESPONSE_ORIGIN", f"http://127.0.0.1:{slack.port}")
        press(channel, pressed("on_it", deployment, response_url=f"{slack.url}"))
    monkeypatch.setattr(slack_actions, "RESPONSE_ORIGIN", "http://127.0.0.1:9")
    press(channel, pressed("rolled_back", deployment, response_url="http://127.0.0.1:9/x"))
    assert len(kept()) == 2


def test_it_is_posted_once_where_it_was_pressed() -> None:
    deployment = Deployment.objects.select_related("project", "environment").get(pk=judged().pk)
    first, second = make_slack(deployment), make_slack(deployment, least_severity="info")
    emit(event_about(deployment, "early_rollback"))
    fan_out()
    Delivery.objects.filter(channel=second).update(state="sent", reference="2.5")
    # Both are of one app, whose buttons come to the address of the first; a reply in a thread names its first message.
    press(first, pressed("on_it", deployment, message={"ts": "9.9", "thread_ts": "2.5"}))
    fan_out()
    posted = Delivery.objects.filter(event__kind="acknowledged")
    # The first one got the alert, so it gets the answer as well.
    assert sorted(posted.values_list("channel_id", flat=True)) == [first.pk, second.pk]
    assert describe(list(posted))[posted.get(channel=second).pk].thread == "2.5"
