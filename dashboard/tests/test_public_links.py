"""What strangers see: feeds, badges and public pages of projects, and what they do not."""

from base64 import b64decode
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from lxml import etree

from accounts.invitations import hash_token
from accounts.models import Role
from accounts.tests.factories import make_membership
from analysis.models import DeploymentVerdict
from analysis.tests.factories import make_verdict
from dashboard.tests.pages import elements
from deployments.tests.factories import make_deployment
from projects.models import Project, PublicLink
from projects.public_links import make_link
from projects.tests.factories import make_environment

pytestmark = pytest.mark.django_db
ATOM = "{http://www.w3.org/2005/Atom}"
SECRET = "Fix the leak of salaries"


@pytest.fixture
def project() -> Project:
    """A project with a verdict in prod, and another in staging."""
    prod = make_environment(name="prod")
    staging = make_environment(name="staging", project=prod.project)
    for environment, verdict in ((prod, "rollback_recommended"), (staging, "ok")):
        deployment = make_deployment(environment=environment, state="analyzed", commit_message=SECRET, author="ana")
        make_verdict(deployment, verdict=verdict)
    return prod.project


def link(project: Project, kind: str, *names: str, language: str = "en") -> str:
    ids = list(project.environments.filter(name__in=names).values_list("pk", flat=True))
    return make_link(project, {"kind": kind, "title": "Our shop", "environments": ids, "language": language}, by=None)


def test_the_feed_is_valid_atom_and_answers_304(project: Project, client: Client) -> None:
    token = link(project, "feed")
    answer = client.get(f"/feeds/{token}.atom")
    assert answer["Content-Type"].startswith("application/atom+xml")
    root = etree.fromstring(answer.content)
    assert root.tag == f"{ATOM}feed"
    for element in (root, *root.findall(f"{ATOM}entry")):
        # RFC 4287, 4.1.1 and 4.1.2: exactly one of each.
        assert [len(element.findall(f"{ATOM}{name}")) for name in ("id", "title", "updated")] == [1, 1, 1]
    assert root.find(f"{ATOM}author/{ATOM}name") is not None
    titles = [one.findtext(f"{ATOM}title") for one in root.findall(f"{ATOM}entry")]
    assert len(titles) == 2 and any(title.startswith("Our shop prod #1: ") for title in titles if title)
    assert token not in answer.content.decode() and SECRET not in answer.content.decode()
    for known in ({"If-None-Match": answer["ETag"]}, {"If-Modified-Since": answer["Last-Modified"]}):
        assert client.get(f"/feeds/{token}.atom", headers=known).status_code == 304


def test_a_badge_is_shown_with_markdown_once_it_is_made(client: Client) -> None:
    environment = make_environment(name="prod")
    project = environment.project
    client.force_login(make_membership(team=project.team, role=Role.ADMIN).user)
    address = f"/dashboard/projects/{project.uuid}/links/"
    # The only environment is chosen.
    assert elements(client.get(address), f'input[name=environments][value="{environment.pk}"][checked]')
    given = {"kind": "badge", "title": "Our [shop]\\", "environments": environment.pk, "language": "fr"}
    page = client.post(address, given)
    [markdown] = elements(page, "#markdown")
    [made] = elements(page, "#public-link")
    assert markdown.text == f"![Our  shop  prod]({made.text})"
    [picture] = elements(client.get(address), "img[alt='The badge as it is now']")
    svg = b64decode(picture.get("src").removeprefix("data:image/svg+xml;base64,"))
    assert svg == client.get(urlsplit(made.text).path).content
    make_environment(name="staging", project=project)
    assert not elements(client.get(address), "input[name=environments][checked]")
    assert not elements(client.post(address, {"kind": "feed", "title": "x", "language": "en"}), "#markdown")


def test_feeds_differ_by_their_ids_and_their_summaries_are_html(project: Project, client: Client) -> None:
    DeploymentVerdict.objects.update(summary="<b>p95</b> & more", fact=None)
    feeds = [client.get(f"/feeds/{link(project, 'feed', name)}.atom").content for name in ("prod", "staging", "prod")]
    ids = {etree.fromstring(feed).findtext(f"{ATOM}id") for feed in feeds}
    assert len(ids) == 3
    summary = etree.fromstring(feeds[0]).find(f"{ATOM}entry/{ATOM}summary")
    assert summary is not None and summary.get("type") == "html"
    assert etree.HTML(summary.text or "").xpath("string()") == "<b>p95</b> & more"


