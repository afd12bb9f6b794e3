"""Sources by API, by command and by file: without secrets in answers, and none sent to another origin."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from explain.facts import Fact
from metrics.configuring import add_source, reveal, try_source
from metrics.models import Source
from metrics.source_lists import move_source, replace_sources
from metrics.sources.base import InvalidConfig
from projects.models import Environment
from projects.services import NewProject, create_project

pytestmark = pytest.mark.django_db
PROMETHEUS = {
    "url": "https://prometheus.example",
    "expressions": {"requests_per_sec": "up"},
    "headers": {"Authorization": "Bearer planted-secret"},
}
JOURNEY = {
    "base_url": "https://shop.example",
    "steps": [{"url": "/", "headers": {"X-Token": "planted-secret"}, "expect": {"text": "Welcome"}}],
}


@pytest.fixture
def made() -> NewProject:
    return create_project("shop", environment="prod")


@pytest.fixture
def call(made: NewProject, client: Client) -> Any:
    def send(method: str, body: Any = None, path: str = "/environments/prod/sources") -> Any:
        headers = {"X-API-Key": made.api_key}
        data = "" if body is None else json.dumps(body)
        return client.generic(method, path, data, content_type="application/json", headers=headers)

    return send


def test_the_api_replaces_sources_and_never_answers_secrets(call: Any, made: NewProject) -> None:
    answer = call("PUT", {"sources": [{"kind": "prometheus", "config": PROMETHEUS}, {"kind": "check", **JOURNEY}]})
    assert answer.status_code == 200, answer.content
    assert b"planted" not in answer.content + call("GET").content
    listed = call("GET").json()
    assert [one["kind"] for one in listed["sources"]] == ["prometheus", "check"]
    assert [one["secrets"] for one in listed["sources"]] == [["headers.Authorization"], ["steps.0.headers.X-Token"]]
    before = [(row.pk, row.config.open()) for row in made.environment.sources.all()]
    assert call("PUT", listed).status_code == 200  # as it was answered: nothing changes
    assert [(row.pk, row.config.open()) for row in made.environment.sources.all()] == before
    made.environment.refresh_from_db()
    assert made.environment.source_kinds == ["prometheus", "check"]
    assert call("PUT", {"sources": []}).json() == {"sources": []}


def test_errors_of_the_api_name_the_field(call: Any, made: NewProject) -> None:
    wrong: list[tuple[Any, str]] = [
        ([{"kind": "prometheus", **PROMETHEUS, "expressions": {"error_rate": 3}}], "sources.0.expressions.error_rate"),
        ([{"kind": "prometheus", **PROMETHEUS}, {"kind": "nagios"}], "sources.1.kind"),
        ([{"kind": ["prometheus"]}], "sources.0.kind"),
        ([{"kind": "prometheus", "config": [1]}], "sources.0.config"),
        ([3], "sources"),
        ({"kind": "check"}, "sources"),
        ([{"kind": "endpoint"}] * 11, "sources"),
    ]
    for sources, field in wrong:
        answer = call("PUT", {"sources": sources})
        assert answer.status_code == 400, (sources, answer.content)
        assert field in answer.json()["error"]["fields"], answer.content
    assert call("PUT", [1]).status_code == call("PUT", {}).status_code == 400
    assert call("GET", path="/environments/other/sources").status_code == 404
    assert not Source.objects.exists()


def test_secrets_do_not_follow_to_another_origin(made: NewProject) -> None:
    for kind, config in (("prometheus", PROMETHEUS), ("check", JOURNEY)):
        source = add_source(made.environment, kind, config)
        shown = {name: value for name, value in config.items() if name != "headers"}
        address = "url" if kind == "prometheus" else "base_url"
        moved = {"kind": kind, **shown, address: "https://evil.example"}
        if kind == "check":
            with pytest.raises(InvalidConfig):  # it has a secret in a file
                replace_sources(made.environment, [moved], secrets=False)
            moved["steps"] = [{"url": "/"}]
            replace_sources(made.environment, [moved], secrets=False)
            assert "planted" not in made.environment.sources.get().config.open()
        else:
            replace_sources(made.environment, [moved], secrets=False)
            assert "headers" not in reveal(made.environment.sources.get())
        assert not Source.objects.filter(pk=source.pk).exists()
        Source.objects.all().delete()


def test_a_list_without_secrets_keeps_them_for_the_same_address(made: NewProject) -> None:
    source = add_source(made.environment, "prometheus", PROMETHEUS)
    given = {"kind": "prometheus", "url": "https://prometheus.example/", "expressions": {"error_rate": "errors"}}
    assert replace_sources(made.environment, [given], secrets=False)
    assert not replace_sources(made.environment, [given], secrets=False)
    source.refresh_from_db()
    assert reveal(source)["headers"] == PROMETHEUS["headers"]
    assert reveal(source)["expressions"] == {"error_rate": "errors"}


def test_a_call_does_not_send_signatures_where_nobody_configured(call: Any, client: Client) -> None:
    signed = create_project("signed", environment="prod", endpoint="https://shop.example/ds-metrics", signed=True)
    with pytest.raises(InvalidConfig, match="signed_elsewhere"):
        replace_sources(signed.environment, [{"kind": "endpoint", "url": "https://evil.example/x"}])
    with pytest.raises(InvalidConfig, match="signed_elsewhere"):
        replace_sources(signed.environment, [{"kind": "endpoint", "targets": ["https://evil.example/x"]}])
    assert replace_sources(signed.environment, [{"kind": "endpoint", "url": "https://shop.example/other"}])


def test_sources_are_moved(made: NewProject) -> None:
    first = add_source(made.environment, "prometheus", PROMETHEUS)
    second = add_source(made.environment, "check", JOURNEY)
    move_source(second, -1)
    move_source(second, -1)
    assert [row.pk for row in made.environment.sources.all()] == [second.pk, first.pk]
    made.environment.refresh_from_db()
    assert made.environment.source_kinds == ["check", "prometheus"]


def test_commands_configure_sources(tmp_path: Any) -> None:
    file = tmp_path / "source.json"
    file.write_text(json.dumps(PROMETHEUS))
    out = StringIO()
    call_command("create_project", "cli", source="prometheus", source_config=f"@{file}", stdout=out)
    assert "Source       prometheus" in out.getvalue()

    def sources(**options: Any) -> str:
        out = StringIO()
        call_command("sources", project="cli", stdout=out, **options)
        return out.getvalue()

    sources(add="check", config=json.dumps(JOURNEY))
    listed = sources(up=2)
    assert listed.index("check") < listed.index("prometheus")
    assert "planted" not in listed
    assert json.loads(sources(remove=1, json=True))["sources"][0]["kind"] == "prometheus"
    with pytest.raises(CommandError, match=r"expressions\.error_rate: This has to be a text"):
        sources(change=1, config=json.dumps({**PROMETHEUS, "expressions": {"error_rate": 1}}))
    for wrong in ({"remove": 4}, {"add": "nagios"}, {"add": "check", "config": "{"}, {"env": "staging"}):
        with pytest.raises(CommandError):
            sources(**wrong)
    with pytest.raises(CommandError, match="No source gave"):
        sources(test=True)
    sources(add="alerts")
    with pytest.raises(CommandError, match="No source gave"):
        sources(test=True)  # alerts are sent here: there is nothing to ask
    environment = Environment.objects.get(project__name="cli")
    assert try_source(environment, "alerts", {}).problem == Fact("nothing_to_ask")


FILE = """
sensitivity = "high"

