"""What others call their commits, branches, projects: no channel interprets any of it, nor mentions anybody."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest

from deployments.models import Deployment
from notifications.channels import discord, pagerduty, slack, teams, telegram, webhook
from notifications.channels.email import mail_of
from notifications.details import details_of
from notifications.headlines import headline_of
from notifications.message import Message
from notifications.recipients import Recipient
from notifications.rollbacks.payload import described

NAMES = (
    "@everyone @here @channel <!channel> <!here|here> <@U0123ABC> <@123> <@&1> <#123> <t:1:R>",
    "<script>alert(1)</script><img src=x onerror=alert(1)><a href='https://evil.example'>x</a> &amp; &#60;",
    "[Roll back](https://evil.example) ![x](https://evil.example/x.png) <https://evil.example|x>",
    "**b** __u__ *i* _i_ ~~s~~ ||hidden|| `code` ```block``` # title > quote - list \\",
    "x\r\nBcc: eve@example.org\r\n\r\n<html>",
    "/start @BotFather #tag <at>all</at> {{7*7}} ${7*7} {0} %s %(x)s {where} :rotating_light:",
    "\u202egnp.exe \u2066x\u2069 \u200b\x00\x1b[31m",
    "\\" * 60 + "*" * 60,
)
LINK = "https://seqpulse.example/dashboard/deployments/1/"


def message_of(name: str) -> Message:
    deployment = dict.fromkeys(("commit", "author", "title", "branch", "version", "url"), name)
    said: dict[str, Any] = {"project": name, "environment": name, "team": name, "who": name, "reason": name}
    said |= {"deployment": {"number": 84, **deployment}, "frozen": name, "channel": name, "what": "ignored"}
    at = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
    lines = (*details_of(said, "fr"), headline_of("freeze_forced", said, at, "en"))
    headline = headline_of("acknowledged", said, at, "en")
    one = Message("3f.7", "acknowledged", "critical", headline, at, details=lines, link=LINK, deployment="u")
    return replace(one, others=(one,), data={"deployment": deployment})


messages = pytest.mark.parametrize("message", [message_of(name) for name in NAMES], ids=range(len(NAMES)))


@messages
def test_slack(message: Message) -> None:
    body = slack.body_of(message)
    assert {block["text"]["type"] for block in body["blocks"]} == {"plain_text"}
    assert not any(block["text"]["emoji"] for block in body["blocks"])
    assert "<" not in body["text"] and ">" not in body["text"] and body["mrkdwn"] is False
    assert {block["accessory"]["url"] for block in body["blocks"] if "accessory" in block} == {LINK}


@messages
def test_teams(message: Message) -> None:
    [attachment] = teams.body_of(message)["attachments"]
    card = attachment["content"]
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"} and "msteams" not in card
    assert {run["type"] for block in card["body"] for run in block["inlines"]} == {"TextRun"}
    assert [action["url"] for action in card["actions"]] == [LINK]


@messages
def test_discord(message: Message) -> None:
    body = discord.body_of(message)
    assert body["allowed_mentions"] == {"parse": []} and "content" not in body
    [embed] = body["embeds"]
    assert embed["url"] == LINK
    for text in (embed["title"], embed["description"]):
        without_escapes = re.sub(r"\\[\\*_~`|>#\[\]()<@:-]", "", text)
        assert not re.search(r"[\\*_~`|>#\[\]()<@]", without_escapes), without_escapes


@messages
def test_telegram(message: Message) -> None:
    body = telegram.body_of("-100", message)
    assert "parse_mode" not in body and body["link_preview_options"] == {"is_disabled": True}
    said = body["text"].removesuffix(LINK)
    assert not re.search(r"(?<!\w)@\w|(?<!\S)/\w", said)
    assert body["text"].endswith(LINK)


@messages
def test_pagerduty_and_webhooks_have_it_as_text(message: Message) -> None:
    for body in (pagerduty.alert_of(message), pagerduty.change_of(message), webhook.body_of(message)):
        assert json.loads(json.dumps(body)) == body
    payload = pagerduty.alert_of(message)["payload"]
    assert payload["summary"].isprintable()
    assert [one["href"] for one in pagerduty.alert_of(message)["links"]] == [LINK]


class Tags(HTMLParser):
    """Collects what a mail program would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.add(tag)
        self.targets |= {value for name, value in attrs if name in ("href", "src")}
        assert not any(name.startswith("on") for name, _ in attrs)


@messages
def test_email(message: Message) -> None:
    stop = "https://seqpulse.example/mail/x"
    mail: Any = mail_of(message, Recipient("ana@example.org", "0" * 64, stop), [])
    sent: EmailMessage = mail.message()
    assert "Bcc" not in sent and sent["To"] == "ana@example.org"
    assert "\n" not in str(mail.subject) and mail.recipients() == ["ana@example.org"]
    tags = Tags()
    tags.feed(mail.alternatives[0][0])
    assert not tags.found & {"script", "img", "iframe", "form"} and tags.targets <= {LINK, stop}


@pytest.mark.parametrize("field", ["branch", "version", "commit_sha"])
def test_a_rollback_request_has_no_secret_that_somebody_put_into_a_name(field: str) -> None:
    secret = "sp_" + "k" * 40
    body = json.dumps(described(Deployment(**{field: f"fix/{secret}"}, url=f"https://ci.example/1?t={secret}")))
    assert secret not in body and "[redacted]" in body
