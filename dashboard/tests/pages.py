"""Looking at pages without a browser."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Role
from accounts.tests.factories import make_membership
from deployments.models import Deployment
from projects.models import Environment

LIST = "/dashboard/deployments/"


def address(deployment: Deployment) -> str:
    """Of the deployment's page."""
    return f"{LIST}{deployment.uuid}/"


def queries_of(client: Client, path: str, **query: str) -> int:
    """Request the page; return how many queries it takes."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path, query).status_code == 200
    return len(captured)


def words(response: Any) -> str:
    """The text of the page without tags, white space folded."""
    return words_of(re.sub(r"<(script|style).*?</\1>", " ", response.content.decode(), flags=re.S))


def words_of(markup: str) -> str:
    """Markup without its tags, white space folded."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def page_of(environment: Environment) -> str:
    """Of the environment's policy."""
    return f"/dashboard/environments/{environment.pk}/policy/"


def project_page_of(environment: Environment) -> str:
    """Of the environment's project."""
    return f"/dashboard/projects/{environment.project.uuid}/"


def filled_in(client: Client, environment: Environment) -> dict[str, str]:
    """Return the data that a browser would send for the form."""
    return form_with('class="policy-form"', client.get(page_of(environment)))


def form_with(mark: str, page: Any) -> dict[str, str]:
    """Return the data that a browser would send for the first form on the page that contains the mark."""
    body = page.content.decode()
    form = body[body.rindex("<form", 0, body.index(mark)) :]
    form = form[: form.index("</form>")]
    data = {}
    for tag in re.findall(r"<input[^>]*>", form):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        kind, chosen = attributes.get("type"), " checked" in tag
        if kind not in ("checkbox", "radio") or chosen:
            value = attributes.get("value", "on" if kind == "checkbox" else "")
            data[html.unescape(attributes["name"])] = html.unescape(value)
    for name, options in re.findall(r'<select name="([^"]+)".*?>(.*?)</select>', form, re.S):
        data[name] = re.findall(r'value="([^"]*)" selected', options)[0]
    data.pop("csrfmiddlewaretoken", None)
    return data


def send(client: Client, environment: Environment, do: str = "save", **fields: str) -> Any:
    """Submit the form with changed fields; a dot in a name is written as __, "" empties a field."""
    changed = {name.replace("__", "."): text for name, text in fields.items()}
    data = {**filled_in(client, environment), **changed}
    return client.post(page_of(environment), {**{k: v for k, v in data.items() if v != "off"}, "do": do})


def as_role(environment: Environment, role: str | None) -> Client:
    """Return a client signed in with this role in the environment's team; None: an owner of another team."""
    client = Client()
    team = {} if role is None else {"team": environment.project.team}
    client.force_login(make_membership(**team, role=role or Role.OWNER).user)
    return client


def exclude(client: Client, environment: Environment, **fields: str) -> Any:
    """Sends the form for a window that feeds no baseline."""
    data = {f"window-{name}": text for name, text in fields.items()}
    return client.post(f"/dashboard/environments/{environment.pk}/windows/", data)


def moment(**ago: float) -> str:
    """A time so long ago, as a browser sends it."""
    return f"{timezone.now() - timedelta(**ago):%Y-%m-%dT%H:%M}"
