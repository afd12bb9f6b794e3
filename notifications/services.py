"""Make, change and end channels; send a test."""

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from accounts.models import Team, User
from events.models import Event
from notifications.channels.base import ChannelKind
from notifications.delivering import Outcome, Sending, ready, reveal, send, settle_attempt
from notifications.describing import describe
from notifications.models import Channel, Delivery
from notifications.recipients import ask
from projects.signing import DEFAULT_GRACE_HOURS
from scheduler.queue import database_now


def new_signing_secret() -> str:
    """Return a secret in the form of Standard Webhooks: 24 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def kept(kind: ChannelKind, stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a channel's configuration: what is given, and of what is hidden and left empty what is stored."""
    return {
        field.name: given.get(field.name) or (stored.get(field.name, "") if field.hidden else "")
        for field in kind.fields
    }


def previous_secret(kind: ChannelKind, stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the secret that is signed with as well, for DEFAULT_GRACE_HOURS after another one replaced it."""
    if not kind.signs:
        return {}
    if (replaced := stored.get("secret")) and given.get("secret") not in (None, "", replaced):
        until = database_now() + timedelta(hours=DEFAULT_GRACE_HOURS)
        return {"previous_secret": replaced, "previous_until": int(until.timestamp())}
    return {name: stored[name] for name in ("previous_secret", "previous_until") if name in stored}


def make_channel(
    team: Team, kind: ChannelKind, config: Mapping[str, Any], rules: Mapping[str, Any], *, by: User
) -> tuple[Channel, str]:
    """Make a channel; return it with a signing secret that was made for it, "" where none was."""
    made = ""
    values = kept(kind, {}, config)
    if kind.signs and not values["secret"]:
        made = values["secret"] = new_signing_secret()
    channel = Channel.objects.create(team=team, kind=kind.name, config=json.dumps(values), created_by=by, **rules)
    ask_owners(channel, kind, values)
    return channel, made


def change_channel(channel: Channel, kind: ChannelKind, config: Mapping[str, Any], rules: Mapping[str, Any]) -> None:
    """Change a channel and put it in use again, in case it was disabled.

    Raises: Channel.DoesNotExist where it was deleted meanwhile.
    """
    stored = reveal(channel) or {}
    values = kept(kind, stored, config) | previous_secret(kind, stored, config)
    changes = {**rules, "config": json.dumps(values), "disabled_at": None, "disabled_why": None}
    if not Channel.objects.filter(pk=channel.pk).update(**changes):
        raise Channel.DoesNotExist
    ask_owners(channel, kind, values)


def ask_owners(channel: Channel, kind: ChannelKind, config: Mapping[str, Any]) -> None:
    """Ask those for consent who get mail only if they agree."""
    ask(kind.waiting(config, channel.team_id), channel.team, channel.language)


def disable_channel(channel: Channel) -> None:
    Channel.objects.filter(pk=channel.pk, disabled_at__isnull=True).update(disabled_at=Now(), disabled_why=None)


def enable_channel(channel: Channel) -> None:
    Channel.objects.filter(pk=channel.pk).update(disabled_at=None, disabled_why=None)


def send_test(channel: Channel, kind: ChannelKind) -> Outcome:
    """Send a test message at once, also by a disabled channel; its delivery is in the log. Waits for the answer."""
    with transaction.atomic():
        now = database_now()
        event = Event.objects.create(
            kind="test", severity="info", team_id=channel.team_id, project_id=channel.project_id, fanned_out_at=now
        )
        delivery = Delivery.objects.create(
            event=event,
            channel=channel,
            due_at=now,
            expires_at=now + timedelta(seconds=event.useful_for_s),
            attempts=1,
            attempted_at=now,
        )
    outcome = send(Sending(delivery, kind, ready([delivery])[delivery.pk], describe([delivery])[delivery.pk]))
    with transaction.atomic():
        settle_attempt(delivery, outcome)
    return outcome
