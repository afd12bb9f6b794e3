"""Alerts that others send: what is taken, and what verdicts make of it."""

import json
import subprocess
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from metrics import alerting
from metrics.alerting import new_token
from metrics.configuring import add_source
from metrics.models import Alert as Stored
from metrics.models import Source
from projects.services import NewProject, create_project
from security.limits import Rate
from tests.processes import free_port, wait_for
from tests.system_tools import require

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture
def made() -> NewProject:
    return create_project("shop", environment="prod", endpoint="https://shop.example/m")


@pytest.fixture
def token(made: NewProject) -> str:
    return new_token(add_source(made.environment, "alerts", {}))


def send(token: str, body: Any, *, status: int = 200) -> dict[str, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body)
    response = Client().post(f"/alerts/{token}", content, content_type="application/json")
    assert response.status_code == status, response.content
    found: dict[str, Any] = response.json()
    return found


def alert(name: str = "HighLatency", *, started: datetime | None = None, **fields: Any) -> dict[str, Any]:
    labels = {"alertname": name, "severity": "critical", **fields.pop("labels", {})}
    started = started or timezone.now() - MINUTE
    given = {"status": "firing", "labels": labels, "startsAt": started.isoformat(), "endsAt": "0001-01-01T00:00:00Z"}
    return {**given, "fingerprint": name, **fields}


def test_alerts_are_no_source_of_samples_and_one_row_however_often_they_come(made: NewProject, token: str) -> None:
    made.environment.refresh_from_db()
    assert made.environment.asks_endpoint
    assert made.environment.source_kinds == []
    one = alert(labels={"password": "marked-secret", "url": "https://u:marked-secret@h/", "pod": "a" * 999})
    for _ in range(3):
        assert send(token, {"version": "4", "status": "firing", "alerts": [one]}) == {"taken": 1, "left_out": 0}
    row = Stored.objects.get()
    assert (row.name, row.level, row.ends_at) == ("HighLatency", "critical", None)
    assert "marked-secret" not in json.dumps(row.labels)
    send(token, {"alerts": [{**one, "status": "resolved", "endsAt": timezone.now().isoformat()}]})
    assert Stored.objects.get().ends_at is not None
    send(token, {"alerts": [alert(started=timezone.now())]})  # again
    again = Stored.objects.get()
    assert again.ends_at is None
    assert len(again.earlier) == 1


@pytest.mark.parametrize(
    ("body", "name", "level"),
    [
        ({"title": "Disk full", "severity": "page"}, "Disk full", "critical"),
        ({"alerts": [{"name": "Slow", "priority": "P2"}]}, "Slow", "warning"),
        ({"ruleName": "Errors", "state": "alerting", "title": None}, "Errors", "warning"),
        (
            {"alerts": [{"labels": {"alertname": "Watchdog", "severity": "none"}, "status": "firing"}]},
            "Watchdog",
            "ignored",
        ),
    ],
)
def test_webhooks_of_others_are_read(token: str, body: Any, name: str, level: str) -> None:
    send(token, body)
    row = Stored.objects.get()
    assert (row.name, row.level) == (name, level)
    over = {"status": "resolved", "state": "ok"}
    send(token, {"alerts": [{**one, **over} for one in body["alerts"]]} if "alerts" in body else {**body, **over})
    assert Stored.objects.get().ends_at is not None


@pytest.mark.parametrize("body", [b"{", b"\xff", [], 7, {}, {"alerts": 7}, {"alerts": [7]}, {"alerts": [{}]},
                                  {"alerts": [{"title": "x"}] * 1001}])  # fmt: skip
def test_what_is_no_webhook_is_refused(token: str, body: Any) -> None:
    assert send(token, body, status=400)["error"]["message"]