def test_an_empty_feed_is_as_old_as_its_link(client: Client) -> None:
    token = link(make_environment().project, "feed")
    first, second = (client.get(f"/feeds/{token}.atom") for _ in range(2))
    assert first["ETag"] == second["ETag"]


@pytest.mark.parametrize(("language", "word"), [("en", "roll"), ("fr", "retour")])
def test_the_badge_says_the_state_of_one_environment(
    project: Project, client: Client, language: str, word: str
) -> None:
    answer = client.get(f"/badges/{link(project, 'badge', 'prod', language=language)}.svg")
    assert answer["Content-Type"].startswith("image/svg+xml") and "max-age=60" in answer["Cache-Control"]
    root = etree.fromstring(answer.content)
    said = root.get("aria-label") or ""
    assert said.startswith("Our shop prod: ") and word in said.casefold()


def test_the_public_page_names_what_was_chosen_and_nothing_else(project: Project, client: Client) -> None:
    answer = client.get(f"/public/{link(project, 'page', 'prod')}/")
    page = answer.content.decode()
    assert "Our shop" in page and "prod" in page and answer["X-Robots-Tag"] == "noindex"
    for hidden in ("staging", SECRET, "ana", project.name, project.team.name, str(project.uuid)):
        assert hidden not in page


PATHS = {"feed": "/feeds/{}.atom", "badge": "/badges/{}.svg", "page": "/public/{}/"}


@pytest.mark.parametrize("kind", PATHS)
def test_a_link_that_is_unknown_revoked_or_of_another_kind_is_not_found(
    project: Project, client: Client, kind: str
) -> None:
    tokens = {kind: link(project, kind, "prod") for kind in PATHS}
    found = {name: client.get(PATHS[kind].format(token)).status_code for name, token in tokens.items()}
    assert found == {name: 200 if name == kind else 404 for name in PATHS}
    assert client.get(PATHS[kind].format("spl_nothing")).status_code == 404
    assert Client(enforce_csrf_checks=True).post(PATHS[kind].format(tokens[kind])).status_code == 405
    PublicLink.objects.filter(digest=hash_token(tokens[kind])).delete()
    assert client.get(PATHS[kind].format(tokens[kind])).status_code == 404


def test_an_admin_makes_a_link_that_is_shown_once_and_revokes_it(project: Project, client: Client) -> None:
    owner = make_membership(team=project.team, role=Role.ADMIN).user
    client.force_login(owner)
    page = f"/dashboard/projects/{project.uuid}/links/"
    wrong = client.post(page, {"kind": "badge", "title": "Our shop", "language": "en"}).content.decode()
    assert "A badge shows one environment" in wrong and not project.public_links.exists()
    made = client.post(page, {"kind": "feed", "title": "Our shop", "language": "en"}).content.decode()
    [shown] = etree.HTML(made).xpath("//code[@id='public-link']/text()")
    assert client.get(shown.removeprefix("http://testserver")).status_code == 200
    assert shown not in client.get(page).content.decode()
    token: Any = shown.rpartition("/")[2].removesuffix(".atom")
    assert not PublicLink.objects.filter(digest=token).exists()
    client.post(f"{page}{project.public_links.get().pk}/revoke/")
    assert client.get(shown.removeprefix("http://testserver")).status_code == 404


@pytest.mark.parametrize(("kind", "extension"), [("feed", "feeds/{}.atom"), ("badge", "badges/{}.svg")])
def test_names_with_characters_that_xml_does_not_take_are_shown_without_them(
    project: Project, client: Client, kind: str, extension: str
) -> None:
    project.environments.filter(name="prod").update(name="pr\x0bo\x1bd\ufffe")
    token = link(project, kind, "pr\x0bo\x1bd\ufffe")
    PublicLink.objects.update(title="Our \x08shop\x1f\uffff")
    answer = client.get("/" + extension.format(token))
    texts = "".join(etree.fromstring(answer.content).itertext())
    assert answer.status_code == 200 and "Our shop pr o d" in texts
