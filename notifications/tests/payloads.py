"""Messages of every kind of event, in both languages, usual and hostile; and what each channel makes of them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from analysis.outbox import hint_facts, verdict_facts
from analysis.tests.judgements import judgements
from events.kinds import KINDS
from events.models import Event
from explain.facts import Fact
from notifications.channels import discord, pagerduty, slack, teams, telegram
from notifications.describing import message
from notifications.message import Message

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
# What others may have written into names, commits and reasons: long, wide, and with the syntax of each receiver.
HOSTILE = "<!channel> @everyone [x](https://evil.example) *b* `c` <a href=x> & \\ \u202e\n" + "😀é" * 300
DEPLOYMENT = "6a1f0c2e-0000-4000-8000-000000000084"


def said_of(text: str) -> dict[str, Any]:
    """Return the parameters that events have, with this text for everything that others write."""
    names = ("id", "commit", "branch", "version", "author", "title", "url")
    deployment = {"number": 84, **dict.fromkeys(names, text), "id": DEPLOYMENT}
    texts = ("project", "environment", "team", "who", "reason", "name", "prefix", "email", "role", "channel", "frozen")
    why = Fact("rollback.raised", {"error": text}).to_json()
    return {**dict.fromkeys(texts, text), "deployment": deployment, "last_good": {"number": 83}, "why": why, "times": 3}


def messages() -> Iterator[Message]:
    for language in ("en", "fr"):
        for kind, known in KINDS.items():
            for said in ({}, said_of("shop"), said_of(HOSTILE)):
                yield made(kind, known.severity, said, language)
        for found, hints in judgements(step=150):
            facts = {"verdict": verdict_facts(found), "hints": [hint_facts(hint) for hint in hints[:3]]}
            one = made("verdict_issued", "critical", {**said_of(HOSTILE), **facts}, language)
            yield one
            yield replace(one, others=(one,) * 30, standing=(HOSTILE,) * 12, thread="77", starts_rollback=True)
            yield replace(one, resolves=True, severity="info", actions=())


def made(kind: str, severity: str, said: dict[str, Any], language: str) -> Message:
    event = Event(pk=7, kind=kind, severity=severity, team_id=1, environment_id=5, occurred_at=NOW, parameters=said)
    found = message(event, said, language, message_id="one.7")
    return replace(found, link=f"https://seqpulse.example/dashboard/deployments/{DEPLOYMENT}/")


def bodies() -> dict[str, list[Any]]:
    """Return what each kind of channel sends of each message, by the name of the body's kind."""
    all_messages = list(messages())
    bot = {"channel": "C0123456789", "signing_secret": "x"}
    alerts = [one for one in all_messages if one.resolves or one.severity != "info"]
    return {
        "slack": [slack.body_of(one) for one in all_messages],
        "slack_bot": [slack.bot_body_of(bot, one) for one in all_messages],
        "teams": [teams.body_of(one) for one in all_messages],
        "discord": [discord.body_of(one) for one in all_messages],
        "telegram": [telegram.body_of("-100123", one) for one in all_messages],
        "pagerduty_alert": [{"routing_key": "0" * 32, **pagerduty.alert_of(one)} for one in alerts],
        "pagerduty_change": [{"routing_key": "0" * 32, **pagerduty.change_of(one)} for one in all_messages],
    }
