"""The page of what SeqPulse needs from those who operate it."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from dashboard.status.operation import needs, room, versions
from dashboard.tests.pages import shows
from scheduler.models import RestoreTrial
from tests.factories import make_user

pytestmark = pytest.mark.django_db
PAGE = "/dashboard/status/operation/"


def states() -> dict[str, str]:
    return {str(need.title): need.state for need in needs()}


def test_what_is_missing_is_named_first_with_its_setting(client: Client, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    settings.SEQPULSE_PUBLIC_URL = ""
    settings.SEQPULSE_OUTBOUND_ALLOW = ""
    boss = make_user(is_superuser=True, is_staff=True)
    client.force_login(boss)
    page = client.get(PAGE)
    shows(page, "None is sent", "SEQPULSE_EMAIL_URL", "links in notifications lead nowhere", "1 account of the staff")
    shows(page, "PostgreSQL", "metric_samples", "None is open")
    assert [need.state for need in needs()] == sorted((need.state for need in needs()), key="warning info ok".index)

    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.SEQPULSE_PUBLIC_URL = "https://seqpulse.example"
    settings.SESSION_COOKIE_SECURE = True
    Authenticator.objects.create(user=boss, type=Authenticator.Type.TOTP, data={})
    found = states()
    assert [found[name] for name in ("Mail", "Public address", "HTTPS", "Second step")] == ["ok"] * 4


def test_a_restored_backup_is_recorded_and_due_again_after_three_months() -> None:
    assert states()["Restoring a backup"] == "warning"
    for _ in range(2):
        call_command("restore_tried", stdout=StringIO())
        assert states()["Restoring a backup"] == "ok"
    RestoreTrial.objects.update(tried_at=timezone.now() - timedelta(days=93))
    [need] = [need for need in needs() if need.title == "Restoring a backup"]
    assert (need.state, need.text) == ("warning", "Last tried 93 days ago.")


def test_the_own_version_stands_first() -> None:
    name, version = versions()[0]
    assert name == "SeqPulse"
    assert version.count(".") == 2


def test_only_operators_see_it(client: Client) -> None:
    client.force_login(make_user(is_staff=True))
    assert client.get(PAGE).status_code == 403


def test_room_counts_partitions_with_their_table() -> None:
    found = room()
    names = [name for name, _, _ in found.tables]
    assert "metric_samples" in names
    assert not any(name.startswith("metric_samples_") for name in names)
    assert [size for _, size, _ in found.tables] == sorted((size for _, size, _ in found.tables), reverse=True)
