"""Looking at pages without a browser."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from lxml.html import HtmlElement, fromstring, tostring

from accounts.models import Role
from accounts.tests.factories import make_membership
from deployments.models import Deployment
from projects.models import Environment

LIST = "/dashboard/deployments/"
# What forms and addresses have to stand in any field.
HOSTILE = ["", "\0", "a\0b", "é\u202e", "-1", "1e400", "9" * 5000, " ", "right\0", "a\nb", "\u202e", "\x1b[1m", "[]"]
HOSTILE += ["-0", "1e-999999999", "1e999999999", "NaN", "-Infinity", "0x10", "1,5", "٣", "0." + "0" * 4000 + "1"]
HOSTILE += ["x" * 101, "x" * 5000, "' OR 1=1", "'", "\\", "%00", "{{7*7}}", "<script>alert(1)</script>"]
HOSTILE += ["a\r\nBcc: b@example.com", "null"]


def address(deployment: Deployment) -> str:
    """Of the deployment's page."""
    return f"{LIST}{deployment.uuid}/"


def queries_of(client: Client, path: str, **query: str) -> int:
    """Request the page; return how many queries it takes."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path, query).status_code == 200
    return len(captured)


def same_queries(client: Client, add: Callable[[], object], expected: Mapping[str, int], *, more: int = 6) -> None:
    """Assert that the pages, by address, take so many queries after one call of `add`, and after many."""
    for times in (1, more):
        for _ in range(times):
            add()
        assert {path: queries_of(client, path) for path in expected} == expected


def all_rows(read: Callable[..., Any], filters: Any, *, size: int) -> list[Any]:
    """Return the rows of all pages of a list, read as `size` at a time."""
    page = read(filters, size=size)
    rows = [*page.rows]
    while page.older:
        page = read(filters, page.older, size=size)
        rows += page.rows
    return rows


def elements(page: Any, css: str) -> list[Any]:
    """What a CSS selector finds in a response, in markup or in an element of lxml."""
    found: list[Any] = parsed(page).cssselect(css)
    return found


def words(page: Any, css: str = "") -> str:
    """The text of the page, or of the first element of the selector, without scripts; white space folded."""
    element = elements(page, css)[0] if css else parsed(page)
    return " ".join(" ".join(element.xpath(".//text()[not(parent::script or parent::style)]")).split())


def shows(page: Any, *texts: str, without: Iterable[str] = (), status: int = 200) -> None:
    """Assert that the text of a page, a response (of this status) or words, has all these parts, and none of those."""
    _check(page, texts, without, status, words)


def has(page: Any, *parts: str, without: Iterable[str] = (), status: int = 200) -> None:
    """Assert like `shows`, of the page's markup."""
    _check(page, parts, without, status, lambda response: str(response.content.decode()))


def _check(page: Any, parts: Iterable[str], without: Iterable[str], status: int, read: Callable[[Any], str]) -> None:
    if not isinstance(page, str):
        assert page.status_code == status, f"{page.status_code} instead of {status}: {words(page)[:500]}"
    text = page if isinstance(page, str) else read(page)
    wrong = [f"without {part!r}" for part in parts if part not in text]
    wrong += [f"with {part!r}" for part in without if part in text]
    assert not wrong, f"{', '.join(wrong)}: {text}"


def fresh(row: Model) -> Any:
    """Return the row with its columns as they are stored now."""
    row.refresh_from_db()
    return row


def parsed(page: Any) -> Any:
    if isinstance(page, HtmlElement):
        return page
    return fromstring(page if isinstance(page, str) else page.content.decode())


def markup(element: Any) -> str:
    """The source of an element, white space folded."""
    return " ".join(tostring(element, encoding="unicode", with_tail=False).split())


def figure(page: Any, metric: str) -> Any:
    """The chart of a metric."""
    return elements(page, f"figure:has(#chart-{metric}-title)")[0]


def page_of(environment: Environment) -> str:
    """Of the environment's policy."""
    return f"/dashboard/environments/{environment.pk}/policy/"


def project_page_of(environment: Environment) -> str:
    """Of the environment's project."""
    return f"/dashboard/projects/{environment.project.uuid}/"


def filled_in(client: Client, environment: Environment) -> dict[str, str]:
    """Return the data that a browser would send for the form."""
    return form_with(".policy-form", client.get(page_of(environment)))


def form_with(css: str, page: Any) -> dict[str, str]:
    """Return the data that a browser would send for the form that is, or contains, the first match of the selector."""
    element = elements(page, css)[0]
    form = element if element.tag == "form" else next(element.iterancestors("form"))
    # lxml leaves out what has no value, a browser sends it empty.
    empty = {field.name: "" for field in form.cssselect("input[name]:not([type=checkbox]):not([type=radio])")}
    return {name: value for name, value in (empty | dict(form.form_values())).items() if name != "csrfmiddlewaretoken"}


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