[[sources]]
kind = "prometheus"
url = "https://prometheus.example"
[sources.expressions]
error_rate = "errors"

[environments.staging]
sources = []
"""


def triggered(call: Any, text: Any, **more: Any) -> Any:
    answer = call("POST", {"env": "prod", "policy": text, "force": True, **more}, "/deployments/trigger")
    return answer.status_code, answer.json()


def test_a_file_brings_sources_and_keeps_stored_secrets(call: Any, made: NewProject) -> None:
    source = add_source(made.environment, "prometheus", PROMETHEUS)
    status, answer = triggered(call, FILE)
    assert status == 200
    assert "sources of the environment are those of the file now: prometheus" in answer["message"]
    source.refresh_from_db()
    assert reveal(source)["headers"] == PROMETHEUS["headers"]
    assert reveal(source)["expressions"] == {"error_rate": "errors"}
    assert "sources of the environment" not in (triggered(call, FILE)[1]["message"] or "")
    moved = FILE.replace("https://prometheus.example", "https://evil.example")
    assert triggered(call, moved)[0] == 200
    [row] = made.environment.sources.all()
    assert "planted" not in row.config.open()


def test_a_wrong_file_changes_nothing_and_names_the_field(call: Any, made: NewProject) -> None:
    add_source(made.environment, "prometheus", PROMETHEUS)
    for wrong, field in (
        (FILE.replace('error_rate = "errors"', "error_rate = 3"), "sources.0.expressions.error_rate"),
        (FILE + '[[sources]]\nkind = "check"\npassword = "x"\n', ""),
        (FILE.replace("[sources.exp", 'headers = {Authorization = "x"}\n[sources.exp'), "sources.0.headers"),
        ({"sources": "prometheus"}, "sources"),
        ({"sources": [{"kind": "check"}]}, "sources.0.steps"),
    ):
        status, answer = triggered(call, wrong)
        assert status == 400, (wrong, answer)
        assert field in str(answer["error"]["fields"]["policy"])
    assert made.environment.sources.get().kind == "prometheus"
    assert not made.environment.deployments.exists()


def test_a_file_with_sources_alone_leaves_the_policy_and_alerts(call: Any, made: NewProject) -> None:
    assert triggered(call, 'sensitivity = "low"')[0] == 200
    own = {"environments": {"prod": {"sources": [{"kind": "push"}]}}, "sources": [{"kind": "check", **JOURNEY}]}
    assert triggered(call, own)[0] == 200
    made.environment.refresh_from_db()
    assert made.environment.policy["sensitivity"] == "low"
    assert made.environment.source_kinds == ["push"]
