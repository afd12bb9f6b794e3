"""The whole flow across real processes with marked secrets, which must not appear in any output."""

import json
import re
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import requests
from cryptography.fernet import Fernet
from django.conf import settings
from django.db import transaction
from psycopg import sql

from analysis.models import DeploymentVerdict
from deployments.models import Deployment
from deployments.outbox import event_about
from events.outbox import NewEvent, emit
from metrics.configuring import add_source, kind_named, reveal, without_secrets
from notifications.models import Channel
from notifications.rollbacks.policies import send_test, set_policy
from notifications.services import disable_channel
from notifications.tests.receivers import Receiver, receiving
from projects.models import Environment, Project
from projects.public_links import make_link
from projects.services import issue_api_key
from tests.processes import Installation, live_installation, wait_for
from tests.system_tools import run

pytestmark = pytest.mark.e2e

PASSWORD = "pass-word-of-the-operator"
PAGES = (
    "/dashboard/deployments/",
    "/dashboard/projects/",
    "/dashboard/environments/1/settings/",
    "/dashboard/environments/1/rollback/",
    "/admin/",
    "/admin/projects/project/",
    "/admin/projects/environment/",
    "/admin/projects/environment/1/change/",
    "/admin/projects/apikey/",
    "/admin/scheduler/scheduledjob/",
    "/admin/deployments/deployment/",
    "/admin/notifications/rollbackattempt/",
    "/admin/notifications/rollbackattempt/1/change/",
    "/admin/events/event/",
    "/admin/notifications/channel/",
    "/admin/notifications/delivery/",
    "/health",
    "/api/schema",
    "/nowhere",
)


@dataclass
class Flow:
    """All output by source, and the secrets that must not be in it, by name."""

    site: Installation
    marked: dict[str, str]
    written: dict[str, str]

    def found(self) -> list[str]:
        return [
            f"{name} in {place}"
            for place, text in self.written.items()
            for name, secret in self.marked.items()
            if secret in text
        ]


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    encryption_key, secret_key = Fernet.generate_key().decode(), f"secret-key-{secrets.token_hex(30)}"
    password = f"database-{secrets.token_hex(8)}"
    directory = tmp_path_factory.mktemp("flow")
    chosen = {
        "SECRET_KEY": secret_key,
        "SEQPULSE_ENCRYPTION_KEYS": encryption_key,
        "LOG_LEVEL": "debug",
        "SEQPULSE_RATE_LIMITS": "on",
        "SEQPULSE_HTTPS": "off",
    }
    with live_installation(directory, **chosen) as site, receiving() as receiver:
        if settings.EMBEDDED_DATABASE:
            # The embedded server accepts any password.
            site.env["DATABASE_URL"] = re.sub(r"(?<=//)([^:@/]+)[^@/]*@", rf"\1:{password}@", site.env["DATABASE_URL"])
        assert password in site.env["DATABASE_URL"] or not settings.EMBEDDED_DATABASE
        marked = {"SECRET_KEY": secret_key, "encryption key": encryption_key, "database password": password}
        written = run_everything(site, marked, receiver)
        yield Flow(site, marked, written)


