"""E-mail: what is sent, to whom, and what becomes of it when the mail server does not take it."""

import asyncio
import json
import re
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.test import Client
from django.utils import timezone, translation
from PIL import Image

from accounts.models import Membership, Team
from accounts.tests.factories import make_team, make_user
from analysis.chart_image import apart, png_of, title_of
from analysis.charts import Chart, Span, draw
from analysis.judge.types import Check
from deployments.tests.factories import make_deployment
from events.models import Event
from metrics.tests.factories import make_samples
from notifications import recipients as asking
from notifications.channels import channel_kind, email
from notifications.channels.base import Asked, SendError
from notifications.channels.email import Email
from notifications.describing import describe
from notifications.drawing import charts_of
from notifications.models import Delivery
from notifications.recipients import Recipient, addresses_in, ask, decide, digest_of, recipients_of, token_of, wrong_in
from notifications.services import send_test
from notifications.tests.factories import make_channel
from notifications.tests.mail_servers import MailServer, dripping_mail_server, mail_server
from notifications.tests.test_channels import HOSTILE, MESSAGE

ANA, BOB = (Recipient(f"{name}@example.org", digest_of(name), f"https://sp.example/{name}") for name in ("ana", "bob"))


def send(*recipients: Recipient, message: Any = MESSAGE, reference: str = "") -> Any:
    return Email().send({"recipients": list(recipients), "reference": reference}, message)


def test_a_mail_has_text_html_and_the_headers_of_a_thread() -> None:
    with mail_server() as server:
        sent = send(ANA, message=replace(MESSAGE, details=("a < b", HOSTILE[:200])))
    [(to, got)] = server.taken
    assert (to, sent.status, sent.reference) == ("ana@example.org", 250, "")
    assert got["Subject"].strip().startswith("🔴 shop prod #84 (7c1f2a, ana")
    assert got["To"] == "ana@example.org" and got["Auto-Submitted"] == "auto-generated"
    assert got["Message-ID"].strip() == "<3f.7@localhost>"
    assert got["References"] == got["In-Reply-To"] == f"<3f.{MESSAGE.deployment}@localhost>"
    assert got["List-Unsubscribe"] == "<https://sp.example/ana>" and "One-Click" in got["List-Unsubscribe-Post"]
    text = got.get_body(("plain",)).get_content()
    html = got.get_body(("html",)).get_content()
    assert MESSAGE.headline in text and MESSAGE.link in text and "https://sp.example/ana" in text
    assert "a &lt; b" in html and "<a href=x>" not in html and MESSAGE.link in html


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_mail_is_in_the_language_of_its_channel(language: str) -> None:
    with mail_server() as server:
        send(ANA, message=replace(MESSAGE, language=language))
    said = server.taken[0][1].get_body(("plain",)).get_content()
    assert ("Stop these mails" in said) == (language == "en")


def test_no_text_of_others_becomes_a_header() -> None:
    with pytest.raises(ValueError, match="newline"), mail_server():
        # Headlines are one line (notifications/plain.py); if one ever was not, nothing is sent.
        send(ANA, message=replace(MESSAGE, headline="x\r\nBcc: eve@example.org"))


def test_who_has_a_mail_does_not_get_it_again_with_the_next_attempt() -> None:
    with mail_server(answers={BOB.address: "451 4.7.1 greylisted"}) as server:
        with pytest.raises(SendError) as raised:
            send(ANA, BOB)
        assert raised.value.retry and raised.value.sent.status == 451
        assert "greylisted" in raised.value.sent.answer
        server.answers.clear()
        send(ANA, BOB, reference=raised.value.sent.reference)
    assert [to for to, _ in server.taken] == [ANA.address, BOB.address]


def test_an_address_that_is_refused_for_good_does_not_keep_others_from_theirs() -> None:
    with mail_server(answers={ANA.address: "550 no such user"}) as server:
        sent = send(ANA, BOB)
        with pytest.raises(SendError) as raised:
            send(ANA)
    assert [to for to, _ in server.taken] == [BOB.address] and sent.answer == "1/2 no such user"
    assert not raised.value.retry and raised.value.sent.status == 550


