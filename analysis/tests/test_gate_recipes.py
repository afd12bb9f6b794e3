"""The recipes of docs/ci/ that ask the gate themselves, read as their tools read them.

Sources of the rules: Argo Rollouts, metricproviders/webmetric (a status other than 2xx is an error; the JSONPath has to
be there); Flagger, pkg/controller/webhook.go (more than 202 is no); Kargo, the reference of its http step (failure
first); Spinnaker, MonitorWebhookTask of orca (429 and 5xx again, other errors end it, the JSONPath leads to one text).
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from django.test import Client

from analysis.tests.factories import make_verdict
from deployments.models import Deployment
from deployments.tests.pipeline import Pipeline
from projects.services import NewProject

pytestmark = pytest.mark.django_db

PAGES = Path(__file__).resolve().parents[2] / "docs/ci"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
KEY = "the key"


def recipe(page: str) -> Any:
    """Return the first block of a page, with the placeholders of its tool filled in."""
    _, text = re.findall(r"^```(\w+)\n(.*?)^```", (PAGES / page).read_text(), re.MULTILINE | re.DOTALL)[0]
    for commit in ("{{args.commit}}", "${{ vars.commit }}", "${trigger.hash}"):
        text = text.replace(commit, COMMIT)
    for key in ("{{args.api-key}}", "${{ secret('seqpulse').apiKey }}", "${parameters.seqpulseKey}"):
        text = text.replace(key, KEY)
    return json.loads(text) if text.startswith("{") else yaml.safe_load(text)


def get(url: str, key: str, given_key: str, **query: str) -> Any:
    """Call an address of a recipe, with the API key where the recipe has it."""
    assert key == KEY
    parts = urlsplit(url)
    return Client(headers={"X-API-Key": given_key}).get(parts.path, {**dict(parse_qsl(parts.query)), **query})


def argo(key: str) -> str:
    [metric] = recipe("argo-rollouts.md")["spec"]["metrics"]
    web = metric["provider"]["web"]
    [header] = web["headers"]
    assert (header["key"], web["jsonPath"]) == ("X-API-Key", "{$.gate}")
    # Otherwise a run of inconclusive answers alone would count as successful.
    assert metric["inconclusiveLimit"] < metric["count"]
    answer = get(web["url"], header["value"], key)
    if not 200 <= answer.status_code < 300:
        return "error"
    conditions = {
        name: re.fullmatch(r'result == "(\w+)"', metric[f"{name}Condition"]) for name in ("failure", "success")
    }
    met = [name for name, found in conditions.items() if found and answer.json()["gate"] == found[1]]
    return {"failure": "no", "success": "yes"}[met[0]] if met else "later"


# What the http step takes: Kargo's reference has a table, no package has a schema.
KARGO_CONFIG = {
    *("method", "url", "headers", "queryParams", "body", "insecureSkipTLSVerify", "timeout"),
    *("successExpression", "failureExpression", "outputs"),
}


def kargo(key: str) -> str:
    [step] = recipe("kargo.md")["spec"]["steps"]
    config = step["config"]
    assert set(config) <= KARGO_CONFIG
    [header] = config["headers"]
    answer = get(config["url"], header["value"], key, **{one["name"]: one["value"] for one in config["queryParams"]})
    gate = answer.json()["gate"]
    assert config["successExpression"] == "response.body.gate == 'pass'"
    failing = re.fullmatch(r"response\.body\.gate in \['(\w+)', '(\w+)'\]", config["failureExpression"])
    assert failing is not None
    return "no" if gate in failing.groups() else "yes" if gate == "pass" else "later"


def spinnaker(key: str) -> str:
    stage = recipe("spinnaker.md")
    assert (stage["statusJsonPath"], stage["statusUrlResolution"]) == ("$.gate", "getMethod")
    answer = get(stage["url"], stage["customHeaders"]["X-API-Key"], key)
    if answer.status_code >= 400:
        return "later" if answer.status_code >= 500 or answer.status_code in (429, *stage["retryStatusCodes"]) else "no"
    gate = answer.json()["gate"]
    assert isinstance(gate, str)
    if gate in stage["successStatuses"].split(","):
        return "yes"
    return "no" if gate in stage["terminalStatuses"].split(",") else "later"


@pytest.mark.parametrize("ask", [argo, kargo, spinnaker])
def test_a_tool_waits_for_its_commit_and_goes_by_the_verdict(
    pipeline: Pipeline, made: NewProject, ask: Callable[[str], str]
) -> None:
    assert ask(made.api_key) == "later"
    make_verdict(Deployment.objects.get(uuid=pipeline.start(commit_sha="fedcba98")))
    assert ask(made.api_key) == "later"
    uuid = pipeline.start(commit_sha=COMMIT)
    assert ask(made.api_key) == "later"
    for verdict, expected in (("ok", "yes"), ("warning", "yes"), ("rollback_recommended", "no")):
        judged = make_verdict(Deployment.objects.get(uuid=uuid), verdict=verdict)
        assert ask(made.api_key) == expected
        judged.delete()
    assert ask("sp_wrong") in ("no", "error")


def test_the_webhooks_of_flagger_reach_their_addresses(pipeline: Pipeline, made: NewProject) -> None:
    def ask() -> dict[str, bool]:
        hooks = recipe("flagger.md")["spec"]["analysis"]["webhooks"]
        found = {}
        for hook in hooks:
            # No package has the schema of a Canary: the fields that Flagger's documentation has in its examples.
            assert set(hook) == {"name", "type", "url", "timeout", "metadata"}
            assert hook["metadata"]["key"].startswith("sp_")
            metadata = {**hook["metadata"], "key": made.api_key}
            # metadata is a map of texts.
            assert all(isinstance(text, str) for text in metadata.values())
            body = {"name": "shop", "namespace": "prod", "phase": "Progressing", "checksum": "1", "metadata": metadata}
            answer = Client().post(urlsplit(hook["url"]).path, body, content_type="application/json")
            found[hook["type"]] = answer.status_code <= 202
        return found

    assert ask() == {"confirm-rollout": True, "confirm-promotion": False, "rollback": False}
    deployment = Deployment.objects.get(uuid=pipeline.start())
    good = make_verdict(deployment)
    assert ask() == {"confirm-rollout": True, "confirm-promotion": True, "rollback": False}
    good.delete()
    make_verdict(deployment, verdict="rollback_recommended")
    assert ask() == {"confirm-rollout": True, "confirm-promotion": False, "rollback": True}
