"""What strangers with a link see: a feed of verdicts, a badge, a page. No sign-in; no commit messages."""

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import uuid5

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.cache import get_conditional_response, patch_cache_control
from django.utils.feedgenerator import Atom1Feed
from django.utils.html import escape
from django.utils.http import http_date, quote_etag
from django.utils.translation import get_language
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from analysis.models import DeploymentVerdict
from common.links import public_link
from dashboard.deployments.queries import with_latest
from dashboard.i18n import message
from dashboard.labels import Status, status_by_name
from notifications.plain import line
from projects.models import Environment, LinkKind, PublicLink
from projects.public_links import find
from security.limits import Caller, Limit, limited

ENTRIES = 50
FRESH_S = 60
PUBLIC = Limit(("public",), Caller.ADDRESS)
COLOURS = {"ok": "#1a7f37", "warning": "#9a6700", "critical": "#b42318"}
OTHER = "#57606a"
# Of the badge, in px: of a letter, on each side of a text.
LETTER, AROUND = 6.8, 6
# XML takes no control characters, and names may have some.
LONGEST = 2000


def for_link(kind: LinkKind) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponseBase]]:
    """Find the link of this kind, for a view that gets it instead of the token.

    Feeds and badges are in the language of the link; pages in that of the reader.
    """

    def decorate(view: Callable[[HttpRequest, PublicLink], HttpResponse]) -> Callable[..., HttpResponseBase]:
        @limited(PUBLIC)
        @require_safe
        def public(request: HttpRequest, token: str) -> HttpResponseBase:
            link = find(token, kind)
            if link is None:
                raise Http404
            language = get_language() if kind == LinkKind.PAGE else link.language
            with translation.override(language):
                response = view(request, link)
            response["X-Robots-Tag"] = "noindex"
            response["Referrer-Policy"] = "no-referrer"
            return response

        return csrf_exempt(public)  # other methods are refused with 405, not for want of a token

    return decorate


def environments_of(link: PublicLink) -> QuerySet[Environment]:
    """Return the environments that a link shows."""
    rows = Environment.objects.not_deleted().filter(project=link.project)
    if link.environments or link.kind != LinkKind.FEED:
        rows = rows.filter(pk__in=link.environments)
    return rows


def cached(
    request: HttpRequest, response: HttpResponse, *, modified: datetime | None = None, public: bool
) -> HttpResponse:
    """Let the answer be cached for a minute; answer 304 where it is unchanged."""
    etag = quote_etag(sha256(response.content).hexdigest()[:32])
    response["ETag"] = etag
    if modified is not None:
        response["Last-Modified"] = http_date(modified.timestamp())
    patch_cache_control(response, max_age=FRESH_S, **({"public": True} if public else {"private": True}))
    at = int(modified.timestamp()) if modified is not None else None
    found: Any = get_conditional_response(request, etag=etag, last_modified=at, response=response)
    return found  # type: ignore[no-any-return]  # the stubs are wider


# --- the feed -------------------------------------------------------------------------------------------------------


class Feed(Atom1Feed):
    """An Atom feed that is as old as what it is about where it has no entries yet."""

    def latest_post_date(self) -> datetime:
        if self.items:
            return super().latest_post_date()
        made: datetime = self.feed["made"]
        return made


@for_link(LinkKind.FEED)
def feed(request: HttpRequest, link: PublicLink) -> HttpResponse:
    """Answer with the latest verdicts as Atom (RFC 4287)."""
    environments = {one.pk: one for one in environments_of(link)}
    # By project as well, whose index has the order: else the verdicts of all of its deployments are sorted.
    rows = DeploymentVerdict.objects.filter(
        deployment__project=link.project, deployment__environment_id__in=list(environments)
    )
    made = Feed(
        title=line(link.title, LONGEST),
        link=public_link("dashboard:project", link.project.uuid, request=request),
        description=None,
        language=link.language,
        author_name="SeqPulse",
        feed_guid=uuid5(link.project.uuid, str(link.pk)).urn,
        made=link.created_at,
    )
    for row in rows.select_related("deployment").order_by("-deployment__started_at", "-pk")[:ENTRIES]:
        deployment, standing = row.deployment, row.standing
        status = status_by_name(standing.verdict.verdict)
        name = line(f"{link.title} {environments[deployment.environment_id].name}", LONGEST)
        made.add_item(
            title=f"{name} #{deployment.number}: {status.label}",
            link=public_link("dashboard:deployment", deployment.uuid, request=request),
            description=escape(line(message(standing.verdict.summary), LONGEST)),  # a summary is HTML
            unique_id=deployment.uuid.urn,
            pubdate=row.created_at,
            updateddate=max(row.created_at, standing.at or row.created_at),
        )
    response = HttpResponse(made.writeString("utf-8"), content_type="application/atom+xml; charset=utf-8")
    return cached(request, response, modified=made.latest_post_date(), public=False)


# --- the badge ------------------------------------------------------------------------------------------------------


@for_link(LinkKind.BADGE)
def badge(request: HttpRequest, link: PublicLink) -> HttpResponse:
    """Answer with the state of an environment as a small picture."""
    states = states_of(link)
    content = drawn(link.title, *states[0][:2]) if states else drawn(link.title)
    return cached(request, HttpResponse(content, content_type="image/svg+xml; charset=utf-8"), public=True)


def drawn(title: str, environment: Environment | None = None, status: Status | None = None) -> str:
    """Draw a badge, as SVG, in the active language."""
    name = line(f"{title} {environment.name}" if environment is not None else title, LONGEST)
    label = str(status.label) if status is not None else "–"
    left, right = (round(len(text) * LETTER + 2 * AROUND) for text in (name, label))
    context = {
        "name": name,
        "label": label,
        "left": left,
        "right": right,
        "width": left + right,
        "left_middle": left / 2,
        "right_middle": left + right / 2,
        "colour": COLOURS.get(status.key, OTHER) if status is not None else OTHER,
    }
    with translation.override("en"):  # coordinates with a full stop
        return render_to_string("dashboard/public/badge.svg", context)


def states_of(link: PublicLink) -> list[tuple[Environment, Status | None, datetime | None]]:
    """Return the environments by name, with the state of their latest deployment, and since when."""
    return [
        (one, one.latest.status, one.latest.deployment.started_at) if one.latest else (one, None, None)
        for one in with_latest(environments_of(link))
    ]


# --- the page -------------------------------------------------------------------------------------------------------


@for_link(LinkKind.PAGE)
def project(request: HttpRequest, link: PublicLink) -> HttpResponse:
    """Show the states of the chosen environments."""
    response = render(request, "dashboard/public/project.html", {"link": link, "states": states_of(link)})
    patch_cache_control(response, private=True, max_age=FRESH_S)
    return response
