"""Pages of channels: a team's list, one channel with its rules and the log of its deliveries."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import get_script_prefix
from django.utils.translation import gettext as _

from accounts.models import Team
from accounts.permissions import Action, Actions
from dashboard.forms import Refusals, already_submitted
from dashboard.i18n import code
from dashboard.notifications.forms import ChannelForm
from dashboard.notifications.queries import (
    channel_of,
    channels_of,
    deliveries_of,
    label_of,
    place_of,
    request_url_of,
    waiting_of,
    words,
)
from dashboard.notifications.reporting import report_test
from dashboard.page import current_user, page
from dashboard.teams.queries import team_of
from notifications import services
from notifications.channels import CHANNEL_KINDS, channel_kind
from notifications.channels.base import ChannelKind
from notifications.delivering import is_complete, reveal
from notifications.fanning import resend
from notifications.models import Channel

# Of a person who makes a channel and does not say otherwise.
FIRST = {"cooldown_s": 600}


@page(of=team_of)
def channels(request: HttpRequest, team: Team, actions: Actions) -> HttpResponse:
    """List a team's channels, and the kinds that can be added."""
    context = {"team": team, "actions": actions, "rows": channels_of(team), "kinds": CHANNEL_KINDS}
    return render(request, "dashboard/notifications/channels.html", context)


@page("GET", "POST", of=team_of, action=Action.MANAGE_CHANNELS, limit="making")
def new(request: HttpRequest, team: Team, actions: Actions, kind: str) -> HttpResponse:
    """Make a channel of a kind."""
    found = known(kind)
    user = current_user(request)
    initial = {"name": str(found.label), "language": code(), "time_zone": user.time_zone or "UTC"}
    form = ChannelForm(team, found, {}, request.POST or None, initial={**FIRST, **initial})
    if form.is_bound and form.is_valid():
        if already_submitted(request):
            messages.warning(request, _("This channel was made already."))
            return redirect("dashboard:channels", team_id=team.pk)
        channel, secret = services.make_channel(team, found, form.config(), form.rules(), by=user)
        messages.success(request, _("The channel is there. Send a test to see that it works."))
        if not secret:
            return redirect("dashboard:channel", uuid=channel.uuid)
        # Not by a redirect, which would have to store it.
        return show(request, channel, actions, secret=secret)
    context = {"team": team, "kind": found, "form": form, "actions": actions}
    return render(request, "dashboard/notifications/channel_new.html", context | links_of_messages(request))


@page("GET", "POST", of=channel_of, post=Action.MANAGE_CHANNELS)
def channel(request: HttpRequest, found: Channel, actions: Actions) -> HttpResponse:
    """Show a channel with its deliveries; on POST, change it."""
    if request.method != "POST":
        return show(request, found, actions)
    kind = known(found.kind)
    form = ChannelForm(found.team, kind, reveal(found) or {}, request.POST, instance=found)
    if form.is_valid():
        with Refusals(request, form):
            services.change_channel(found, kind, form.config(), form.rules())
            messages.success(request, _("The channel is saved."))
        return redirect("dashboard:channel", uuid=found.uuid)
    return show(request, Channel.objects.get(pk=found.pk), actions, form=form)


@page("POST", of=channel_of, action=Action.MANAGE_CHANNELS, limit="probe")
def test(request: HttpRequest, found: Channel, actions: Actions) -> HttpResponse:
    """Send a test and show the receiver's answer."""
    outcome = services.send_test(found, known(found.kind))
    report_test(request, outcome.sent, outcome.why)
    return redirect("dashboard:channel", uuid=found.uuid)


@page("POST", of=channel_of, action=Action.MANAGE_CHANNELS)
def disable(request: HttpRequest, found: Channel, actions: Actions) -> HttpResponse:
    services.disable_channel(found)
    messages.success(request, _("The channel is disabled: nothing goes there any more."))
    return redirect("dashboard:channel", uuid=found.uuid)


@page("POST", of=channel_of, action=Action.MANAGE_CHANNELS)
def enable(request: HttpRequest, found: Channel, actions: Actions) -> HttpResponse:
    services.enable_channel(found)
    messages.success(request, _("The channel is in use again."))
    return redirect("dashboard:channel", uuid=found.uuid)


@page("POST", of=channel_of, action=Action.MANAGE_CHANNELS)
def delete(request: HttpRequest, found: Channel, actions: Actions) -> HttpResponse:
    team_id = found.team_id
    found.delete()
    messages.success(request, _("The channel is deleted."))
    return redirect("dashboard:channels", team_id=team_id)


@page("POST", of=channel_of, action=Action.MANAGE_CHANNELS, limit="probe")
def send_again(request: HttpRequest, found: Channel, actions: Actions, delivery_id: int) -> HttpResponse:
    """Try an ended delivery again."""
    delivery = get_object_or_404(found.deliveries, pk=delivery_id)
    resend(delivery)
    messages.success(request, _("It is sent again within moments."))
    return redirect("dashboard:channel", uuid=found.uuid)


def links_of_messages(request: HttpRequest) -> dict[str, str]:
    """Return where links in messages begin ("": there are none), and where people open SeqPulse now."""
    here = request.build_absolute_uri(get_script_prefix()).rstrip("/")
    return {"public_url": settings.SEQPULSE_PUBLIC_URL, "here": here}


def known(name: str) -> ChannelKind:
    kind = channel_kind(name)
    if kind is None:
        raise Http404
    return kind


def show(request: HttpRequest, found: Channel, actions: Actions, **given: Any) -> HttpResponse:
    """Render a channel's page. given: a submitted form; secret: a signing secret that is shown once."""
    kind, config = channel_kind(found.kind), reveal(found)
    if "form" not in given and kind is not None and Action.MANAGE_CHANNELS in actions:
        given["form"] = ChannelForm(found.team, kind, config or {}, instance=found)
    context = {
        "channel": found,
        "team": found.team,
        "kind": kind,
        "label": label_of(found),
        "place": place_of(found, config),
        "waiting": waiting_of(found, config),
        "request_url": request_url_of(found),
        "unreadable": config is None or (kind is not None and not is_complete(kind, config)),
        "disabled_why": words(found.disabled_why),
        "deliveries": deliveries_of(found),
        "actions": actions,
    }
    return render(request, "dashboard/notifications/channel.html", context | links_of_messages(request) | given)
