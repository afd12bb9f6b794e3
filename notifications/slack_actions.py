"""POST /integrations/slack/<channel>/actions: what people press below the messages of a Slack bot.

Slack signs what it sends with the secret of the app (docs.slack.dev/authentication/verifying-requests-from-slack).
Every member of the Slack channel may press its buttons; actions are stored with their Slack name and id.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import override
from django.views import View
from django.views.decorators.cache import never_cache
from django_ratelimit.core import get_usage
from slack_sdk.signature import SignatureVerifier

from analysis.acknowledging import CannotAcknowledge, acknowledge
from analysis.models import DeploymentVerdict, Feedback, Via, What
from analysis.outbox import refresh_messages
from analysis.services import VerdictRevised, give_feedback
from common.strict_json import InvalidJSON, read_json
from deployments.models import Deployment
from deployments.shown import UNREADABLE
from events.models import Event
from explain.rendering import render
from notifications.channels.posting import exchange
from notifications.channels.slack import BUTTONS, SlackBot
from notifications.delivering import reveal
from notifications.models import Channel, Delivery
from notifications.rollbacks.attempts import CannotRollBack, approve
from outbound.transfer import OutboundError
from scheduler.queue import database_now
from security.limits import Caller, Limit, limited
from security.nonces import take_nonce

logger = structlog.get_logger(__name__)

MOST_BYTES = 64 * 1024
# A signature is valid from five minutes before until five minutes after its timestamp.
NONCE_TTL_S = 660
# Slack wants an answer within 3 s, and the answer follows this call.
REPLY_DEADLINE_S = 1.5
RESPONSE_ORIGIN = "https://hooks.slack.com"
TIMESTAMP, SIGNATURE = re.compile(r"[0-9]{1,12}"), re.compile(r"v0=[0-9a-f]{64}")
USER_ID = re.compile(r"[UW][A-Z0-9]{1,30}")
VALUE = re.compile(r"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?: ([a-z_]{1,24}))?")
ACTIONS = {action for action, _label in BUTTONS}
WRONG = "wrong"


class Refused(Exception):
    """A request that is not answered as a person's. str(): why, in English, for the developer of the Slack app."""

    def __init__(self, status: int, code: str, words: str) -> None:
        super().__init__(words)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class Press:
    """A pressed button. action: None: one of no concern here, such as a link; verdict: as it was shown.

    messages: what Slack calls the message with the button, and the first one of its thread.
    """

    who: str
    response_url: str
    action: str | None = None
    deployment: UUID | None = None
    verdict: str = ""
    messages: tuple[str, ...] = ()