@pytest.mark.parametrize(("answer", "retry"), [("421 closing", True), ("452 full", True), ("554 spam", False)])
def test_what_the_server_says_of_the_content_decides_whether_it_is_tried_again(answer: str, retry: bool) -> None:
    with mail_server(after_data=[answer]), pytest.raises(SendError) as raised:
        send(ANA)
    assert raised.value.retry is retry and raised.value.sent.status == int(answer[:3])


def test_a_server_that_drips_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Email, "deadline_s", 0.3)
    with dripping_mail_server(), pytest.raises(SendError) as raised:
        send(ANA)
    assert raised.value.retry and raised.value.fact.code == "delivery.no_answer"


def test_a_mail_that_was_taken_counts_though_the_server_drips_its_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    async def drips(_handler: Any, server: Any, *_args: Any) -> str:
        for _ in range(60):
            server.transport.write(b"2")
            await asyncio.sleep(0.05)
        ended.append(True)
        return "221 bye"

    monkeypatch.setattr(MailServer, "handle_QUIT", drips, raising=False)
    monkeypatch.setattr(email, "GOODBYE_S", 0.2)
    with mail_server() as server:
        assert send(ANA).status == 250
        assert not ended
    assert [to for to, _ in server.taken] == [ANA.address]


def test_nothing_is_sent_without_a_mail_server_or_a_recipient(settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    for recipients, code in (([ANA], "delivery.no_mail_server"), ([], "delivery.no_recipient")):
        with pytest.raises(SendError) as raised:
            send(*recipients)
        assert raised.value.fact.code == code and not raised.value.retry


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("a@x.org, b@x.org", ""), ("a@x.org b@x.org", "a@x.org b@x.org"), ("ana", "ana"), ("a@x.org,,A@X.org", "")],
)
def test_what_is_no_address_is_named(text: str, wrong: str) -> None:
    assert wrong_in(text) == wrong
    assert len(addresses_in("a@x.org, A@x.org; b@x.org")) == 2


def member(team: Team, address: str, *, verified: bool) -> None:
    user = make_user(email=address)
    Membership.objects.create(team=team, user=user, role="viewer")
    EmailAddress.objects.create(user=user, email=address, verified=verified)


@pytest.mark.django_db
def test_members_get_mail_at_verified_addresses_and_others_once_they_agreed(client: Client, settings: Any) -> None:
    settings.SEQPULSE_PUBLIC_URL = "https://sp.example"
    team = make_team()
    member(team, "vera@example.org", verified=True)
    member(team, "unsure@example.org", verified=False)
    everyone = ["Vera@example.org", "unsure@example.org", "stranger@example.org"]

    def reached() -> list[str]:
        return [one.address for one in recipients_of([(everyone, team.pk)])[0]]

    assert reached() == ["Vera@example.org"]
    for _ in range(2):
        ask(everyone, team, "en")
    assert sorted(one.to[0] for one in mail.outbox) == ["stranger@example.org", "unsure@example.org"]
    [link] = re.findall(r"https://sp\.example(/mail/\S+)", mail.outbox[1].body)
    assert "Yes, I want them" in client.get(link).content.decode() and reached() == ["Vera@example.org"]
    client.post(link, {"agree": "yes"})
    assert reached() == ["Vera@example.org", "stranger@example.org"]
    # One click in a mail program (RFC 8058), without cookies or a form.
    stop = recipients_of([(everyone, team.pk)])[0][1].stop.removeprefix("https://sp.example")
    Client(enforce_csrf_checks=True).post(stop, {"List-Unsubscribe": "One-Click"})
    assert reached() == ["Vera@example.org"]
    mail.outbox.clear()
    ask(everyone, team, "en")
    assert mail.outbox == [], "who said no is not asked again"


class Slow(EmailBackend):
    """Takes mails in more time than there is for all questions."""

    def send_messages(self, messages: Any) -> int:
        sleep(0.05)
        return super().send_messages(messages)


