"""The first line of every kind of event, in English and French, and what is left out where it is not known."""

from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from analysis.outbox import hint_facts, verdict_facts
from analysis.tests.judgements import judgements
from events.kinds import KINDS
from explain.facts import Fact
from notifications.details import MOST_CHARACTERS, MOST_LINES, details_of
from notifications.headlines import headline_of
from notifications.plain import line

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
DEPLOYMENT = {"id": "7", "number": 84, "commit": "7c1f2a", "author": "ana", "title": "Cache prices"}
PLACE = {"project": "shop", "environment": "prod"}
ON = {**PLACE, "deployment": {"number": 84}}
GOOD = {"last_good": {"number": 83}}


def verdict(name: str = "rollback_recommended", **fields: Any) -> dict[str, Any]:
    return {**ON, "verdict": {"verdict": name, "conclusive": True, "healthy": "yes", **fields}}


def failed(metric: str, observed: float | None, baseline: float | None, name: str = "rollback_recommended") -> Any:
    checks = [{"metric": metric, "observed": observed, "baseline": baseline, "outcome": "critical"}]
    return verdict(name, checks=checks)


def early(name: str, **fields: Any) -> dict[str, Any]:
    return {**failed("latency_p95", 300.0, 100.0, name), "early": {"verdict": "rollback_recommended"}, **fields}


UNKNOWN = Fact("not_exercised", {"requests": 4.0}).to_json()
ERRORS = failed("error_rate", 0.25, 0.0)
# Kind, what its event says, the lines.
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "verdict_issued",
        {**ERRORS, "deployment": DEPLOYMENT, **GOOD},
        "shop prod #84 (7c1f2a, ana, “Cache prices”): 25 % of requests fail, was 0 %. Last good: #83.",
        "shop prod nº 84 (7c1f2a, ana, « Cache prices ») : 25 % des requêtes échouent, contre 0 % avant. "
        "Dernier bon : nº 83.",
    ),
    (
        "early_rollback",
        {**ERRORS, "deployment": {"number": 84, "version": "v2", "title": "  "}},
        "shop prod #84 (v2): 25 % of requests fail, was 0 %.",
        "shop prod nº 84 (v2) : 25 % des requêtes échouent, contre 0 % avant.",
    ),
    (
        "verdict_issued",
        failed("error_rate", 0.25, None),
        "shop prod #84: 25 % of requests fail.",
        "shop prod nº 84 : 25 % des requêtes échouent.",
    ),
    (
        "verdict_issued",
        failed("latency_p95", 12_400.0, 118.0, "warning"),
        "shop prod #84: warning: p95 is 12.4 s, was 118 ms.",
        "shop prod nº 84 : avertissement : le p95 est de 12,4 s, contre 118 ms avant.",
    ),
    (
        "verdict_issued",
        failed("requests_per_sec", 0.0, 50.0),
        "shop prod #84: traffic is 0 req/s, 50.0 req/s were expected.",
        "shop prod nº 84 : le trafic est de 0 req/s, pour 50,0 req/s attendues.",
    ),
    (
        "verdict_issued",
        failed("memory_usage", 0.99, 0.4),
        "shop prod #84: memory is at 99 %, was 40 %.",
        "shop prod nº 84 : la mémoire est à 99 %, contre 40 % avant.",
    ),
    (
        "verdict_issued",
        failed("cpu_usage", 0.99, 0.989, "warning"),
        "shop prod #84: warning: cpu is at 99 %.",
        "shop prod nº 84 : avertissement : le CPU est à 99 %.",
    ),
    (
        "verdict_issued",
        verdict(checks=[{"metric": "requests_per_sec", "rule": "endpoint_stopped_answering"}]),
        "shop prod #84: the metrics endpoint stopped answering after the deployment.",
        "shop prod nº 84 : l’endpoint de métriques ne répond plus depuis le déploiement.",
    ),
    (
        "verdict_issued",
        verdict("warning", conclusive=False, doubts=[UNKNOWN], healthy="unknown"),
        "shop prod #84: no clear verdict: too few requests came after the deployment to say that anybody used the new "
        "version (about 4).",
        "",
    ),
    ("verdict_issued", verdict("ok"), "shop prod #84: ok, no regression found.", ""),
    (
        "verdict_issued",
        verdict("ok", healthy="no"),
        "shop prod #84: no regression found, but the service is not healthy.",
        "shop prod nº 84 : aucune régression trouvée, mais le service n’est pas sain.",
    ),
    (
        "verdict_issued",
        {**ERRORS, "verdict": {**ERRORS["verdict"], "shadow": True}, **GOOD},
        "shop prod #84: 25 % of requests fail, was 0 %. Last good: #83. Shadow mode: no pipeline was stopped.",
        "",
    ),
    (
        "verdict_issued",
        early("rollback_recommended", **GOOD),
        "shop prod #84: the window is over, and the verdict is still roll back.",
        "shop prod nº 84 : la fenêtre est terminée, et le verdict reste : revenir en arrière.",
    ),
    (
        "verdict_issued",
        early("warning"),
        "shop prod #84: the window is over: a warning, no longer roll back. Now: warning: p95 is 300 ms, was 100 ms.",
        "",
    ),
    (
        "recovered",
        {**verdict("ok"), "bad_since": {"number": 82, "at": "2026-12-01T09:00:00+00:00"}},
        "shop prod #84: recovered, 3.0 h after the first bad verdict (#82).",
        "shop prod nº 84 : rétabli, 3,0 h après le premier mauvais verdict (nº 82).",
    ),
    ("recovered", {**ON, "bad_since": {"at": "nonsense"}}, "shop prod #84: recovered.", "shop prod nº 84 : rétabli."),
    (
        "endpoint_silent",
        {**PLACE, "times": 3, "reason": "timeout"},
        "shop prod: the metrics endpoint stopped answering: 3 times in a row (no answer in time).",
        "",
    ),
    (
        "endpoint_answers",
        {**PLACE, "since": "2026-12-01T11:30:00+00:00"},
        "shop prod: the metrics endpoint answers again, after 30 min.",
        "shop prod : l’endpoint de métriques répond de nouveau, après 30 min.",
    ),
    (
        "signature_refused",
        PLACE,
        "shop prod: the metrics endpoint refuses our signature, so nothing is measured: compare the secrets.",
        "",
    ),
    (
        "deployment_abandoned",
        {**ON, "hours": 24},
        "shop prod #84: no finish came within 24 h after trigger, so there will be no verdict.",
        "",
    ),
    ("rolled_back", {**ON, "rolls_back_to": {"number": 82}}, "shop prod #84: rolls back to #82.", ""),
    ("rolled_back", ON, "shop prod #84: a rollback began; to which deployment is not known.", ""),
    ("acknowledged", {**ON, "who": "ana", "what": "on_it"}, "shop prod #84: ana is on it.", ""),
    (
        "acknowledged",
        {**ON, "who": "ana", "what": "ignored", "reason": "known\nissue"},
        "shop prod #84: ana ignores the verdict: known issue",
        "shop prod nº 84 : ana ignore le verdict : known issue",
    ),
    (
        "freeze_forced",
        {**ON, "frozen": "Friday", "reason": "hotfix"},
        "shop prod #84: began in spite of the freeze “Friday”: hotfix",
        "",
    ),
    (
        "key_made",
        {"project": "shop", "who": "ana", "name": "ci", "prefix": "sp_12345"},
        "shop: ana made the API key “ci” (sp_12345…).",
        "shop : ana a créé la clé d’API « ci » (sp_12345…).",
    ),
    (
        "member_invited",
        {"team": "Shop", "who": "ana", "email": "bo@shop.example", "role": "member"},
        "Shop: ana invited bo@shop.example as member.",
        "Shop : ana a invité bo@shop.example en tant que membre.",
    ),
    (
        "channel_disabled",
        {"channel": "ops", "why": Fact("delivery.gone").to_json()},
        "The channel ops is disabled: the receiver answered 410: it is gone for good",
        "",
    ),
    ("test", {"channel": 1}, "A test message from SeqPulse: this channel works.", ""),
]