def run_everything(site: Installation, marked: dict[str, str], receiver: Receiver) -> dict[str, str]:
    """Run good and bad deployments, pages, commands and failures; return the output by source."""
    made = site.project("marked", "--hmac")
    # The first nine characters of a key are shown on purpose.
    marked["API key"], marked["HMAC secret"] = made["api_key"][9:], made["hmac_secret"][5:]
    marked["operator's password"] = PASSWORD
    written = {
        "createsuperuser": site.manage(
            "createsuperuser",
            "--noinput",
            "--username",
            "root",
            DJANGO_SUPERUSER_PASSWORD=PASSWORD,
            DJANGO_SUPERUSER_EMAIL="root@example.org",
        )
    }
    channels = plant_channels(site, marked, receiver)
    site.manage("collectstatic", "--noinput", "--verbosity", "0")
    site.start_web()
    poller = site.start_poller()
    good = site.start_endpoint(made["hmac_secret"])
    started = {"env": "prod", "metrics_endpoint": f"{good}/signed"}
    key = made["api_key"]
    for body in (started, {**started, "metrics_endpoint": f"http://user:{key}@127.0.0.1/"}, {"env": 7}):
        written[f"trigger {body}"[:60].replace(key, "")] = site.call("POST", "/deployments/trigger", key, body).text
    deployment = json.loads(next(iter(text for name, text in written.items() if name.startswith("trigger"))))
    finish = {"deployment_id": deployment["deployment_id"], "result": "success"}
    written["finish"] = site.call("POST", "/deployments/finish", key, finish).text
    written["verdict"] = json.dumps(site.verdict_of(deployment["deployment_id"], key))
    written["key in the address"] = site.call("GET", f"/deployments?api_key={key}", "").text
    # Django's own log record carries the request as an object.
    wrong_host = requests.get(f"{site.site}/?api_key={key}", headers={"Host": "elsewhere.example"}, timeout=10)
    assert wrong_host.status_code == 400
    written["key in the address, wrong host"] = wrong_host.text
    written["wrong key"] = site.call("GET", "/deployments", key + "x").text
    written |= refused_signature(site)
    written |= refused_credentials(site, marked)
    written |= public_links(site, marked)
    written |= alerts_sent(site, marked, key)
    roll_back(site, deployment["deployment_id"], marked)
    answered = (
        "SELECT count(*) FROM notification_deliveries WHERE channel_id = %s AND state = 'failed' AND answer <> ''"
    )
    wait_for(lambda: site.rows(answered, channels[0].pk)[0][0], "the receiver to repeat what it was sent")
    refused = (
        "SELECT count(*) FROM notification_deliveries WHERE channel_id = %s AND attempts > 0 AND error IS NOT NULL"
    )
    wait_for(lambda: site.rows(refused, channels[1].pk)[0][0], "an attempt at a closed port")
    written |= pages(site, deployment["deployment_id"], channels)
    away = site.env["DATABASE_URL"].partition("?")[0].replace("@/", "@127.0.0.1:1/")
    for command in ("migrate", "rotate_secrets", "cleanup_metrics"):
        written[f"{command} without a database"] = failing(site, command, away)
    written["rotate_secrets"] = site.manage("rotate_secrets")
    poller.terminate()
    poller.wait(20)
    written |= {f"log of {path.stem}": site.log(path.stem) for path in site.log_dir.glob("*.log")}
    return written | tables(site)


def alerts_sent(site: Installation, marked: dict[str, str], key: str) -> dict[str, str]:
    """Make an address for alerts, whose answer shows it this once, and send there what is taken and what is not."""
    url = site.call("POST", "/environments/prod/alert-address", key).json()["url"]
    marked["address for alerts"] = url.rpartition("spal_")[2]
    bodies = (json.dumps({"title": "x", "status": "firing", "annotations": {"url": url}}), "{", "[]")
    written = {f"alerts {body}"[:12]: requests.post(url, body, timeout=10).text for body in bodies}
    return {**written, "alerts by GET": requests.get(f"{url}?x", timeout=10).text}


def plant_channels(site: Installation, marked: dict[str, str], receiver: Receiver) -> list[Channel]:
    """Make channels whose secrets are marked: one whose receiver repeats what it gets, and one whose port is closed."""
    parts = (
        "path",
        "query",
        "refused path",
        "signing secret",
        "Slack token",
        "Slack secret",
        "bot token",
        "routing key",
    )
    marked |= {f"channel's {name}": f"{name.replace(' ', '-')}-{secrets.token_hex(12)}" for name in parts}
    path, query, refused, signing, token, secret, bot, routing = (marked[f"channel's {name}"] for name in parts)
    wanted: list[tuple[str, dict[str, str]]] = [
        ("webhook", {"url": receiver.at(f"/echo/{path}/hook?token={query}"), "secret": signing}),
        ("slack", {"url": f"http://127.0.0.1:9/{refused}"}),
        ("slack_bot", {"token": token, "channel": "C01", "signing_secret": secret}),
        ("telegram", {"token": bot, "chat": "1"}),
        ("pagerduty", {"routing_key": routing}),
    ]
    with site.here():
        team = Project.objects.get(name="marked").team
        made = [
            Channel.objects.create(team=team, kind=kind, name=kind, config=json.dumps(config), least_severity="info")
            for kind, config in wanted
        ]
        # What these send to is no receiver of ours.
        for channel in made[2:]:
            disable_channel(channel)
        emit(NewEvent("key_made", team.pk))
    return made


