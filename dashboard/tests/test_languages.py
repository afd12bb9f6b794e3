"""Facts and all numbers in the language of the page; stored and served texts stay English."""

import gettext
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone, translation
from django.utils.formats import date_format

from analysis.charts import Span, draw, y_labels
from analysis.judge.types import Hint as JudgedHint
from analysis.judge.types import Verdict
from analysis.models import Hint, VerdictName
from analysis.services import store_unjudged
from analysis.tests.judgements import judgements
from analysis.texts import hints as hint_texts
from analysis.texts import metrics, verdicts
from analysis.texts.hints import facts_of
from dashboard.i18n import message
from dashboard.templatetags import seqpulse as filters
from dashboard.tests import scenes
from dashboard.tests.pages import address, shows, words
from deployments.models import Deployment, State
from explain.catalogue import TEMPLATES, Plural
from explain.facts import Fact
from explain.rendering import render
from projects.models import Environment
from tests.factories import make_deployment, make_hint, make_verdict
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


def keys(template: str | Plural) -> list[Any]:
    """As the catalogue has them."""
    return [template] if isinstance(template, str) else [(template.one, 0), (template.one, 1)]


def test_every_template_is_in_the_catalogue(translations: dict[Any, str]) -> None:
    wanted = {key for template in TEMPLATES.values() for key in keys(template)}
    assert len(wanted) > 250
    assert {key for key in wanted if not translations.get(key)} == set()


PLACEHOLDER = re.compile(r"\{\w+(?::[^{}]*(?:\{\w+\})?)?\}")


def test_what_is_filled_in_is_the_same_in_both_languages(translations: dict[Any, str]) -> None:
    for key, text in translations.items():
        template = key[0] if isinstance(key, tuple) else key
        if template:
            assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(template)), template


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
    # Of verdicts before both thresholds were named.
    "rollback_threshold",
    "custom_rollback",
    "left_out.deployment",
    "left_out.by_hand",
    "left_out.by_hand_because",
    "left_out.after_finish",
    "left_out.late",
    "left_out.rolled_back",
    "unjudged",
    "analysis_ended",
    "analysis_without_verdict",
    "job_status.failed",
    "job_status.expired",
    "job_status.cancelled",
    "low_quality",
}


def facts_in(verdict: Verdict, hints: list[JudgedHint]) -> Iterator[Fact]:
    """Everything that a page shows of it."""
    yield verdict.summary
    yield from (check.fact for check in verdict.checks)
    yield from (issue.fact for issue in verdict.quality.issues)
    yield from (*verdict.health.reasons, *verdict.basis.doubts)
    for hint in hints:
        facts = facts_of(hint.text_key, hint.params, evidence=hint.evidence, roll_back=hint.roll_back)
        yield from (facts.title, facts.cause, facts.impact, *facts.evidence, *facts.actions)


def codes_in(fact: Fact) -> Iterator[str]:
    """The codes of what is rendered of it."""
    yield fact.code
    template = TEMPLATES[fact.code]
    texts = [template] if isinstance(template, str) else [template.one, template.many]
    for _, name, how, _ in (part for text in texts for part in Formatter().parse(text)):
        value = fact.params.get(name or "")
        nested = [value] if isinstance(value, Fact) else value if isinstance(value, list | tuple) else []
        yield from (code for one in nested for code in codes_in(one))
        if isinstance(value, str):
            yield f"{how}.{value}"


