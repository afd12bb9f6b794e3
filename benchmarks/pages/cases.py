"""Cases of `make bench-pages`: pages and files as a browser requests them, and alternatives to the list's queries."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q
from django.db.models.functions import Lower
from django.test import Client
from django.urls import reverse

from accounts.models import Membership, Team, User
from dashboard.deployments.filters import ORDERS, DeploymentFilters
from dashboard.deployments.listing import deployments_page
from dashboard.keyset import PAGE_SIZE
from dashboard.scope import scope_of
from dashboard.tests import scenes
from deployments.models import Deployment
from projects.models import Environment

Case = tuple[str, Callable[[], Any]]


def member(name: str, teams: int, **columns: Any) -> User:
    """Create a user who is a member of so many teams."""
    user = User.objects.create(username=name, **columns)
    rows = [Membership(user=user, team=team) for team in Team.objects.order_by("id")[:teams]]
    Membership.objects.bulk_create(rows)
    return user


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def get(client: Client, path: str, query: dict[str, str] | None = None) -> bytes:
    """Request a page; return its body. Fails unless the status is 200."""
    answer: Any = client.get(f"{path}?{urlencode(query)}" if query else path)
    assert answer.status_code == 200, (path, query, answer.status_code)  # noqa: S101  (a page that failed has no time)
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def filters_of_bench() -> list[dict[str, str]]:
    """Return common and rare values of every filter of the list."""
    rare = Deployment.objects.filter(branch__startswith="renovate/").order_by("id")[10]
    project = str(rare.project.uuid)
    return [
        {},
        *({"verdict": name} for name in ("ok", "warning", "rollback_recommended", "none", "inconclusive", "early")),
        *({"state": name} for name in ("analyzed", "finished", "abandoned")),
        *({"branch": name} for name in ("main", rare.branch, "nowhere")),
        *({"author": name} for name in ("Ada Lovelace", "nobody")),
        {"environment": "prod"},
        {"project": project},
        {"project": project, "environment": "prod", "verdict": "warning"},
        *({"range": name} for name in ("24h", "7d", "30d")),
        *(
            {"q": words}
            for words in ("main", "ada", "shop", "2", rare.commit_sha[:7], "#12", "feature/check", "nothing")
        ),
        {"q": "ada renovate/dj"},
        {"q": "ada", "verdict": "warning", "range": "30d"},
    ]


def pages(deep: int) -> Iterator[Case]:
    """Yield every page with its name. The target applies to names that begin with "page"."""
    people = {
        "60 projects": member("everywhere", 1000),
        "5 projects": member("somewhere", 1),
        "superuser": member("root", 0, is_superuser=True),
    }
    for who, user in people.items():
        client = signed_in(user)
        for query in filters_of_bench():
            if "project" in query and who == "5 projects":
                continue
            # Every order for filters that find everything, little, or by words; the slowest orders for the others.
            wide = who == "60 projects" and (not query or "q" in query or query.get("verdict") in ("ok", "early"))
            orders = list(ORDERS) if wide else ["-started", "-verdict", "project"]
            for order in orders:
                asked = {**query, **({"sort": order} if order != "-started" else {})}
                yield f"page: deployments {asked or ''}, {who}", partial(get, client, "/dashboard/deployments/", asked)
    client, user = signed_in(people["60 projects"]), people["60 projects"]
    for order in ORDERS:
        cursor = cursor_of(user, order, deep)
        asked = {"sort": order, "cursor": cursor}
        yield f"page: deployments, page {deep}, {order}", partial(get, client, "/dashboard/deployments/", asked)
    code = {"code": "high_latency", "range": "30d"}
    for query in ({}, {"severity": "critical"}, code, {"since": "2020-01-01T00:00"}):
        yield f"page: hints {query or ''}", partial(get, client, "/dashboard/hints/", query)
    environment = Environment.objects.select_related("project").order_by("id")[0]
    # A deployment with samples, checks and hints, from the real judge.
    deployment = scenes.judged(environment, **scenes.BROKEN)
    addressed = {"deployment": deployment.uuid, "environment": environment.pk, "project": environment.project.uuid}
    for name in ("overview", "deployment", "environment", "projects", "project"):
        path = reverse(f"dashboard:{name}", args=[addressed[name]] if name in addressed else [])
        yield f"page: {name}", partial(get, client, path)
    yield from alternatives(user, deep)


def cursor_of(user: User, order: str, pages_on: int) -> str:
    filters = DeploymentFilters({"sort": order}, scope_of(user))
    cursor = ""
    for _ in range(pages_on - 1):
        cursor = deployments_page(filters, cursor).older
    return cursor


def alternatives(user: User, deep: int) -> Iterator[Case]:
    """Yield queries for the rows of a page: ours, and the usual ones."""
    deep_rows = (deep - 1) * PAGE_SIZE
    for order, keys in (("-started", ["-started_at", "-id"]), ("-confidence", ["-verdict__confidence", "-id"])):
        filters = DeploymentFilters({"sort": order}, scope_of(user))
        cursor = cursor_of(user, order, deep)
        yield f"rows: page {deep} {order}, by place", partial(deployments_page, filters, cursor)
        yield f"rows: page {deep} {order}, by OFFSET", partial(by_offset, user, Q(), keys, deep_rows)
        last = Deployment.objects.count() - 100
        yield f"rows: the last page {order}, by OFFSET", partial(by_offset, user, Q(), keys, last)
    for word in ("renovate/dj", "4f2a9c1"):
        filters = DeploymentFilters({"q": word}, scope_of(user))
        names = ("branch", "version", "author", "commit_sha", "project__name")
        contains = Q()
        for name in names:
            contains |= Q(**{f"{name}__icontains": word})
        yield f"rows: search {word}, by index", partial(deployments_page, filters)
        yield f"rows: search {word}, by ILIKE", partial(by_offset, user, contains, ["-started_at", "-id"], 0)
    yield "rows: by project, ours", partial(deployments_page, DeploymentFilters({"sort": "project"}, scope_of(user)))
    by_name: list[Any] = [Lower("project__name"), "-started_at", "-id"]
    yield "rows: by project, ORDER BY its name", partial(by_offset, user, Q(), by_name, 0)


def by_offset(user: User, condition: Q, order: list[Any], offset: int) -> tuple[list[Deployment], int]:
    rows = Deployment.objects.visible_to(user).filter(condition).select_related("project", "environment", "verdict")
    return list(rows.order_by(*order)[offset : offset + PAGE_SIZE]), rows.count()


def files() -> Iterator[Case]:
    """Yield downloads of everything and of a filtered list."""
    client = signed_in(User.objects.get(username="everywhere"))
    for kind in ("csv", "json"):
        yield f"file: all deployments, {kind}", partial(get, client, f"/dashboard/deployments/{kind}/")
    yield "file: verdict warning, csv", partial(get, client, "/dashboard/deployments/csv/", {"verdict": "warning"})