@pytest.mark.django_db
def test_a_slow_mail_server_does_not_hold_up_a_request_for_each_address(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SEQPULSE_PUBLIC_URL = "https://sp.example"
    settings.EMAIL_BACKEND = f"{__name__}.Slow"
    monkeypatch.setattr(asking, "LONGEST_S", 0.04)
    team = make_team()
    for number in (1, 2):
        ask(["one@example.org", "two@example.org"], team, "en")
        assert len(mail.outbox) == number


@pytest.mark.django_db
def test_a_forged_link_is_not_found(client: Client) -> None:
    token = token_of(make_team().pk, digest_of("ana@example.org"))
    for forged in (token[:-1] + ("0" if token[-1] != "0" else "1"), token.replace("spl_", "spl_9"), "x", "spl_1--"):
        assert client.get(f"/mail/{forged}/").status_code == 404
        assert client.post(f"/mail/{forged}/").status_code == 404
    assert client.get(f"/mail/{token}/").status_code == 200


@pytest.mark.django_db
def test_a_channel_sends_a_test_by_mail() -> None:
    team = make_team()
    member(team, "vera@example.org", verified=True)
    channel = make_channel(team=team, kind="email", config={"addresses": "vera@example.org, who@example.org"})
    assert json.loads(channel.config.open())["addresses"]
    kind = channel_kind("email")
    assert kind is not None
    with mail_server() as server:
        outcome = send_test(channel, kind)
    assert outcome.why is None and [to for to, _ in server.taken] == ["vera@example.org"]


@pytest.mark.django_db
def test_the_mail_about_a_verdict_shows_the_chart_of_the_failed_metric(tmp_path: Any) -> None:
    now = timezone.now()
    times = {"started_at": now - timedelta(minutes=20), "finished_at": now - timedelta(minutes=19)}
    deployment = make_deployment(state="finished", **times)
    make_samples(deployment, post=5, error_rate=[0.01, 0.2, 0.25, 0.25, 0.3])
    member(deployment.project.team, "vera@example.org", verified=True)
    channel = make_channel(
        team=deployment.project.team, kind="email", language="fr", config={"addresses": "vera@example.org"}
    )
    check = {"metric": "error_rate", "rule": "level", "outcome": "critical", "observed": 0.25, "baseline": 0.01}
    judged = {"verdict": "rollback_recommended", "confidence": 0.9, "checks": [{**check, "limit": 0.05}]}
    event = Event.objects.create(
        kind="verdict_issued",
        severity="critical",
        team_id=deployment.project.team_id,
        project_id=deployment.project_id,
        environment_id=deployment.environment_id,
        deployment_id=deployment.pk,
        parameters={"verdict": judged},
    )
    delivery = Delivery.objects.create(event=event, channel=channel, due_at=now, expires_at=now + timedelta(hours=1))
    message = describe([delivery])[delivery.pk]
    with mail_server() as server:
        send(ANA, message=message)
    got = server.taken[0][1]
    [image] = [part for part in got.walk() if part.get_content_type() == "image/png"]
    assert image["Content-ID"] == "<chart-1@seqpulse>" and image["Content-Disposition"].startswith("inline")
    [html] = [part.get_content() for part in got.walk() if part.get_content_type() == "text/html"]
    assert 'src="cid:chart-1@seqpulse"' in html and "→ 25" in html and "taux d’erreur" in html.casefold()
    content = image.get_content()
    (tmp_path / "chart.png").write_bytes(content)
    with Image.open(BytesIO(content)) as shown:
        colours = {colour for _, colour in shown.convert("RGB").getcolors(100_000)}
    assert (shown.format, shown.size) == ("PNG", (800, 476)) and (198, 40, 40) in colours, "a sample beyond the limit"


@pytest.mark.django_db
def test_the_mail_about_a_custom_metric_shows_its_chart_with_its_unit() -> None:
    now = timezone.now()
    times = {"started_at": now - timedelta(minutes=20), "finished_at": now - timedelta(minutes=19)}
    deployment = make_deployment(state="finished", **times)
    policy = {"custom_metrics": [{"name": "checkouts", "kind": "rate", "unit": "/min"}]}
    type(deployment.environment).objects.filter(pk=deployment.environment_id).update(policy=policy)
    for sample in make_samples(deployment, post=5):
        sample.custom_metrics = {"checkouts": 42.0 if sample.phase == "pre" else 3.0}
        sample.save()
    channel = make_channel(team=deployment.project.team, kind="email", config={"addresses": "vera@example.org"})
    check = {"metric": "checkouts", "rule": "custom_metric", "outcome": "critical", "observed": 3.0, "baseline": 42.0}
    event = Event.objects.create(
        kind="verdict_issued",
        severity="critical",
        team_id=deployment.project.team_id,
        deployment_id=deployment.pk,
        parameters={"verdict": {"verdict": "rollback_recommended", "checks": [{**check, "limit": 10.0}]}},
    )
    delivery = Delivery.objects.create(event=event, channel=channel, due_at=now, expires_at=now + timedelta(hours=1))
    [(_, chart)] = charts_of([delivery], {event.pk: event.parameters}).items()
    assert email.alternative(chart) == "checkouts 42 /min → 3 /min, at least 10 /min"
    assert title_of(chart) == "Checkouts: 42 /min before, 3 /min after"
    assert png_of(chart).startswith(b"\x89PNG")


def chart_of(observed: float) -> Chart:
    at = timezone.now()
    values = {
        "requests_per_sec": 50.0,
        "latency_p95": 100.0,
        "error_rate": observed,
        "cpu_usage": 0.3,
        "memory_usage": 0.4,
    }
    pre, one = (SimpleNamespace(phase=phase, sequence_index=1, collected_at=at, **values) for phase in ("pre", "post"))
    check = Check("error_rate", "level", "critical", "", observed=observed, baseline=0.01, limit=0.05)
    return draw("error_rate", [pre, one], Span(at, at, 5, 60.0), check)


@pytest.mark.parametrize(("language", "said"), [("en", "limit 5.00 %"), ("fr", "limite 5,00 %")])
def test_a_digest_shows_a_chart_for_each_of_the_first_deployments(language: str, said: str) -> None:
    others = tuple(
        replace(MESSAGE, language=language, deployment=str(number // 2), headline=f"one {number}", chart=chart_of(0.25))
        for number in range(1, 14)
    )
    with mail_server() as server:
        send(ANA, message=replace(MESSAGE, language=language, others=others))
    got = server.taken[0][1]
    images = [part["Content-ID"] for part in got.walk() if part.get_content_type() == "image/png"]
    assert images == [f"<chart-{number}@seqpulse>" for number in range(1, 6)]
    html = got.get_body(("html",)).get_content()
    assert html.count("<img ") == 5 and all(f'src="cid:{one.strip("<>")}"' in html for one in images)
    alt = re.findall(r'alt="([^"]*)"', html)
    assert len(alt) == 5 and all(said in re.sub(r"\s", " ", text) for text in alt)
    assert "one 1<br>" in html and "one 2<br>" in html and "one 3<br>" not in html


def test_the_words_of_a_chart_are_in_the_language_of_its_reader() -> None:
    with translation.override("fr"):
        french, title = png_of(chart_of(0.25)), title_of(chart_of(0.25))
    assert re.sub(r"\s", " ", title) == "Taux d’erreurs : 1,00 % avant, 25 % après"
    english = re.sub(r"\s", " ", title_of(chart_of(0.25)))
    assert french != png_of(chart_of(0.25)) and english == "Error rate: 1.00 % before, 25 % after"
    assert apart("déjà çà œ") == ("deja ca oe", [(1, "\u0301"), (3, "\u0300"), (5, "\u0327"), (6, "\u0300")])


@pytest.mark.django_db
def test_many_deliveries_ask_for_their_recipients_as_often_as_one(django_assert_num_queries: Any) -> None:
    teams, user = [make_team() for _ in range(3)], make_user()
    EmailAddress.objects.create(user=user, email="ana@example.org", verified=True)
    for team in teams[:2]:
        Membership.objects.create(team=team, user=user, role="member")
    decide(teams[2], digest_of("bob@example.org"), agrees=True)
    decide(teams[0], digest_of("ana@example.org"), agrees=False)
    asked = [Asked({"addresses": "ana@example.org, bob@example.org"}, team.pk, "r") for team in teams] * 5
    with django_assert_num_queries(2):
        found = Email().ready(asked)
    assert [[one.address for one in settings["recipients"]] for settings in found][:4] == [
        *([], ["ana@example.org"], ["bob@example.org"], []),
    ]
    assert Email().ready([]) == []
