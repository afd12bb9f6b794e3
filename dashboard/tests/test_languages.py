"""The judge's texts and all numbers in the language of the page; stored and served they stay English."""

from __future__ import annotations

import ast
import gettext
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone, translation
from django.utils.formats import date_format
from hypothesis import given
from hypothesis import settings as examples

from analysis.models import DeploymentVerdict, Hint, VerdictName
from analysis.services import store_unjudged
from analysis.tests.factories import make_hint, make_verdict
from analysis.tests.judgements import judgements
from analysis.tests.test_told import MESSAGES
from analysis.told import Message, Told, number, placeholders, render, told
from dashboard.charts import Span, draw, y_labels
from dashboard.telling import ACTIVE, in_language
from dashboard.templatetags import seqpulse as filters
from dashboard.tests import scenes
from dashboard.tests.pages import address, words
from deployments.models import Deployment, State
from deployments.tests.factories import make_deployment
from projects.models import Environment
from tests.system_tools import require

CATALOGUE = settings.BASE_DIR / "locale" / "fr" / "LC_MESSAGES" / "django.po"
NARROW = "\N{NARROW NO-BREAK SPACE}"


@pytest.fixture
def french() -> Iterator[None]:
    with translation.override("fr"):
        yield


def compiled(path: Path) -> dict[Any, str]:
    """Templates (with the number of their plural, where they have one) and what French makes of them."""
    with path.open("rb") as file:
        found: dict[Any, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        return found


@pytest.fixture(scope="module")
def translations() -> dict[Any, str]:
    return compiled(CATALOGUE.with_suffix(".mo"))


# --- the catalogue ------------------------------------------------------------------------------------------------


def marked() -> set[Any]:
    """The templates in the pure code of the judge, as the catalogue has them as keys."""
    found: set[Any] = set()
    for path in (settings.BASE_DIR / "analysis").rglob("*.py"):
        if {"tests", "migrations", "admin.py", "apps.py", "models.py"} & set(path.relative_to(settings.BASE_DIR).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            texts = [arg.value if isinstance(arg, ast.Constant) else None for arg in node.args]
            if node.func.id in ("told", "_") and texts[0]:
                found.add(texts[0])
            elif node.func.id == "counted":
                found |= {(texts[1], 0), (texts[1], 1)}
    return found


def test_every_text_of_the_judge_is_in_the_catalogue(translations: dict[Any, str]) -> None:
    assert len(marked()) > 250
    assert {key for key in marked() if not translations.get(key)} == set()


def test_what_is_filled_in_is_the_same_in_both_languages(translations: dict[Any, str]) -> None:
    for key, text in translations.items():
        template = key[0] if isinstance(key, tuple) else key
        if template:
            assert placeholders(text) == placeholders(template), template


PERCENT = re.compile(r"%\(\w+\)[a-z]|%[sd]")


def test_percent_placeholders_and_tags_are_the_same_in_both_languages(translations: dict[Any, str]) -> None:
    for key, text in translations.items():
        template = (key[0] if isinstance(key, tuple) else key).rpartition("\x04")[2]
        if template:
            assert set(PERCENT.findall(text)) == set(PERCENT.findall(template)), template
            assert re.findall(r"</?\w+", text) == re.findall(r"</?\w+", template), template


# Before ; ! ? and % a narrow space, before : and inside « » a full one; neither breaks. And no typewriter's signs.
NO_FRENCH = re.compile(r" [;:!?»]|« |[^\W\d_][;!?]|[^\W\d_]:(?=\s|$)| %(?![(sdr])|\d%|\w'\w|[“”]|\.\.\.(?!\))")


def test_french_is_set_as_french_is(translations: dict[Any, str]) -> None:
    wrong = [text for key, text in translations.items() if key and NO_FRENCH.search(re.sub(r"https?:\S+", "", text))]
    assert wrong == []


def test_the_compiled_catalogue_is_the_one_that_is_read(translations: dict[Any, str], tmp_path: Path) -> None:
    made = tmp_path / "django.mo"
    subprocess.run([require("msgfmt", "gettext"), "--check-format", "-o", made, CATALOGUE], check=True)
    assert compiled(made) == translations, "make messages"


# --- the texts ----------------------------------------------------------------------------------------------------


# What only rows of the database bring about, and a doubt that always has its issue with today's policies.
ELSEWHERE = {
    "deployment #{number} did not end ok",
    "excluded by hand",
    "excluded by hand: {reason}",
    "taken after finish: it may show the new version",
    "taken {seconds} s after trigger, by a late try: it may show the new version",
    "This deployment could not be judged: {why}. Look at the service yourself.",
    "its analysis ended as {status}",
    "its analysis ended as {status}, without a verdict",
    "failed",
    "expired",
    "cancelled",
    "the data quality is too low",
}


def texts_of(verdict: Any, hints: list[Any]) -> list[Any]:
    """Everything that a person reads of it."""
    texts = [verdict.summary, *(check.sentence for check in verdict.checks)]
    texts += [issue.message for issue in verdict.quality.issues]
    for hint in hints:
        texts += [hint.title, hint.cause, hint.impact, *hint.evidence, *hint.actions]
    return texts


def templates_in(message: Message) -> Iterator[str]:
    if isinstance(message, dict) and "msgid" in message:
        yield message["msgid"]
        for part in message["args"].values():
            yield from templates_in(part)


def figures(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", text))


def test_french_tells_every_text_of_the_judge_with_the_same_figures(french: None) -> None:
    texts = [text for verdict, hints in judgements() for text in texts_of(verdict, hints)]
    used = {template for text in texts for template in templates_in(text.message)}
    for text in {str(text): text for text in texts}.values():
        shown = render(text.message, ACTIVE)
        assert figures(shown) == figures(text), text
        assert "{" not in shown.replace("%{time_total}", ""), shown
        assert shown != text
    templates = {key[0] if isinstance(key, tuple) else key for key in marked()}
    assert templates - used <= ELSEWHERE, "judgements() has no case of it"


@given(MESSAGES)
@examples(max_examples=80, deadline=None)
def test_whatever_is_stored_a_page_shows_something(strange: Any) -> None:
    verdict = DeploymentVerdict(summary="Roll back.", told=[strange])
    hint = Hint(title="Roll back.", details={"told": strange})
    with translation.override("fr"):
        assert in_language("Roll back.", verdict)
        assert in_language("Roll back.", hint)
        assert isinstance(in_language(Told("Roll back.", strange)), str)


@pytest.mark.parametrize("details", [None, [], {"told": None}, {"told": {"msgid": "{n} ms"}}, {"told": [{}, 3]}])
def test_a_hint_with_strange_details_stays_readable(french: None, details: Any) -> None:
    assert in_language("Roll back.", Hint(title="Roll back.", details=details)) == "Roll back."


def test_a_sentence_is_never_half_translated(french: None) -> None:
    known = told("{n} ms", n=number("1,234.5"))
    assert in_language(known) == f"1{NARROW}234,5{NARROW}ms"
    assert in_language(told("a template of an older version: {level}", level=known)) == (
        "a template of an older version: 1,234.5 ms"
    )
    assert in_language(told("{several} and {last}", several=told("of an older version"), last=known)) == (
        "of an older version and 1,234.5 ms"
    )
    assert in_language(Told("", {"msgid": "", "args": {}})) == ""


# --- numbers ------------------------------------------------------------------------------------------------------


def test_numbers_are_written_as_the_language_writes_them(french: None) -> None:
    assert filters.level(342.1, "latency_p95") == f"342{NARROW}ms"
    assert filters.level(0.005, "error_rate") == f"0,50{NARROW}%"
    assert filters.level(12.34, "requests_per_sec") == f"12,3{NARROW}req/s"
    assert filters.percent(0.123) == f"12{NARROW}%"
    assert filters.change(0.0144, True).startswith("+1,4")
    assert filters.change(-0.12, False) == f"−12{NARROW}%"
    assert filters.change(123.4, False) == "×124"
    assert filters.seconds_in_words(0.84).startswith("0,8")


def test_english_numbers_stay_as_they_are() -> None:
    assert filters.level(0.005, "error_rate") == "0.50\xa0%"
    assert filters.change(-0.12, False) == "−12\xa0%"
    assert filters.seconds_in_words(0.84) == "0.8 s"


def test_dates_are_written_as_the_language_writes_them() -> None:
    at = datetime(2026, 11, 23, 14, 5, 9, tzinfo=UTC)
    for language, day, short in (("en", "23 Nov. 2026", "2026-11-23"), ("fr", "23 nov. 2026", "23/11/2026")):
        with translation.override(language):
            assert filters.moment(at) == f"{day}, 14:05:09 UTC"
            assert date_format(at, "DATETIME_FORMAT") == f"{day}, 14:05"
            assert date_format(at, "SHORT_DATETIME_FORMAT") == f"{short} 14:05"


def test_axes_are_labelled_in_the_language_of_the_page(french: None) -> None:
    labels = [filters.told(label) for _, label in y_labels(0.02, 0.005, "error_rate")]
    assert labels == ["0,0", "0,5", "1,0", "1,5", "2,0"]
    chart = draw("latency_p95", [], Span(timezone.now(), None, samples=4, interval_s=1.5))
    assert filters.told(chart.x_ticks[0].label) == f"+1,5{NARROW}s"
    assert all("," not in tick.at for tick in (*chart.x_ticks, *chart.y_ticks))


# --- pages --------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_french(browser_of: Client, french: None) -> Client:
    browser_of.defaults["HTTP_ACCEPT_LANGUAGE"] = "fr"
    return browser_of


def folded(text: str) -> str:
    return " ".join(text.split())


def stored_texts(deployment: Deployment) -> list[tuple[str, Any]]:
    """The English texts of its rows, each with the row that has it."""
    verdict = deployment.verdict
    texts: list[tuple[str, Any]] = [(verdict.summary, verdict)]
    for word in (verdict.final, {"checks": verdict.checks, "quality": verdict.quality}):
        texts += [(check["sentence"], verdict) for check in (word or {}).get("checks", [])]
    texts += [(issue["message"], verdict) for issue in verdict.quality["issues"]]
    texts += [(one["why"], verdict) for one in verdict.evidence["excluded"]]
    for hint in Hint.objects.filter(deployment=deployment):
        texts += [(text, hint) for text in (hint.title, hint.cause, hint.impact, *hint.evidence, *hint.actions)]
    return texts


@pytest.mark.django_db
@pytest.mark.parametrize("scene", ["ok", "warning", "rollback", "early", "poor", "baseline"])
def test_a_deployments_page_tells_all_of_it_in_french(in_french: Client, environment: Environment, scene: str) -> None:
    deployment = {
        "ok": lambda: scenes.judged(environment),
        "warning": lambda: scenes.judged(environment, **scenes.SLOWER),
        "rollback": lambda: scenes.judged(environment, **scenes.BROKEN),
        "early": lambda: scenes.end_window(scenes.called_out_early(environment)),
        "poor": lambda: scenes.poorly_observed(environment),
        "baseline": lambda: scenes.with_baseline(environment, **scenes.SLOW),
    }[scene]()
    page = words(in_french.get(address(deployment)))
    texts = stored_texts(Deployment.objects.get(pk=deployment.pk))
    assert len(texts) >= 6
    for english, row in texts:
        # Not by accident: a text that is no message would read the same.
        assert in_language(english, row) != english
        assert folded(in_language(english, row)) in page
        assert folded(english) not in page
    if deployment.verdict.final:
        assert folded(in_language(deployment.verdict.final["summary"], deployment.verdict)) in page


@pytest.mark.django_db
def test_the_verdict_that_says_why_there_is_none_is_told_in_french(in_french: Client, environment: Environment) -> None:
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    store_unjudged(deployment.pk, told("its analysis ended as {status}", status=told("failed")))
    assert "Ce déploiement n’a pas pu être jugé : son analyse n’a pas abouti (échec)." in words(
        in_french.get(address(deployment))
    )


@pytest.mark.django_db
def test_rows_of_an_older_version_stay_english(in_french: Client, environment: Environment) -> None:
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    verdict = make_verdict(deployment, verdict=VerdictName.WARNING, told=None)
    hint = make_hint(deployment, details={"text_key": "high_latency", "values": {"observed": "480 ms"}, "numbers": {}})
    page = words(in_french.get(address(deployment)))
    for text in (verdict.summary, hint.title, hint.cause, hint.impact, *hint.evidence, *hint.actions):
        assert text in page


@pytest.mark.django_db
def test_english_pages_show_what_is_stored(browser_of: Client, environment: Environment) -> None:
    deployment = scenes.judged(environment, **scenes.BROKEN)
    page = words(browser_of.get(address(deployment)))
    for english, row in stored_texts(deployment):
        assert folded(english) in page
        assert english in row.phrases
