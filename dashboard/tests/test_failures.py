"""Failures of endpoints and jobs are rendered in the active language."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import translation

from common.strict_json import read_json
from explain.catalogue import TEMPLATES
from explain.errors import ExplainedError
from explain.facts import Fact
from explain.languages import language
from explain.rendering import render
from metrics.payload import parse_metrics
from outbound.addresses import AllowList, refusal
from outbound.endpoints import parse_endpoint
from outbound.system_errors import problem_of
from projects.models import validate_endpoint
from scheduler.words import shown, stored

METRICS = '{"metrics": {"requests_per_sec": 1, "latency_p95": 1, "error_rate": 0, "cpu_usage": 0, "memory_usage": %s}}'
HOST = "a.example:80"


@pytest.mark.parametrize("code", [code for code, _ in settings.LANGUAGES if code != "en"])
def test_every_sentence_is_in_the_catalogue_of_every_language(code: str) -> None:
    to = language(code)
    for template in TEMPLATES.values():
        assert to.text(template) if isinstance(template, str) else to.plural(template.one, template.many, 2)


def raised(call: Callable[[Any], Any], argument: Any) -> Fact:
    with pytest.raises(ExplainedError) as caught:
        call(argument)
    return caught.value.fact


def outbound(code: str, problem: Fact | None = None, **params: Any) -> Fact:
    return Fact(code, {"host": HOST, **params, **({"problem": problem} if problem else {})})


@pytest.mark.parametrize(
    ("fact", "french"),
    [
        (raised(parse_metrics, b'{"a": NaN}'), "la réponse n’est pas du JSON valide : NaN n’est pas un nombre en JSON"),
        (raised(parse_metrics, b'{"a": '), "JSON valide : il se termine trop tôt, ligne 1, colonne 7"),
        (raised(parse_metrics, b'{\n"a": x}'), "JSON valide : erreur de syntaxe ligne 2, colonne 6"),
        (raised(parse_metrics, b'{"a": "\xff"}'), "JSON valide : l’octet 7 n’est pas de l’UTF-8"),
        (raised(parse_metrics, b"[" * 60_000), "JSON valide : imbrication trop profonde"),
        (raised(read_json, b"1" * 5000), "il contient un nombre qui a trop de chiffres"),
        (raised(parse_metrics, b'{"metrics": 3}'), "la réponse n’a pas d’objet « metrics » avec les cinq métriques"),
        (raised(parse_metrics, b'{"metrics": {}}'), "requests_per_sec manque, il faut un nombre, au moins 0"),
        (raised(parse_metrics, (METRICS % "4.2").encode()), "memory_usage vaut 4,2, permis : 0..1"),
        (raised(parse_metrics, (METRICS % "null").encode()), "memory_usage vaut null, il faut un nombre, 0..1"),
        (raised(parse_endpoint, "ftp://example.com/"), "Le schéma de l’URL est ftp ; seuls http et https sont permis."),
        (outbound("blocked", refusal("10.0.0.1", AllowList())), "a.example:80 ne peut pas être appelé : 10.0.0.1 est "
         "une adresse privée. L’exploitation peut l’autoriser avec SEQPULSE_OUTBOUND_ALLOW."),
        (outbound("timeout", seconds=4.25, phase="connection"), "en 4,25 s (pendant la connexion)"),
        (outbound("too_large", Fact("large_body", {"bytes": 65536})), "elle a un corps de plus de 64 Kio"),
        (outbound("refused", problem_of(ConnectionRefusedError(111, "Connection refused"))), "connexion refusée"),
        (outbound("refused", problem_of(OSError(71, "Protocol error"))), "impossible : « Protocol error »"),
        (outbound("tls", text="self-signed certificate"), "sécurisée à a.example:80 : « self-signed certificate »"),
        (Fact("http_5xx", {"status": 503, "url": "http://a.example/m"}), "HTTP 503 de http://a.example/m"),
        (Fact("abandoned", {"hours": 1.5}), "non collecté : aucun finish n’est arrivé en 1,5 h"),
    ],
)  # fmt: skip
def test_a_failure_is_wholly_in_the_language_of_the_page(fact: Fact, french: str) -> None:
    assert french in re.sub(r"\s", " ", render(fact, "fr"))
    text, fact_as_json = stored(fact)
    assert (text, Fact.from_json(json.loads(fact_as_json))) == (render(fact), fact)


UNKNOWN: list[Any] = [None, 7, [], {"code": "gone_since", "params": {}}, {"params": {}}]


def test_a_stored_error_is_rendered_where_it_is_shown() -> None:
    error = Fact("http_5xx", {"status": 503, "url": "http://a.example/m"}).to_json()
    with translation.override("fr"):
        assert shown(error, "HTTP 503 from http://a.example/m") == "HTTP 503 de http://a.example/m"
        for unknown in UNKNOWN:
            assert shown(unknown, "the English text") == "the English text"
    assert shown(error, "") == "HTTP 503 from http://a.example/m"


def test_an_endpoint_that_a_form_refuses_is_explained_in_the_language_that_shows_it() -> None:
    with pytest.raises(ValidationError) as caught:
        validate_endpoint("http://")
    assert (caught.value.code, caught.value.messages) == ("url_no_host", ["The URL names no host."])
    with translation.override("fr"):
        assert caught.value.messages == ["L’URL ne nomme aucun hôte."]