@limited(Limit(("slack",), Caller.ADDRESS))
@method_decorator(never_cache, name="dispatch")
class SlackActionsView(View):
    """Take what was pressed, once, and say what came of it."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        try:
            channel, secret = channel_of(uuid)
            body = body_of(request)
            check_signature(request, body, secret)
            count(request, channel)
            press = read_press(body)
            with transaction.atomic(), override(channel.language):
                # Last, so that only signed requests fill the table.
                if not take_nonce(f"slack {request.headers['X-Slack-Signature']}", NONCE_TTL_S):
                    raise Refused(401, "signature_reused", "This request was received before.")
                words = act(channel, secret, press) if press.action else ""
        except Refused as refused:
            logger.warning("slack_refused", reason=refused.code, channel=str(uuid))
            error = {"code": refused.code, "message": str(refused), "fields": {}}
            return JsonResponse({"error": error, "detail": str(refused)}, status=refused.status)
        if not words:
            return HttpResponse()
        reply = {"response_type": "ephemeral", "replace_original": False, "text": words}
        send_reply(press.response_url, reply)
        return JsonResponse(reply)


def channel_of(uuid: UUID) -> tuple[Channel, str]:
    """Return a channel whose messages have buttons, and the secret of its app. Raises Refused."""
    channel = Channel.objects.active().filter(uuid=uuid, kind=SlackBot.name).first()
    secret = secret_of(channel) if channel is not None else ""
    if channel is None or not secret:
        raise Refused(404, "not_found", "There is no Slack channel with buttons at this address.")
    return channel, secret


def secret_of(channel: Channel) -> str:
    """Return the signing secret, "" where there is none."""
    return str((reveal(channel) or {}).get("signing_secret") or "").strip()


def body_of(request: HttpRequest) -> bytes:
    """Return the body as it came. Raises Refused."""
    try:
        body: bytes = request.read(MOST_BYTES + 1)
    except UnreadablePostError:
        raise Refused(400, "unreadable", "The body ended early.") from None
    if len(body) > MOST_BYTES:
        raise Refused(413, "too_large", f"The body is larger than {MOST_BYTES // 1024} KiB.")
    return body


def check_signature(request: HttpRequest, body: bytes, secret: str) -> None:
    """Raises Refused."""
    timestamp = request.headers.get("X-Slack-Request-Timestamp", "")
    signature = request.headers.get("X-Slack-Signature", "")
    if not TIMESTAMP.fullmatch(timestamp) or not SIGNATURE.fullmatch(signature):
        raise Refused(401, "signature_missing", "X-Slack-Signature and X-Slack-Request-Timestamp have to be Slack's.")
    try:
        is_valid = SignatureVerifier(secret).is_valid(body, timestamp, signature)
    except UnicodeDecodeError:
        is_valid = False
    if not is_valid:
        words = "The signature is wrong or older than five minutes: compare the signing secret and the server's clock."
        raise Refused(401, "signature_refused", words)


def count(request: HttpRequest, channel: Channel) -> None:
    """Count on the channel, after the signature, so that only signed requests use up its calls. Raises Refused."""
    if not settings.SEQPULSE_RATE_LIMITS:
        return
    rate = settings.SEQPULSE_RATES["slack"]
    usage = get_usage(
        request,
        group="slack|",
        key=lambda _group, _request: f"channel:{channel.pk}",
        rate=(rate.limit, rate.period_s),
        increment=True,
    )
    if usage is not None and usage["count"] > usage["limit"]:
        raise Refused(429, "rate_limited", "Too many buttons were pressed in this channel: try again in a minute.")


def read_press(body: bytes) -> Press:
    """Read the form field `payload`. Raises Refused, naming the field."""
    try:
        fields = parse_qsl(body.decode(), strict_parsing=True, max_num_fields=10, errors="strict")
        [payload] = [value for name, value in fields if name == "payload"]
    except ValueError:
        raise bad("payload", "a form with this one field") from None
    try:
        data = read_json(payload.encode())
    except InvalidJSON:
        raise bad("payload", "valid JSON") from None
    if not isinstance(data, dict) or data.get("type") != "block_actions":
        raise bad("payload.type", "block_actions")
    user = data.get("user")
    if not isinstance(user, dict) or not isinstance(user.get("id"), str) or not USER_ID.fullmatch(user["id"]):
        raise bad("payload.user.id", "the id of a Slack user")
    who, response_url = named(user), text(data.get("response_url"))
    actions = data.get("actions")
    if not isinstance(actions, list) or not actions or not isinstance(actions[0], dict):
        raise bad("payload.actions", "a list with the button")
    [action, *more] = actions
    if more:
        raise bad("payload.actions", "one button")
    pressed = text(action.get("action_id"))
    if pressed not in ACTIONS:
        return Press(who, response_url)
    value = VALUE.fullmatch(text(action.get("value")))
    if value is None:
        raise bad("payload.actions.value", "the UUID of a deployment")
    message = data.get("message")
    message = message if isinstance(message, dict) else {}
    names = tuple(name for key in ("ts", "thread_ts") if (name := text(message.get(key))[:255]))
    return Press(who, response_url, pressed, UUID(value[1]), value[2] or "", names)


def bad(field: str, wanted: str) -> Refused:
    return Refused(400, "invalid", f"{field}: this has to be {wanted}.")


def text(value: Any) -> str:
    """Return a text without characters that cannot be stored, "" for what is none."""
    return UNREADABLE.sub("", value) if isinstance(value, str) else ""


def named(user: dict[str, Any]) -> str:
    """Return a Slack user's name with their id, which alone is unique."""
    name = " ".join((text(user.get("username")) or text(user.get("name"))).split())
    name = "".join(filter(str.isprintable, name))[:100]
    return f"{name} ({user['id']})" if name else str(user["id"])


def act(channel: Channel, secret: str, press: Press) -> str:
    """Carry out the action of the button; return its result as a text."""
    channels = same_app(channel, secret)
    # One by one: each covers the deployments of its own project.
    deployment = next((found for one in channels if (found := deployment_in(one, press.deployment))), None)
    try:
        if deployment is None:
            raise Deployment.DoesNotExist
        # Also where nothing changes: the button may be one that should be gone.
        refresh_messages(deployment.pk)
        if press.action == WRONG:
            return mark_wrong(deployment, press, channels)
        if press.action == What.ROLLED_BACK:
            return roll_back(deployment, press, channels)
        return say(deployment, What.ON_IT, press, channels)
    except CannotAcknowledge as error:
        return render(error.fact, channel.language)
    except Deployment.DoesNotExist:
        return _("There is no such deployment in this channel.")


