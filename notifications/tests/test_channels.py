"""What each kind of channel sends, and how it reads its receiver's answer."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from slack_sdk.models.blocks import Block

from notifications.channels import CHANNEL_KINDS, channel_kind
from notifications.channels.base import ChannelKind, SendError, Sent
from notifications.channels.layout import shortened
from notifications.channels.webhook import signature
from notifications.delivering import reveal
from notifications.message import Message
from notifications.services import change_channel
from notifications.tests.factories import make_channel
from notifications.tests.receivers import Receiver, receiving

Reply = tuple[int, dict[str, str], bytes]

MESSAGE = Message(
    id="3f.7",
    kind="verdict_issued",
    severity="critical",
    headline="shop prod #84 (7c1f2a, ana, *Cache prices*): 25 % of requests fail, was 0 %. Last good: #83.",
    occurred_at=datetime(2026, 3, 1, 3, 0, tzinfo=UTC),
    details=("error_rate: 0 % → 25 %", "Roll back, then look at the cache."),
    link="https://seqpulse.example/dashboard/deployments/1/",
    deployment="6a1f0c2e-0000-4000-8000-000000000084",
    incident="environment-5",
    data={"project": "shop", "verdict": {"verdict": "rollback_recommended"}},
)
# What others may have written into a commit message or a branch.
HOSTILE = "<!channel> @everyone [x](https://evil.example) *b* `c` <a href=x> & \\ \u202e" + "😀" * 6000
OK = b'{"ok": true, "ts": "1.2", "result": {"message_id": 77}}'


def config(kind: ChannelKind, receiver: Receiver) -> dict[str, str]:
    values = {"url": receiver.url, "secret": "", "chat": "-100", "channel": "C1"}
    return {field.name: values.get(field.name, "s3cr3t-" + field.name) for field in kind.fields}


def send(name: str, receiver: Receiver, message: Message = MESSAGE, **more: str) -> Sent:
    kind = channel_kind(name)
    assert kind is not None
    return kind.send({**config(kind, receiver), **more}, message)


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[[Receiver], None]:
    """Let the kinds with a fixed address call a receiver here."""
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"

    def redirect(receiver: Receiver) -> None:
        for kind in CHANNEL_KINDS:
            if hasattr(kind, "api"):
                monkeypatch.setattr(kind, "api", f"http://127.0.0.1:{receiver.port}")

    return redirect


def sent_by(name: str, local: Callable[[Receiver], None], message: Message = MESSAGE, **more: str) -> Any:
    """Return path, headers and JSON of the one request."""
    with receiving((200, {}, OK)) as receiver:
        local(receiver)
        send(name, receiver, message, **more)
    [(path, headers, body)] = receiver.requests
    return path, headers, json.loads(body)


def test_slack_bot_posts_blocks_that_slack_accepts_and_keeps_the_thread(local: Any) -> None:
    with receiving((200, {}, OK)) as receiver:
        local(receiver)
        assert send("slack_bot", receiver).reference == "1.2"
    [(path, headers, body)] = receiver.requests
    assert path == "/chat.postMessage" and headers["Authorization"] == "Bearer s3cr3t-token"
    posted = json.loads(body)
    for block in Block.parse_all(posted["blocks"]):
        block.validate_json()
    *_, actions = posted["blocks"]
    assert [button["action_id"] for button in actions["elements"]] == ["on_it", "rolled_back", "wrong"]
    assert {button["value"] for button in actions["elements"]} == {f"{MESSAGE.deployment} rollback_recommended"}
    _, _, reply = sent_by("slack_bot", local, replace(MESSAGE, thread="1.2"), signing_secret="")
    assert reply["thread_ts"] == "1.2" and all(block["type"] != "actions" for block in reply["blocks"])


def test_what_is_said_in_a_slack_thread_begins_no_other(local: Any) -> None:
    with receiving((200, {}, b'{"ok": true, "ts": "3.4"}')) as receiver:
        local(receiver)
        # The thread, then the message itself.
        assert send("slack_bot", receiver, replace(MESSAGE, thread="1.2")).reference == "1.2 3.4"


def test_slack_shows_what_became_of_a_deployment_and_the_buttons_that_are_left(local: Any) -> None:
    message = replace(MESSAGE, standing=(HOSTILE,) * 20, actions=("rolled_back",), starts_rollback=True, thread="1.2")
    kind = channel_kind("slack_bot")
    assert kind is not None
    with receiving((200, {}, OK), (200, {}, OK), (200, {}, b'{"ok": false, "error": "message_not_found"}')) as receiver:
        local(receiver)
        kind.update(config(kind, receiver), message, "3.4")
        kind.update(config(kind, receiver), replace(message, actions=(), language="fr"), "3.4")
        with pytest.raises(SendError) as raised:
            kind.update(config(kind, receiver), message, "3.4")
    assert (raised.value.code, raised.value.retry) == ("delivery.refused", False)
    assert {path for path, _, _ in receiver.requests} == {"/chat.update"}
    first, second, _ = receiver.bodies()
    assert (first["ts"], first["channel"]) == ("3.4", "C1") and "thread_ts" not in first
    for block in Block.parse_all(first["blocks"] + second["blocks"]):
        block.validate_json()
    *_, context, actions = first["blocks"]
    [button] = actions["elements"]
    assert button["action_id"] == "rolled_back" and "webhook" in button["confirm"]["text"]["text"]
    assert context["type"] == "context" and {one["type"] for one in context["elements"]} == {"plain_text"}
    assert [block["type"] for block in second["blocks"]][-1] == "context"


def test_slack_interprets_nothing_that_others_wrote(local: Any) -> None:
    _, _, posted = sent_by("slack", local, replace(MESSAGE, headline=HOSTILE, details=(HOSTILE,) * 60))
    for block in Block.parse_all(posted["blocks"]):
        block.validate_json()
    assert {block["text"]["type"] for block in posted["blocks"]} == {"plain_text"}
    assert len(posted["blocks"]) <= 50 and "<!channel>" not in posted["text"]


def test_teams_gets_a_card_in_which_nothing_is_interpreted(local: Any) -> None:
    _, _, posted = sent_by("teams", local, replace(MESSAGE, headline=HOSTILE, details=(HOSTILE,) * 60))
    assert posted["type"] == "message"
    [attachment] = posted["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "SeqPulse", "url": MESSAGE.link}]
    assert len(json.dumps(posted, ensure_ascii=False).encode()) < 28 * 1024


def test_discord_mentions_nobody_and_keeps_its_limits(local: Any) -> None:
    _, _, posted = sent_by("discord", local, replace(MESSAGE, headline=HOSTILE, details=(HOSTILE,) * 60))
    assert posted["allowed_mentions"] == {"parse": []}
    [embed] = posted["embeds"]
    assert len(embed["title"].encode("utf-16-le")) // 2 <= 256
    assert len(embed["description"].encode("utf-16-le")) // 2 <= 4096
    assert "[x](" not in embed["description"] and "\\[x\\]\\(" in embed["description"]


def test_telegram_sends_plain_text_and_answers_the_first_message(local: Any) -> None:
    path, _, posted = sent_by("telegram", local, replace(MESSAGE, thread="77", details=(HOSTILE,)))
    assert path == "/bots3cr3t-token/sendMessage"
    assert posted["chat_id"] == "-100" and "parse_mode" not in posted
    assert len(posted["text"].encode("utf-16-le")) // 2 <= 4096
    assert posted["reply_parameters"] == {"message_id": 77, "allow_sending_without_reply": True}


@pytest.mark.parametrize(
    ("change", "path", "action"),
    [
        ({}, "/enqueue", "trigger"),
        ({"severity": "warning"}, "/enqueue", "trigger"),
        ({"resolves": True, "severity": "info"}, "/enqueue", "resolve"),
        ({"severity": "info"}, "/change/enqueue", None),
    ],
)
def test_pagerduty_resolves_what_it_triggered(
    local: Any, change: dict[str, Any], path: str, action: str | None
) -> None:
    asked, _, posted = sent_by("pagerduty", local, replace(MESSAGE, headline="x" * 3000, **change))
    assert asked == path and posted.get("event_action") == action and posted["routing_key"] == "s3cr3t-routing_key"
    assert len(posted["payload"]["summary"]) <= 1024
    assert posted.get("dedup_key") == ("seqpulse-environment-5" if action else None)
    assert posted["payload"].get("severity") == (change.get("severity", "critical") if action else None)


def test_webhooks_are_signed_as_standard_webhooks_asks(local: Any) -> None:
    # The vector of the specification's reference libraries.
    headers = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        1614265330,
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    of_text = signature("clé", "one", b"", 1)["webhook-signature"]
    digest = hmac.new("clé".encode(), b"one.1.", hashlib.sha256).digest()
    assert of_text == "v1," + base64.b64encode(digest).decode()
    secret = "whsec_" + base64.b64encode(b"k" * 24).decode()
    with receiving() as receiver:
        send("webhook", receiver, secret=secret)
    [(_, headers, body)] = receiver.requests
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"k" * 24, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}" and headers["webhook-id"] == MESSAGE.id


@pytest.mark.django_db
def test_for_a_day_after_a_secret_was_replaced_webhooks_are_signed_with_both() -> None:
    kind, url = channel_kind("webhook"), {"url": ""}
    assert kind is not None
    first, second, third = ("whsec_" + base64.b64encode(letter * 24).decode() for letter in (b"1", b"2", b"3"))
    with receiving() as receiver:
        channel = make_channel(receiver.url, config={"secret": first})

        def signers(**change: object) -> list[str]:
            """Return the secrets of which a signature is sent, after a change of the configuration."""
            channel.refresh_from_db()
            settings = {**(reveal(channel) or {}), **change}
            kind.send(settings, MESSAGE)
            _, headers, body = receiver.requests[-1]
            sent = headers["webhook-signature"].split(" ")
            of = {
                signature(one, MESSAGE.id, body, int(headers["webhook-timestamp"]))["webhook-signature"]: one
                for one in (first, second, third)
            }
            return [of[one] for one in sent]

        assert signers() == [first]
        for given, expected in (("", [first]), (first, [first]), (second, [second, first]), ("", [second, first])):
            change_channel(channel, kind, {**url, "secret": given}, {})
            assert signers() == expected
        assert signers(previous_until=int(time.time())) == [second]
        change_channel(channel, kind, {**url, "secret": third}, {})
        assert signers() == [third, second]


# Answers of receivers, and whether another attempt can help, and when.
ANSWERS: list[tuple[str, Reply, tuple[str, bool, float | None]]] = [
    ("webhook", (500, {}, b""), ("delivery.busy", True, None)),
    ("webhook", (429, {"Retry-After": "7"}, b""), ("delivery.busy", True, 7.0)),
    ("webhook", (429, {"Retry-After": "99999999999999999999"}, b""), ("delivery.busy", True, 3600.0)),
    ("webhook", (503, {"Retry-After": "soon"}, b""), ("delivery.busy", True, None)),
    ("webhook", (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b""), ("delivery.busy", True, 0.0)),
    ("webhook", (301, {"Location": "http://127.0.0.1:1/"}, b""), ("delivery.refused", False, None)),
    ("webhook", (404, {}, b""), ("delivery.refused", False, None)),
    ("webhook", (410, {}, b""), ("delivery.gone", False, None)),
    ("discord", (429, {}, b'{"retry_after": 1.5}'), ("delivery.busy", True, 1.5)),
    ("discord", (429, {}, b'{"retry_after": "NaN"}'), ("delivery.busy", True, None)),
    ("discord", (429, {}, b'{"retry_after": 1e999}'), ("delivery.busy", True, None)),
    ("telegram", (429, {}, b'{"ok": false, "parameters": {"retry_after": 35}}'), ("delivery.busy", True, 35.0)),
    ("telegram", (429, {}, b'{"ok": false, "parameters": [1]}'), ("delivery.busy", True, None)),
    ("telegram", (200, {}, b'{"ok": false}'), ("delivery.refused", False, None)),
    ("telegram", (200, {}, b"<html>"), ("delivery.refused", False, None)),
    ("slack_bot", (200, {}, b'{"ok": false, "error": "channel_not_found"}'), ("delivery.refused", False, None)),
    ("slack_bot", (200, {}, b'{"ok": false, "error": "ratelimited"}'), ("delivery.busy", True, None)),
    ("slack_bot", (200, {}, b'{"ok": false, "error": ["x"]}'), ("delivery.refused", False, None)),
    ("slack_bot", (200, {}, b"[" * 50_000), ("delivery.refused", False, None)),
]


def test_answers_are_understood(local: Any) -> None:
    with receiving(*(reply for _, reply, _ in ANSWERS)) as receiver:
        local(receiver)
        for name, reply, expected in ANSWERS:
            with pytest.raises(SendError) as raised:
                send(name, receiver)
            error = raised.value
            assert (error.code, error.retry, error.after_s) == expected, reply
            assert error.gone == (reply[0] == 410)
            assert error.sent.status == reply[0] and "s3cr3t" not in str(error)


def test_a_text_is_shortened_as_receivers_count_it() -> None:
    assert shortened("short", 5) == "short"
    assert shortened("😀" * 3, 5) == "😀😀…"
    assert shortened("😀" * 3, 4) == "😀…"