def refused_signature(site: Installation) -> dict[str, str]:
    """Run a deployment whose endpoint expects another secret: the error is stored with the job."""
    other = site.start_endpoint("sphs_another")
    [key] = site.projects([{"name": "refused", "endpoint": f"{other}/signed", "signed": True}])
    deployment = site.deploy(key)
    return {"verdict of refused": json.dumps(site.verdict_of(deployment, key))}


def refused_credentials(site: Installation, marked: dict[str, str]) -> dict[str, str]:
    """Run a deployment whose sources are refused, each with credentials of its own."""
    names = ("header", "password", "token", "query")
    marked |= {f"source's {name}": f"{name}-{secrets.token_hex(12)}" for name in names}
    header, password, token, query = (marked[f"source's {name}"] for name in names)
    url = f"{site.start_endpoint('sphs_another')}/signed"
    configs: list[tuple[str, dict[str, object]]] = [
        ("endpoint", {"url": url, "headers": {"X-Key": header}, "username": "us", "password": password}),
        (
            "openmetrics",
            {"targets": [f"{url}?key={query}", f"{url}/2"], "headers": {"Authorization": f"Bearer {token}"}},
        ),
    ]
    [key] = site.projects([{"name": "sources", "signed": True}])
    with site.here():
        environment = Environment.objects.get(project__name="sources")
        for kind, config in configs:
            source = add_source(environment, kind, config)
            assert not set(without_secrets(kind_named(kind), reveal(source))) & {"headers", "password"}
    deployment = site.deploy(key)
    return {"verdict of sources": json.dumps(site.verdict_of(deployment, key))}


def public_links(site: Installation, marked: dict[str, str]) -> dict[str, str]:
    """Open a public link of each kind, and the same addresses after it was revoked."""
    written = {}
    for kind, path in (("feed", "/feeds/{}.atom"), ("badge", "/badges/{}.svg"), ("page", "/public/{}/")):
        with site.here():
            project = Project.objects.earliest("pk")
            shown = list(project.environments.values_list("pk", flat=True)[:1])
            token = make_link(project, {"kind": kind, "title": "shop", "environments": shown}, by=None)
        marked[f"token of a {kind}"] = token.removeprefix("spl_")
        answer = requests.get(site.site + path.format(token), timeout=10)
        assert answer.status_code == 200
        written[f"public {kind}"] = answer.text
    with site.here():
        project.public_links.filter(kind="feed").delete()
    revoked = site.site + "/feeds/spl_" + marked["token of a feed"] + ".atom"
    assert requests.get(revoked, timeout=10).status_code == 404
    return written


def roll_back(site: Installation, deployment: str, marked: dict[str, str]) -> None:
    """Have the deployment rolled back by a webhook that cannot be reached, and send it a test."""
    marked["rollback address"], marked["rollback secret"] = secrets.token_hex(16), secrets.token_hex(16)
    url, secret = f"http://127.0.0.1:1/{marked['rollback address']}", f"whsec_{marked['rollback secret']}"
    with site.here(), transaction.atomic():
        found = Deployment.objects.select_related("project", "environment").get(uuid=deployment)
        set_policy(found.environment, mode="automatic", url=url, secret=secret)
        DeploymentVerdict.objects.filter(deployment=found).update(verdict="rollback_recommended", conclusive=True)
        assert send_test(found.environment).why is not None
        emit(event_about(found, "verdict_issued"))
    wait_for(lambda: site.rows("SELECT 1 FROM rollback_attempts WHERE state = 'failed'"), "the rollback to fail")


def failing(site: Installation, command: str, database_url: str) -> str:
    """Return the output of a command that cannot reach its database."""
    result = run(sys.executable, "manage.py", command, env={**site.env, "DATABASE_URL": database_url})
    assert result.returncode != 0
    return result.stdout + result.stderr