@pytest.mark.parametrize(("kind", "said", "english", "french"), CASES)
def test_the_first_line(kind: str, said: dict[str, Any], english: str, french: str) -> None:
    assert headline_of(kind, said, NOW, "en") == english
    in_french = headline_of(kind, said, NOW, "fr")
    assert in_french != english
    if french:
        assert in_french.replace("\u202f", " ").replace("\xa0", " ") == french


def test_every_kind_has_one_also_when_nothing_is_known() -> None:
    little: list[dict[str, Any]] = [{}, {"project": None, "deployment": {}}, {"verdict": 5, "deployment": "x"}, ON]
    for kind in KINDS:
        for said in little:
            text = headline_of(kind, said, NOW, "en")
            assert text and "unknown" not in text and "None" not in text and "says." not in text and "()" not in text
            assert not text.lower().startswith("event.") and details_of(said, "fr") is not None


# Every combination of what decides what a person does at night; what each has to say, and what none may say.
TABLE: list[Any] = list(
    product(
        ("ok", "warning", "rollback_recommended"),
        ("success", "failed", "cancelled", ""),
        (True, False),
        ("yes", "no"),
        ("deployment", "rollback"),
        (3, 0),
        ({"last_good": {"number": 83}}, {"last_good": None}, {"replaced_by": {"number": 85}}),
        (None, "rollback_recommended"),
    )
)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_what_a_verdict_says_at_night(language: str) -> None:
    words = WORDS[language]
    for name, pipeline, conclusive, healthy, kind, before, around, early_name in TABLE:
        checks = [] if name == "ok" else ERRORS["verdict"]["checks"]
        found = {"verdict": name, "conclusive": conclusive, "healthy": healthy, "samples_before": before}
        said = {**PLACE, **around, "deployment": {"number": 84, "kind": kind, "pipeline": pipeline}}
        said["verdict"] = {**found, "checks": checks, "doubts": [] if conclusive else [UNKNOWN]}
        if early_name:
            said["early"] = {"verdict": early_name}
        text = headline_of("verdict_issued", said, NOW, language)
        good, confirmed = name == "ok" and conclusive, name == early_name
        row = (name, pipeline, conclusive, healthy, kind, before, around, early_name, text)
        assert (words["failed"] in text.lower()) == (pipeline == "failed"), row
        assert (words["cancelled"] in text.lower()) == (pipeline == "cancelled"), row
        assert (words["unhealthy"] in text) == (good and healthy == "no"), row
        assert conclusive or words["unclear"] in text or words["uncertain"] in text, row
        assert words["worked"] not in text or (good and healthy == "yes" and pipeline in ("", "success")), row
        if not confirmed and not good:
            assert ("85" in text) == ("replaced_by" in around), row
            assert ("83" in text) == bool(around.get("last_good")), row
            nowhere = name == "rollback_recommended" and "last_good" in around and not around["last_good"]
            assert (words["nowhere"] in text) == nowhere, row
            assert (words["rollback"] in text) == (kind == "rollback"), row
        if good and before == 0 and pipeline in ("", "success") and healthy == "yes":
            assert words["uncompared"] in text, row