IMPOSSIBLE = ("1970-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "x", 7)


@pytest.mark.parametrize("at", IMPOSSIBLE)
def test_impossible_times_are_those_of_receipt(token: str, at: Any) -> None:
    before = timezone.now() - MINUTE
    for status in ("firing", "resolved"):
        send(token, {"alerts": [{**alert(), "startsAt": at, "endsAt": at, "status": status}]})
    row = Stored.objects.get()
    assert row.ends_at is not None
    assert before < row.starts_at <= row.ends_at <= timezone.now()


def test_what_fires_is_known_although_there_are_too_many(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerting, "MOST_KNOWN", 2)
    names = [alert(str(number)) for number in range(5)]
    assert send(token, {"alerts": names}) == {"taken": 2, "left_out": 3}
    assert send(token, {"alerts": [{**one, "status": "resolved"} for one in names]}) == {"taken": 2, "left_out": 3}
    assert Stored.objects.filter(ends_at__isnull=False).count() == 2
    Stored.objects.update(seen_at=timezone.now() - timedelta(days=31))
    alerting.prune()
    assert not Stored.objects.exists()


def test_an_address_is_shown_once_and_can_be_revoked(made: NewProject) -> None:
    out = StringIO()
    for _ in range(2):
        call_command("alert_address", "shop", "--env", "prod", stdout=out)
    first, second = (line.removeprefix("/alerts/") for line in out.getvalue().split())
    unknown = send("spal_unknown", {"title": "x"}, status=404)
    assert send(first, {"title": "x"}, status=404) == unknown
    send(second, {"title": "x"})
    assert second not in str(Source.objects.values("config", "alert_token__digest"))
    call_command("alert_address", "shop", "--env", "prod", "--revoke")
    assert send(second, {"title": "x"}, status=404) == unknown
    with pytest.raises(CommandError, match="no address"):
        call_command("alert_address", "shop", "--env", "prod", "--revoke")


@pytest.mark.django_db(transaction=True)
def test_an_alertmanager_sends(token: str, live_server: Any, tmp_path: Path) -> None:
    config = {
        "route": {"receiver": "seqpulse", "group_wait": "0s", "group_interval": "1s"},
        "receivers": [{"name": "seqpulse", "webhook_configs": [{"url": f"{live_server.url}/alerts/{token}"}]}],
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    options = [f"--config.file={tmp_path}/config.yml", f"--storage.path={tmp_path}", "--cluster.listen-address="]
    command = [require("prometheus-alertmanager"), *options, f"--web.listen-address=127.0.0.1:{port}"]
    started = timezone.now() - 3 * MINUTE

    def sent(**times: str) -> bool:
        alerts = [{"labels": {"alertname": "Checkout", "severity": "page"}, "startsAt": started.isoformat(), **times}]
        try:
            return requests.post(f"http://127.0.0.1:{port}/api/v2/alerts", json=alerts, timeout=5).ok
        except requests.ConnectionError:
            return False

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(sent, "the Alertmanager")
        wait_for(lambda: Stored.objects.filter(level="critical", ends_at=None).exists(), "the alert")
        sent(endsAt=timezone.now().isoformat())
        wait_for(lambda: Stored.objects.exclude(ends_at=None).exists(), "its end")
    finally:
        process.terminate()
        process.wait(10)
    assert abs(Stored.objects.get().starts_at - started) < timedelta(seconds=1)


def test_the_address_is_made_by_api_and_the_one_before_is_invalid(made: NewProject) -> None:
    first = address_by_api(made)
    assert send(first.rpartition("/")[2], alert())["taken"] == 1
    second = address_by_api(made)
    assert Source.objects.filter(kind="alerts").count() == 1
    send(first.rpartition("/")[2], alert(), status=404)
    assert send(second.rpartition("/")[2], alert())["taken"] == 1


def address_by_api(made: NewProject) -> str:
    response = Client().post("/environments/prod/alert-address", headers={"X-API-Key": made.api_key})
    assert response.status_code == 200, response.content
    url: str = response.json()["url"]
    return url


def test_calls_are_counted_by_source(made: NewProject, token: str, settings: Any) -> None:
    settings.SEQPULSE_RATES = {**settings.SEQPULSE_RATES, "alerts": Rate(3, 86400 * 365)}
    settings.SEQPULSE_RATE_LIMITS = True
    other = new_token(add_source(create_project("other", environment="prod").environment, "alerts", {}))
    for _ in range(3):
        send(token, alert())
    refused = Client().post(f"/alerts/{token}", "{}", content_type="application/json")
    assert (refused.status_code, int(refused["Retry-After"]) > 0) == (429, True)
    # Another one behind the same address has its own, and what nobody knows has none.
    assert send(other, alert())["taken"] == 1
    for status in (404, 404, 404, 429):
        send("spal_unknown", alert(), status=status)


def test_a_flood_of_other_alerts_does_not_keep_out_what_may_roll_back(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting, "MOST_KNOWN", 50)
    for number in range(4):
        flood = [alert(f"Noise{number}-{place}", labels={"severity": "warning"}) for place in range(40)]
        send(token, {"alerts": flood})
    assert Stored.objects.count() == 50
    serious = [alert(f"Down{place}") for place in range(10)]
    assert send(token, {"alerts": serious}) == {"taken": 10, "left_out": 0}
    assert Stored.objects.filter(level="critical").count() == 10
    # What is as serious stays, the others are counted as left out.
    assert send(token, {"alerts": [alert(f"More{place}") for place in range(60)]}) == {"taken": 40, "left_out": 20}
    assert set(Stored.objects.values_list("level", flat=True)) == {"critical"}
    assert Stored.objects.filter(name__startswith="Down").count() == 10
