"""Buttons below the messages of a Slack bot: who may press them, and what comes of it."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from slack_sdk.models.blocks import Block
from slack_sdk.signature import SignatureVerifier

from analysis.acknowledging import acknowledge
from analysis.models import Acknowledgement, DeploymentVerdict, Feedback
from analysis.services import give_feedback
from analysis.tests.factories import make_verdict
from deployments.models import Deployment
from deployments.outbox import event_about
from deployments.tests.factories import make_deployment
from events.outbox import emit
from notifications import refreshing, slack_actions, updating
from notifications.channels.slack import SlackBot
from notifications.describing import describe
from notifications.fanning import fan_out
from notifications.models import Channel, Delivery, RollbackAttempt
from notifications.refreshing import refresh
from notifications.rollbacks.attempts import approve
from notifications.standing import standings_of
from notifications.tests.factories import make_channel
from notifications.tests.receivers import Receiver, receiving
from notifications.tests.test_delivery import work_off
from notifications.tests.test_rollbacks import prepared
from projects.tests.factories import make_environment, make_project
from scheduler.models import ScheduledJob

pytestmark = pytest.mark.django_db
Reply = tuple[int, dict[str, str], bytes]
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
    with receiving(*((200, {}, ok % number) for number in range(1, 9))) as slack:
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
    [reply] = posted_to(slack, "/api/chat.postMessage")[1:]
    assert reply["thread_ts"] == "1.5" and "ana (U0123ABC)" in reply["text"]
    assert all(block["type"] != "actions" for block in reply["blocks"])


def posted_to(slack: Receiver, path: str) -> list[Any]:
    return [json.loads(body) for asked, _, body in slack.requests if asked == path]


def shown(posted: Any) -> tuple[list[str], list[str]]:
    """Return the lines of what became of the deployment, and the buttons, of a message that Slack accepts."""
    for block in Block.parse_all(posted["blocks"]):
        block.validate_json()
    elements: dict[str, list[Any]] = {"context": [], "actions": []}
    for block in posted["blocks"]:
        elements.get(block["type"], []).extend(block.get("elements", []))
    return [one["text"] for one in elements["context"]], [one["action_id"] for one in elements["actions"]]


@pytest.mark.django_db(transaction=True)
def test_messages_show_who_did_what_wherever_they_did_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "WHEN_SENT", timedelta(seconds=1))
    bad = prepared("ask")
    ok: list[Reply] = [(200, {}, b'{"ok": true, "ts": "%d.5"}' % number) for number in range(1, 60)]
    with receiving(*ok) as slack:
        monkeypatch.setattr(SlackBot, "api", f"http://127.0.0.1:{slack.port}/api")
        channel = make_slack(bad, least_severity="critical", cooldown_s=0)
        make_slack(bad, language="fr", config={"token": "t", "channel": "C2", "signing_secret": "another"})

        def updated() -> dict[str, tuple[list[str], list[str]]]:
            """Work, and return what the latest changes made of the messages in the first channel."""
            slack.requests.clear()
            work_off()
            changes = posted_to(slack, "/api/chat.update")
            return {one["ts"]: shown(one) for one in changes if one["channel"] == "C1"}

        emit(event_about(bad, "early_rollback", verdict={"verdict": BAD}))
        work_off()
        first, asked = (one for one in posted_to(slack, "/api/chat.postMessage") if one["channel"] == "C1")
        assert shown(first) == ([], ["on_it", "rolled_back", "wrong"]) and asked["thread_ts"]
        replied = Delivery.objects.get(channel=channel, reference__contains=" ")
        root, reply = replied.reference.split()
        # In Slack, twice; on the page; the rollback by API; its end by the poller; its mark on the page.
        for _ in range(2):
            press(channel, pressed("on_it", bad, trigger_id=str(uuid4())))
        lines = ["ana (U0123ABC) is on it."]
        assert updated() == {root: (lines, ["rolled_back", "wrong"]), reply: (lines, ["rolled_back"])}
        acknowledge(bad, "ignored", who="bo", via="page", reason="known")
        lines = [*lines, "bo ignores the verdict: known"]
        assert updated() == {root: (lines, ["rolled_back", "wrong"]), reply: (lines, ["rolled_back"])}
        # Two approvals at once, and a button that is still shown to somebody.
        with ThreadPoolExecutor(3) as threads:
            for number in range(3):
                threads.submit(approve_and_close, bad, f"p{number}")
        assert "before" in press(channel, pressed("rolled_back", bad))
        found = updated()
        [approved, failed] = found[root][0][2:]
        assert approved in {f"p{number} approved the rollback." for number in range(3)} and "connect" in failed
        assert [found[name][1] for name in (root, reply)] == [["wrong"], []]
        give_feedback(DeploymentVerdict.objects.get(deployment=bad), right=False, by=None, should_have_been="ok")
        found = updated()
        assert [found[name][1] for name in (root, reply)] == [[], []]
        assert all("The verdict is marked wrong." in said for said, _ in found.values())
        # In the other channel, in its language.
        [*_, latest] = (one for one in posted_to(slack, "/api/chat.update") if one["channel"] == "C2")
        assert any("retour arrière" in line for line in shown(latest)[0])


def approve_and_close(deployment: Deployment, who: str) -> None:
    try:
        approve(deployment, who=who, via="page")
    finally:
        connection.close()


def test_which_buttons_are_left_and_what_is_said() -> None:
    table: list[tuple[str, Callable[[Deployment], object], str, set[str]]] = [
        ("ask", lambda bad: None, "", {"on_it", "rolled_back", "wrong"}),
        (
            "ask",
            lambda bad: DeploymentVerdict.objects.update(shadow=True),
            "",
            {"on_it", "wrong"},
        ),
        ("ask", lambda bad: make_deployment(environment=bad.environment), "newer", {"wrong"}),
        ("ask", lambda bad: approve(bad, who="ana", via="page"), "ana approved", {"on_it", "wrong"}),
        ("off", lambda bad: None, "", {"on_it", "rolled_back", "wrong"}),
        ("off", lambda bad: acknowledge(bad, "on_it", who="ana", via="api"), "ana is on it", {"rolled_back", "wrong"}),
        ("off", lambda bad: acknowledge(bad, "rolled_back", who="ana", via="api"), "ana rolled", {"wrong"}),
        ("off", lambda bad: make_deployment(environment=bad.environment), "newer", {"wrong"}),
        ("off", lambda bad: DeploymentVerdict.objects.all().delete(), "", {"on_it", "rolled_back"}),
        ("off", lambda bad: Deployment.objects.filter(pk=bad.pk).update(kind="rollback"), "", {"on_it", "wrong"}),
    ]
    for number, (mode, change, words, actions) in enumerate(table):
        bad = prepared(mode)
        change(bad)
        standing = standings_of([bad.pk])[bad.pk]
        assert set(standing.actions) == actions, number
        assert words in " ".join(standing.texts("en")).lower() and len(standing.lines) == bool(words), number
    states = {"sent": "started", "failed": "failed", "unknown": "nobody knows", "withdrawn": "failed", "asked": ""}
    bad = prepared("ask")
    approve(bad, who="ana", via="page")
    for state, words in states.items():
        RollbackAttempt.objects.filter(deployment=bad).update(state=state)
        assert words in " ".join(standings_of([bad.pk])[bad.pk].texts("en")).lower()
        assert all(standings_of([bad.pk])[bad.pk].texts("fr"))


def test_what_changes_while_a_message_is_sent_or_changed_is_shown_afterwards() -> None:
    bad = prepared("ask")
    channel = make_slack(bad)
    emit(event_about(bad, "early_rollback"))
    assert fan_out() and fan_out()  # the second one asks for approval
    updates = ScheduledJob.objects.filter(job_type="update_message")
    Delivery.objects.filter(channel=channel).update(attempts=1)
    assert refresh([bad.pk]) == 2 and updates.filter(scheduled_at__gt=Now()).count() == 2
    Delivery.objects.filter(channel=channel).update(state="sent", reference="1.5")
    updates.all().delete()
    refresh([bad.pk])
    jobs: Any = [SimpleNamespace(id=row.pk, metadata=row.job_metadata) for row in updates.order_by("pk")]
    prepared_ones = updating.prepare(jobs)
    # A reply of a version that did not keep its own name is not put in the place of the first message.
    assert [prepared_ones[job.id].places for job in jobs] == [("1.5",), ()]
    updates.all().delete()
    acknowledge(bad, "on_it", who="ana", via="page")
    updating.record([(job, prepared_ones[job.id]) for job in jobs])
    assert updates.count() == 2
    updates.all().delete()
    updating.record([(job, updating.prepare([job])[job.id]) for job in jobs])
    assert not updates.exists()


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