def say(deployment: Deployment, what: What, press: Press, channels: list[Channel]) -> str:
    """Acknowledge the deployment: ON_IT or ROLLED_BACK. Raises CannotAcknowledge, Deployment.DoesNotExist."""
    said = acknowledge(deployment, what, who=press.who, via=Via.CHAT)
    if not said.is_new:
        return _("You said this before: nothing changed.")
    post_in_thread(deployment, press, channels)
    if what == What.ON_IT:
        return _("Everybody can see that you are on it.")
    if said.marked:
        return _("Everybody can see that you roll back, and the verdict is marked right.")
    return _("Everybody can see that you roll back.")


def roll_back(deployment: Deployment, press: Press, channels: list[Channel]) -> str:
    """Approve the rollback; where the environment has no webhook for it, acknowledge that they roll back.

    Raises: CannotAcknowledge, Deployment.DoesNotExist.
    """
    try:
        approved = approve(deployment, who=press.who, via=Via.CHAT)
    except CannotRollBack as error:
        if error.code == "rollback.off":
            return say(deployment, What.ROLLED_BACK, press, channels)
        return _("Nothing was rolled back: %(why)s.") % {"why": render(error.fact, channels[0].language)}
    if approved.is_new:
        return _("You approved the rollback: it is asked for within seconds.")
    state = approved.attempt.get_state_display()
    return _("Nothing changed: this rollback was approved before. State: %(state)s.") % {"state": state}


def same_app(channel: Channel, secret: str) -> list[Channel]:
    """Return the channel and the team's others of the same Slack app, all of whose buttons come to one address."""
    others = Channel.objects.active().filter(team=channel.team_id, kind=SlackBot.name).exclude(pk=channel.pk)
    return [channel, *(other for other in others.order_by("pk") if secret_of(other) == secret)]


def deployment_in(channel: Channel, uuid: UUID | None) -> Deployment | None:
    rows = Deployment.objects.select_related("project", "environment").filter(
        project__team=channel.team_id, project__deleting_at=None
    )
    rows = rows.filter(uuid=uuid) if uuid else rows.none()
    return (rows.filter(project=channel.project_id) if channel.project_id else rows).first()


def mark_wrong(deployment: Deployment, press: Press, channels: list[Channel]) -> str:
    """Mark the verdict wrong, and say so. Raises CannotAcknowledge, Deployment.DoesNotExist."""
    verdict = DeploymentVerdict.objects.select_related("deployment").filter(deployment=deployment).first()
    if verdict is None:
        return _("There is no verdict yet that could be wrong.")
    mark = Feedback.objects.filter(verdict=verdict).first()
    if mark is not None and not mark.right:
        return _("The verdict is marked wrong already.")
    # Of a message without it, as it is now.
    verdict.verdict = press.verdict or verdict.verdict
    try:
        with transaction.atomic():
            said = acknowledge(
                deployment, What.IGNORED, who=press.who, via=Via.CHAT, reason=_("The verdict was wrong.")
            )
            give_feedback(verdict, right=False, by=None, who=press.who, reason=f"{press.who}, Slack")
    except VerdictRevised:
        return _("The verdict was revised meanwhile: look at it again, then mark it on its page.")
    if said.is_new:
        post_in_thread(deployment, press, channels)
    return _("The verdict is marked wrong. Its page takes the right one and the reason.")


def post_in_thread(deployment: Deployment, press: Press, channels: list[Channel]) -> None:
    """Deliver the acknowledgement to the channel of the button at once, whatever its rules; deliveries are unique."""
    event = Event.objects.filter(kind="acknowledged", deployment_id=deployment.pk).latest("id")
    pressed_in = (
        Delivery.objects.filter(channel__in=channels, event__deployment_id=deployment.pk)
        .filter(named_by(press.messages))
        .values_list("channel_id", flat=True)
    )
    now = database_now()
    Delivery.objects.create(
        event=event,
        channel_id=pressed_in.first() or channels[0].pk,
        due_at=now,
        expires_at=now + timedelta(seconds=event.useful_for_s),
    )


def named_by(messages: Iterable[str]) -> Q:
    """Return the condition that Slack calls a delivery so, or the first message of its thread."""
    found = Q(pk=None)
    for name in messages:
        found |= Q(reference=name) | Q(reference__startswith=f"{name} ") | Q(reference__endswith=f" {name}")
    return found


def send_reply(url: str, reply: dict[str, Any]) -> None:
    """Send the reply to the Slack user, if the address is Slack's. Its failure does not undo the action."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    if f"{parts.scheme}://{parts.netloc}" != RESPONSE_ORIGIN:
        return
    begun = time.monotonic()
    try:
        answer = exchange(url, json=reply, deadline_s=REPLY_DEADLINE_S)
    except (OutboundError, ValueError) as error:
        # Only its type: the address is a secret.
        logger.warning("slack_reply_failed", error=type(error).__name__, after_s=round(time.monotonic() - begun, 2))
        return
    if answer.status >= 300:
        logger.warning("slack_reply_failed", status=answer.status)