def pages(site: Installation, deployment: str, channels: list[Channel]) -> dict[str, str]:
    """Return the pages that a superuser sees."""
    session = requests.Session()
    form = session.get(f"{site.site}/accounts/login/", timeout=10)
    wrong = site.sign_in(session, "nobody", PASSWORD)
    assert site.sign_in(session, "root", PASSWORD).url.endswith("/dashboard/")
    found = {"sign-in": form.text + wrong.text}
    of_channels = [f"/dashboard/channels/{channel.uuid}/" for channel in channels]
    in_admin = [f"/admin/notifications/channel/{channel.pk}/change/" for channel in channels]
    for path in (*PAGES, f"/dashboard/deployments/{deployment}/", *of_channels, *in_admin):
        answer = session.get(site.site + path, timeout=10)
        assert answer.status_code == (404 if path == "/nowhere" else 200), path
        found[path] = answer.text + str(answer.headers)
    return found


def tables(site: Installation) -> dict[str, str]:
    """Return every row of every table, as text."""
    found = {}
    with psycopg.connect(site.database_url) as link:
        names = link.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (name,) in names:
            with link.cursor().copy(sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(name))) as rows:
                found[f"table {name}"] = b"".join(bytes(row) for row in rows).decode()
    return found


def test_no_secret_is_in_anything_that_was_written(flow: Flow) -> None:
    assert flow.found() == []


def test_what_was_searched_is_what_happened(flow: Flow) -> None:
    logs = flow.written["log of web"]
    assert "request_finished" in logs
    assert "[redacted]" in logs
    assert [line for line in logs.splitlines() if "DisallowedHost" in line and "Utf8Request" in line]
    assert "jobs_completed" in flow.written["log of poller"]
    assert "sphs_" not in flow.written["table projects_environment"]
    assert "gAAAA" in flow.written["table projects_environment"]
    assert "secret is wrong" in flow.written["table scheduled_jobs"]
    assert len(flow.written["table metric_samples"].splitlines()) >= 6
    assert "marked" in flow.written["/admin/projects/project/"]
    # The receiver's answer is kept, without what it repeats of the channel.
    assert "webhook-signature" in flow.written["table notification_deliveries"].lower()
    assert "/echo" not in flow.written["table notification_deliveries"]


def test_a_key_that_is_revoked_ends_at_once_and_the_others_go_on(flow: Flow) -> None:
    site = flow.site
    with site.here():
        marked = Project.objects.get(name="marked")
        both = [issue_api_key(marked, name) for name in ("ci", "cd")]
    used = "SELECT count(*) FROM projects_apikey WHERE name IN ('ci', 'cd') AND last_used_at IS NOT NULL"
    assert [site.call("GET", "/deployments", key).status_code for key in both] == [200, 200]
    wait_for(lambda: site.rows(used)[0][0] == 2, "both keys to show their last use")
    site.rows("UPDATE projects_apikey SET revoked_at = now() WHERE name = 'ci'")
    assert [site.call("GET", "/deployments", key).status_code for key in both] == [401, 200]


def test_another_encryption_key_takes_over_while_a_poller_runs(flow: Flow, tmp_path: Path) -> None:
    site, old = flow.site, flow.marked["encryption key"]
    new = Fernet.generate_key().decode()
    site.env["SEQPULSE_ENCRYPTION_KEYS"] = f"{old},{new}"
    made = site.project("rotated", "--hmac")
    endpoint = site.start_endpoint(made["hmac_secret"])
    started = {"metrics_endpoint": f"{endpoint}/signed"}
    site.start_poller("throughout")
    assert "encrypted with the first key" in site.manage("rotate_secrets", SEQPULSE_ENCRYPTION_KEYS=f"{new},{old}")
    with site.late_expiry():
        deployment = site.deploy(made["api_key"], **started)
    assert site.verdict_of(deployment, made["api_key"])["samples"]["collected"] == 5
    # The old key is not needed any longer.
    assert "0 secrets encrypted with the first key, 14 were already" in site.manage(
        "rotate_secrets", SEQPULSE_ENCRYPTION_KEYS=new
    )