WORDS = {
    "en": {
        "failed": "the pipeline failed",
        "cancelled": "the pipeline was cancelled",
        "unhealthy": "the service is not healthy",
        "unclear": "no clear verdict",
        "uncertain": "not certain",
        "worked": "the rollback worked",
        "nowhere": "no good deployment to return to",
        "rollback": "This is a rollback",
        "uncompared": "nothing to compare with",
    },
    "fr": {
        "failed": "le pipeline a échoué",
        "cancelled": "le pipeline a été annulé",
        "unhealthy": "le service n’est pas sain",
        "unclear": "pas de verdict clair",
        "uncertain": "pas certain",
        "worked": "le retour en arrière a réussi",
        "nowhere": "pas de bon déploiement auquel revenir",
        "rollback": "C’est un retour en arrière",
        "uncompared": "sans point de comparaison",
    },
}


HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "a\r\nSubject: b\u2028c\u2029d\x85e",
    "\u202egnp.exe\u202c \u2066x\u2069",
    "{where} {0} %(x)s",
    "Z" + "\u0301" * 5000,
    "x" * 10_000,
    "\u200b\u200e\ufeff",
    "\u3164",
    "\ud800 half",
    "says.ok",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_others_wrote_stays_in_its_place(text: str) -> None:
    deployment = dict.fromkeys(("commit", "author", "title", "branch", "version", "url"), text)
    said = {**ERRORS, "project": text, "environment": text, "deployment": {"number": 1, **deployment}, "reason": text}
    for kind in KINDS:
        said = {**said, "who": text, "name": text, "email": text, "channel": text, "frozen": text, "what": text}
        for written in (headline_of(kind, said, NOW, "fr"), *details_of(said, "en")):
            assert len(written) <= 1000 and written.isprintable()
            assert "\u202e" not in written and "\u200b" not in written
            assert written.count("\u0301") < 100
            written.encode()


# Emoji and Persian are written with joiners, which cannot be seen.
FAMILY = "\U0001f469\u200d\U0001f467 \u0645\u06cc\u200c\u062e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  Cache\tprices \n", "Cache prices"),
        (FAMILY, FAMILY),
        ("é̂", "é̂"),
        ("\u200d", ""),
        (5, "5"),
        ("x" * 21, "x" * 19 + "…"),
    ],
)
def test_a_line(text: object, shown: str) -> None:
    assert line(text, 20) == shown


def test_details_of_every_verdict_are_lines() -> None:
    seen = 0
    for found, hints in judgements(step=25):
        said = {**ON, "verdict": verdict_facts(found), "hints": [hint_facts(hint) for hint in hints[:3]], **GOOD}
        headline = headline_of("verdict_issued", said, NOW, "fr")
        lines = details_of(said, "fr")
        assert 0 < len(lines) <= MOST_LINES and all(0 < len(text) <= MOST_CHARACTERS for text in (*lines, headline))
        assert not any("unknown" in text for text in lines)
        seen += 1
    assert seen > 20
