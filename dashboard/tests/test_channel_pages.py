"""Channels and freezes in Chromium: from the first channel to a delivery that failed."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from lxml import etree
from playwright.sync_api import Page, expect

from accounts.models import Role, User
from accounts.tests.factories import make_membership, make_team
from dashboard.notifications.forms import ChannelForm
from dashboard.teams.freezes import FreezeForm
from dashboard.tests.browsing import look, sign_in, submit
from notifications.channels.pagerduty import PagerDuty
from notifications.channels.webhook import Webhook
from notifications.models import Channel, Delivery
from notifications.services import change_channel
from notifications.tests.factories import make_channel
from notifications.tests.receivers import receiving
from projects.tests.factories import make_environment, make_project

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_channel_from_its_form_to_a_failed_delivery(site: Page, live_server: Any, settings: Any, user: User) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    team = make_team(name="Payments")
    make_membership(team=team, user=user, role=Role.ADMIN)
    make_environment(project=make_project(team=team, name="shop"), name="prod")
    sign_in(site, live_server, f"/dashboard/teams/{team.pk}/channels/")
    look(site, "channels-none", text="No channel yet")
    site.get_by_role("link", name="Webhook", exact=True).click()
    site.get_by_text("Which events, and when").click()
    look(site, "channel-new", heading="New channel: Webhook")
    submit(site, "Make the channel", {"URL": "ftp://x"})
    look(site, "channel-wrong", text="Nothing was changed. Look at the fields that are marked.")
    with receiving((200, {}, b"thanks"), (410, {}, b"gone")) as receiver:
        submit(site, "Make the channel", {"URL": receiver.url}, text="Store this now")
        secret = site.locator("#signing-secret").inner_text()
        assert secret.startswith("whsec_")
        submit(site, "Send a test", text="The receiver answered: 200 thanks")
        assert secret not in site.content() and receiver.url not in site.content()
        submit(site, "Send a test", text="The test failed")
    [(_, headers, _), _] = receiver.requests
    assert "webhook-signature" in headers
    channel = Channel.objects.get()
    assert channel.disabled_at is not None
    assert Delivery.objects.filter(event__kind="test", state="failed", answer_status=410).exists()
    look(site, "channel", text="Disabled just now: nothing is sent.")
    submit(site, "Use it again", text="The channel is in use again.")
    site.goto(f"{live_server.url}/dashboard/teams/{team.pk}/channels/")
    look(site, "channels", text="In use")


def test_the_page_of_a_slack_bot_says_where_its_buttons_go(
    site: Page, live_server: Any, settings: Any, user: User
) -> None:
    settings.SEQPULSE_PUBLIC_URL = "https://seqpulse.example.com"
    team = make_team(name="Payments")
    make_membership(team=team, user=user, role=Role.ADMIN)
    config = {"token": "xoxb-marked", "channel": "C1", "signing_secret": "marked-signing"}
    channel = make_channel(team=team, kind="slack_bot", config=config)
    sign_in(site, live_server, f"/dashboard/channels/{channel.uuid}/")
    look(site, "channel-slack-bot", text="For the buttons: enter it in")
    address = reverse("slack-actions", args=[channel.uuid])
    expect(site.locator("#request-url")).to_have_text(f"https://seqpulse.example.com{address}")
    assert "marked" not in site.content()
    expect(site.get_by_text("https://seqpulse.example.com", exact=True)).to_be_visible()
    settings.SEQPULSE_PUBLIC_URL = ""
    for path in (f"/dashboard/channels/{channel.uuid}/", f"/dashboard/teams/{team.pk}/channels/new/webhook/"):
        site.goto(live_server.url + path)
        expect(site.get_by_text(f"SEQPULSE_PUBLIC_URL={live_server.url} make run")).to_be_visible()


def test_a_freeze_is_begun_and_lifted(site: Page, live_server: Any, user: User) -> None:
    team = make_team(name="Payments")
    make_membership(team=team, user=user, role=Role.MEMBER)
    make_environment(project=make_project(team=team, name="shop"), name="prod")
    sign_in(site, live_server, f"/dashboard/teams/{team.pk}/freezes/")
    submit(site, "Freeze", {"Reason": "Black Friday"}, text="The freeze is stored")
    site.get_by_text("Every week").click()
    site.get_by_label("From weekday").select_option("4")
    submit(site, "Freeze", {"Reason": "Weekend"}, text="Nothing was changed")
    look(site, "freeze-wrong")
    site.get_by_label("Until weekday").select_option("0")
    for field, value in (("from_time", "16:00"), ("until_time", "08:00")):
        site.locator(f"[name={field}]").fill(value)
    submit(site, "Freeze", text="The freeze is stored")
    look(site, "freezes")
    submit(site, "Lift Black Friday", text="The freeze is lifted.")
    expect(site.get_by_text("Black Friday")).to_have_count(0)


@pytest.mark.parametrize(
    ("kind", "config", "text"),
    [
        ("webhook", "gAAAAAnothing", "cannot be read"),
        ("webhook", "{}", "cannot be read"),
        ("webhook", '{"url": 5}', "cannot be read"),
        ("email", "[]", "cannot be read"),
        ("carrier_pigeon", "{}", "does not know this kind of channel"),
    ],
)
def test_a_channel_that_is_broken_says_so_and_can_be_deleted(
    client: Client, user: User, kind: str, config: str, text: str
) -> None:
    team = make_team(name="Payments")
    make_membership(team=team, user=user, role=Role.ADMIN)
    channel = make_channel(team=team, kind=kind)
    if config.startswith("gA"):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE notification_channels SET config = %s", [config])
    else:
        Channel.objects.update(config=config)
    client.force_login(user)
    page = f"/dashboard/channels/{channel.uuid}/"
    assert text in client.get(page).content.decode()
    assert client.get(f"/dashboard/teams/{team.pk}/channels/").status_code == 200
    assert client.post(f"{page}test/").status_code == (404 if kind == "carrier_pigeon" else 302)
    assert text in client.get(page).content.decode()
    assert client.post(f"{page}delete/").status_code == 302 and not Channel.objects.exists()


def test_a_channel_is_made_once_however_often_its_form_is_sent(client: Client, user: User) -> None:
    team = make_team(name="Payments")
    make_membership(team=team, user=user, role=Role.ADMIN)
    client.force_login(user)
    page = f"/dashboard/teams/{team.pk}/channels/new/webhook/"
    [token] = etree.HTML(client.get(page).content.decode()).xpath("//main//input[@name='sent']/@value")
    form = {"name": "hook", "config-url": "https://hooks.example.com/", "sent": token}
    assert "whsec_" in client.post(page, form).content.decode()
    again = client.post(page, form, follow=True).content.decode()
    assert "This channel was made already." in again and "whsec_" not in again
    assert Channel.objects.count() == 1


def test_secrets_in_a_form_that_no_receiver_could_use_are_refused(user: User) -> None:
    team = make_team()
    key = base64.b64encode(b"k" * 24).decode()
    for kind, field, wrong, right in (
        (
            Webhook(),
            "secret",
            ("a", "whsec_", "whsec_!!!", "whsec_" + "e" * 30, key[:-1], "-" + key),
            (key, f"whsec_{key}"),
        ),
        (PagerDuty(), "routing_key", ("x", "R" * 31, "R" * 33, "é" * 32), ("R0" * 16,)),
    ):
        for value in (*wrong, *right):
            data = {"name": "ops", "config-url": "https://hooks.example.com/", f"config-{field}": value}
            errors = list(ChannelForm(team, kind, {}, data, initial={"time_zone": "UTC"}).errors)
            assert errors == ([f"config-{field}"] if value in wrong else []), value


def test_a_freeze_ends_in_the_future_and_after_it_starts() -> None:
    team, now = make_team(), timezone.now()
    weekly = {"from_weekday": "4", "from_time": "16:00", "until_weekday": "0", "until_time": "8:00"}
    # From and until, in days from now.
    for start, end, errors in (
        (None, None, []),
        (-9, 1, []),
        (1, 2, []),
        (None, -1, ["ends_at"]),
        (-9, -1, ["ends_at"]),
        (2, 1, ["ends_at"]),
        (2, 2, ["ends_at"]),
    ):
        times = {"starts_at": start, "ends_at": end}
        given = {name: f"{now + timedelta(days=day):%Y-%m-%dT%H:%M}" for name, day in times.items() if day is not None}
        for more in ({}, weekly):
            form = FreezeForm(team, "UTC", {"reason": "Black Friday", "time_zone": "UTC", **given, **more})
            assert list(form.errors) == errors, (start, end)
    for reason in ("", "  ", "\u200b\u200d"):
        assert list(FreezeForm(team, "UTC", {"reason": reason, "time_zone": "UTC"}).errors) == ["reason"]


def test_a_time_zone_with_an_old_name_stays_chosen(client: Client, user: User) -> None:
    user.time_zone = "US/Eastern"
    user.save()
    team = make_team(name="Payments")
    make_membership(team=team, user=user, role=Role.ADMIN)
    channel = make_channel(team=team, kind="webhook", time_zone="US/Pacific")
    client.force_login(user)
    for page, zone in (
        (f"/dashboard/teams/{team.pk}/freezes/", "US/Eastern"),
        (f"/dashboard/teams/{team.pk}/channels/new/webhook/", "US/Eastern"),
        (f"/dashboard/channels/{channel.uuid}/", "US/Pacific"),
    ):
        root = etree.HTML(client.get(page).content.decode())
        assert root.xpath("//select[@name='time_zone']//option[@selected]/@value") == [zone]
    path = f"/dashboard/channels/{channel.uuid}/"
    assert client.post(path, {"name": "hook", "time_zone": "US/Pacific"}).status_code == 302
    channel.refresh_from_db()
    assert (channel.name, channel.time_zone) == ("hook", "US/Pacific")


def test_a_channel_that_was_deleted_meanwhile_does_not_come_back(user: User) -> None:
    channel = make_channel()
    deleted = Channel.objects.get(pk=channel.pk)
    channel.delete()
    with pytest.raises(Channel.DoesNotExist):
        change_channel(deleted, Webhook(), {"url": "https://hooks.example/", "secret": ""}, {"name": "again"})
    assert not Channel.objects.exists()