def figures(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", text))


@pytest.mark.no_cover
def test_french_says_every_fact_of_the_judge_with_the_same_figures(french: None) -> None:
    facts = [fact for verdict, hints in judgements() for fact in facts_in(verdict, hints)]
    placeholder = re.compile(r"(?<!%){\w")
    for english, fact in {render(fact): fact for fact in facts}.items():
        shown = message(fact)
        assert figures(shown) == figures(english), english
        assert not placeholder.search(shown), shown
        assert shown != english or english.startswith("HTTP "), english
    known = {*verdicts.TEXTS, *metrics.TEXTS, *hint_texts.TEXTS}
    assert known - {code for fact in facts for code in codes_in(fact)} <= ELSEWHERE, "judgements() has no case of it"


def test_a_sentence_is_never_half_translated(french: None, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Fact("too_little_traffic", {"level": 1234.5})
    assert message(known).startswith(f"1234{NARROW}req/s")
    monkeypatch.setitem(TEMPLATES, "test.new", "a template without a translation: {known}")
    assert message(Fact("test.new", {"known": known})) == (
        "a template without a translation: 1234 req/s before the deployment is too little to compare with"
    )
    assert message("text of others") == "text of others"


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
    assert [label for _, label in y_labels(0.02, 0.005, ratio=True)] == ["0,0", "0,5", "1,0", "1,5", "2,0"]
    chart = draw("latency_p95", [], Span(timezone.now(), None, samples=4, interval_s=1.5))
    assert chart.x_ticks[0].label == f"+1,5{NARROW}s"
    assert all("," not in tick.at for tick in (*chart.x_ticks, *chart.y_ticks))


# --- pages --------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_french(browser_of: Client, french: None) -> Client:
    browser_of.defaults["HTTP_ACCEPT_LANGUAGE"] = "fr"
    return browser_of


def folded(text: str) -> str:
    return " ".join(text.split())


def stored_facts(deployment: Deployment) -> list[Fact]:
    """Return the facts of its rows."""
    verdict = deployment.verdict
    facts = [recorded.verdict.summary for recorded in (verdict.judged, verdict.standing)]
    for recorded in (verdict.judged, verdict.standing):
        facts += [check.fact for check in recorded.verdict.checks]
    facts += [issue.fact for issue in verdict.standing.verdict.quality.issues]
    facts += [one.why for one in verdict.standing.judged_on.excluded]
    for hint in Hint.objects.filter(deployment=deployment):
        facts += [hint.facts.title, hint.facts.cause, hint.facts.impact, *hint.facts.evidence, *hint.facts.actions]
    return facts


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
    facts = stored_facts(Deployment.objects.get(pk=deployment.pk))
    assert len(facts) >= 6
    for fact in facts:
        # Not by accident: what is no fact of the catalogue would read the same.
        assert message(fact) != render(fact)
        shows(page, folded(message(fact)), without=[folded(render(fact))])


@pytest.mark.django_db
def test_the_verdict_that_says_why_there_is_none_is_in_french(in_french: Client, environment: Environment) -> None:
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    store_unjudged(deployment.pk, Fact("analysis_ended", {"status": "failed"}))
    assert "Ce déploiement n’a pas pu être jugé : son analyse n’a pas abouti (échec)." in words(
        in_french.get(address(deployment))
    )


@pytest.mark.django_db
def test_rows_without_facts_stay_english(in_french: Client, environment: Environment) -> None:
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    verdict = make_verdict(deployment, verdict=VerdictName.WARNING, fact=None)
    hint = make_hint(deployment, details={"text_key": "high_latency", "values": {"observed": "480 ms"}, "numbers": {}})
    page = words(in_french.get(address(deployment)))
    shows(page, verdict.summary, hint.title, hint.cause, hint.impact, *hint.evidence, *hint.actions)


@pytest.mark.django_db
def test_english_pages_show_what_is_stored(browser_of: Client, environment: Environment) -> None:
    deployment = scenes.judged(environment, **scenes.BROKEN)
    page = words(browser_of.get(address(deployment)))
    shows(page, *(folded(render(fact)) for fact in stored_facts(Deployment.objects.get(pk=deployment.pk))))
    hint = deployment.hints.first()
    assert (hint.title, hint.actions) == (render(hint.facts.title), [render(fact) for fact in hint.facts.actions])
    assert deployment.verdict.summary == render(deployment.verdict.judged.verdict.summary)
