"""Every URL with hostile parameters, fields, methods and headers: none answers 5xx.

Which parameters and fields a URL reads is observed, so that new ones are included by themselves. URLs take the hostile
texts, methods and headers in turn; `make fuzz` gives each of them ten times as many, and other ones in each run.
"""

import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from itertools import cycle, islice
from typing import Any, Generic, TypeVar

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import transaction
from django.test import Client
from django.urls import NoReverseMatch, reverse
from lxml.html import fromstring
from pytest_django.plugin import DjangoDbBlocker

from accounts.tests.factories import make_user
from seqpulse.api import is_api_path
from tests.access_table import LINES, Line
from tests.access_world import World, addresses, admin_addresses, client_of, fields_of, passing_world
from tests.hostile import HOSTILE, encoded, names_read

# django_db also creates the test database: the fixture `world` uses it directly. Other tests cover the lines of all
# pages, and thousands of calls take twice the time while they are measured.
pytestmark = [pytest.mark.django_db, pytest.mark.no_cover]

FUZZING = "SEQPULSE_FUZZ_EXAMPLES" in os.environ
TIMES = 10 if FUZZING else 1
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"


@dataclass(frozen=True)
class Page:
    """A URL. caller, sender: the client that gets furthest with GET and POST, "" for none; base: its form's fields."""

    name: str
    url: str
    caller: str
    sender: str
    base: dict[str, str] = field(default_factory=dict)


@dataclass
class Walk:
    """Calls, and what broke."""

    clients: dict[str, Client]
    broken: list[str] = field(default_factory=list)
    calls: int = 0

    def ask(self, caller: str, method: str, url: str, body: Any = b"", **options: Any) -> Any:
        """Return the answer; roll back its effects."""
        self.calls += 1
        client = self.clients[caller]
        cookies: Any = client.cookies.copy()
        with transaction.atomic():
            answer: Any = client.generic(method, url, body, **options)
            transaction.set_rollback(True)
        client.cookies = cookies
        if answer.status_code >= 500 or not in_form(answer, method, url):
            error = repr(answer.exc_info[1])[:200] if getattr(answer, "exc_info", None) else answer.content[:200]
            shown = (method, url[:300], body[:300], {name: str(value)[:100] for name, value in options.items()})
            self.broken.append(f"{caller}: {shown}: {answer.status_code} {error}")
        return answer


def in_form(answer: Any, method: str, url: str) -> bool:
    """Return whether an error of the API has the form of docs/protocol.md, or that of OTLP (a google.rpc.Status)."""
    path = url.partition("?")[0]
    if answer.status_code < 400 or not is_api_path(path) or method == "HEAD" or path.startswith("/api/"):
        return True
    body = answer.json() if answer["Content-Type"] == "application/json" else {}
    wanted = {"code", "message"} if path == "/v1/metrics" else {"error", "detail"}
    return "status" in body or wanted <= set(body)


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    with django_db_blocker.unblock(), passing_world() as made:
        yield made


@pytest.fixture
def walk(world: World, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    settings.SEQPULSE_SIGNUP_OPEN = True
    from seqpulse.wsgi import Utf8Request  # noqa: PLC0415  (it runs the checks of a start)

    monkeypatch.setattr("django.test.client.WSGIRequest", Utf8Request)
    made = Walk({**world.clients, "staff": client_of(make_user(username="clerk", is_staff=True))})
    yield made
    assert not made.broken, "\n".join(made.broken[:50])


def caller_of(line: Line) -> str:
    if line.is_api:
        return "key"
    return "anonymous" if line.answers["anonymous"] == "200" else "owner"


def pages(world: World) -> Iterator[Page]:
    """Yield every URL, those of the admin with a row that is there."""
    callers = {(line.name, line.method): caller_of(line) for line in LINES}
    for name, address in sorted(addresses().items()):
        caller, sender = (callers.get((name, method), "") for method in ("GET", "POST"))
        yield Page(name, address.url(address.values(world.own)), caller, sender, fields_of(name, world.own))
    rows: dict[str, Any] = {}
    for model in admin.site._registry:
        row = model._default_manager.order_by("pk").last()
        rows |= {f"admin:{model._meta.app_label}_{model._meta.model_name}_": row} if row is not None else {}
    for name, url in admin_addresses():
        row = next((row for start, row in rows.items() if name.startswith(start)), None)
        try:
            yield Page(name, url if row is None else reverse(name, args=[row.pk]), "operator", "operator")
        except NoReverseMatch:
            yield Page(name, url, "operator", "operator")


def lookups(name: str) -> set[str]:
    """Return the parameters of a list of the admin: it reads all that are there."""
    if not name.endswith("_changelist"):
        return set()
    label, _, model_name = name.removeprefix("admin:").removesuffix("_changelist").partition("_")
    shown = admin.site._registry[apps.get_model(label, model_name)]
    fields = [one[0] if isinstance(one, tuple) else one for one in shown.list_filter]
    names = [one if isinstance(one, str) else one.parameter_name for one in fields]  # type: ignore[union-attr]
    suffixes = ("", "__exact", "__gte", "__lt", "__in", "__isnull", "__isempty", "__year", "__id__exact")
    return {f"{one}{suffix}" for one in [*names, "id"] for suffix in suffixes} | {"q", "o", "p", "all", "_facets"}


T = TypeVar("T")


class Turns(Generic[T]):
    """Things in turn, so that all are used where none has time for all."""

    def __init__(self, things: Sequence[T]) -> None:
        self.things = cycle(random.sample(things, len(things)) if FUZZING else things)

    def next(self, number: int) -> list[T]:
        return list(islice(self.things, number))


texts = Turns(HOSTILE)


def hostile(names: Iterable[str], base: Mapping[str, str]) -> Iterator[str]:
    """Yield queries or bodies: a hostile text in all parameters at once, and in some of them beside good ones."""
    known = Turns(sorted(names))
    for value in texts.next(TIMES):
        yield encoded({**base, **{name: value for name in names if not name.startswith("_")}})
    for name in known.next(TIMES):
        for value in texts.next(TIMES):
            yield encoded({**base, name: value})


@pytest.mark.no_cover
def test_no_query_breaks_a_page(world: World, walk: Walk) -> None:
    for page in pages(world):
        if not page.caller:
            continue
        with names_read() as read:
            answer = walk.ask(page.caller, "GET", page.url)
        if answer.status_code != 404:
            for query in hostile({*read, *lookups(page.name), "next", "page", "cursor", "format"}, {}):
                walk.ask(page.caller, "GET", f"{page.url}?{query}")


def form_of(answer: Any) -> dict[str, str]:
    """Return the fields of the largest form of a page, as they are sent without a change."""
    if answer.status_code != 200 or not answer["Content-Type"].startswith("text/html"):
        return {}
    forms = [form for form in fromstring(answer.content).forms if form.method == "POST"]
    return dict(max(forms, key=lambda form: len(form.inputs)).form_values()) if forms else {}


@pytest.mark.no_cover
def test_no_field_breaks_a_form(world: World, walk: Walk) -> None:
    for page in pages(world):
        # Bodies of the API: tests/test_hostile_inputs.py.
        if page.sender in ("", "key"):
            continue
        base = page.base or form_of(walk.ask(page.sender, "GET", page.url))
        base.pop("csrfmiddlewaretoken", None)
        with names_read() as read:
            answer = walk.ask(page.sender, "POST", page.url, encoded(base), content_type=FORM)
        if answer.status_code not in (404, 405):
            for body in hostile({*read, *base} - {"csrfmiddlewaretoken"}, base):
                walk.ask(page.sender, "POST", page.url, body, content_type=FORM)


METHODS = (
    "GET",
    "HEAD",
    "OPTIONS",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "QUERY",
    "get",
    "X" * 300,
)
BODIES = [
    (b"", ""),
    (b"{", "application/json"),
    (b"\xff" * 9, FORM),
    (b"a=%", f"{FORM}; charset=utf-16"),
    (b"&" * 3000, FORM),
    (b"--x", "multipart/form-data"),
    (b"--x\r\n", "multipart/form-data; boundary=x"),
    (
        b"--x\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\n=\r\n--x--",
        MULTIPART,
    ),
    (b"x", "multipart/form-data; boundary=" + "x" * 300),
    (b"x", "multipart/form-data; boundary=\xff"),
    (b"x", "text/plain; charset=rot13"),
    (b"x", "\xff\xfe;;;=;"),
]


def test_no_method_breaks_a_url(world: World, walk: Walk) -> None:
    methods, bodies, callers = Turns(METHODS), Turns(BODIES), Turns(sorted(walk.clients))
    for page in pages(world):
        for method in methods.next(2 * TIMES):
            [(body, content_type)], [caller] = bodies.next(1), callers.next(1)
            walk.ask(caller, method, page.url, body, content_type=content_type)


HEADERS = [
    *("Accept", "Accept-Language", "Accept-Encoding", "Authorization", "Cookie"),
    *("Content-Length", "Content-Type", "Expect", "Forwarded", "Host"),
    *("HX-Boosted", "HX-Current-URL", "HX-History-Restore-Request", "HX-Prompt", "HX-Request"),
    *("HX-Target", "HX-Trigger", "HX-Trigger-Name", "If-Match", "If-Modified-Since"),
    *("If-None-Match", "If-Unmodified-Since", "Origin", "Range", "Referer"),
    *("Transfer-Encoding", "User-Agent", "X-API-Key", "X-Correlation-ID", "X-CSRFToken"),
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-HTTP-Method-Override", "X-Idempotency-Key"),
    *("X-Request-ID", "X-SeqPulse-Nonce", "X-SeqPulse-Signature", "X-SeqPulse-Timestamp", "traceparent"),
]
VALUES = [
    "",
    "\0",
    "\xff\xfe",
    "é",
    "x" * 5000,
    "http://[",
    "9" * 5000,
    "-1",
    ",,,;;;q=",
    "en;q=nan",
    "en;q=1e999",
    "a=b; \\000",
]
VALUES += [
    "%00",
    "Bearer \xff",
    "Basic \xff",
    'a="\\777"',
    "2026-01-01T00:00:00-23:59",
    "0001-01-01T00:00:00Z",
    "true",
    "chunked",
]
VALUES += [
    "Thu, 01 Jan 1 00:00:00 GMT",
    "Thu, 99 Jan 99999 99:99:99 GMT",
    "bytes=9" + "9" * 4400 + "-",
    "::ffff:1.2.3.4",
    "for=[::",
]


def test_no_header_breaks_a_url(world: World, walk: Walk, settings: Any) -> None:
    settings.SEQPULSE_TRUSTED_PROXIES = [ip_network("127.0.0.0/8")]
    settings.SEQPULSE_DS_METRICS_SECRET = "secret"
    settings.SEQPULSE_METRICS_TOKEN = "token"
    found = {page.name: page for page in pages(world)}
    asked = [
        found[name]
        for name in ("deployment-list", "dashboard:deployments", "dashboard:settings", "account_login", "admin:index")
    ]
    asked += [found[name] for name in ("ds-metrics", "metrics", "health", "trigger", "schema")]
    turns, values = Turns(asked), Turns(VALUES)
    for header in HEADERS:
        named = header.upper().replace("-", "_")
        for value in values.next(5 * TIMES):
            environ = {named if named.startswith("CONTENT") else f"HTTP_{named}": value}
            if header.startswith("HX-"):
                environ.setdefault("HTTP_HX_REQUEST", "true")
            for page in turns.next(1):
                if page.name == "trigger":
                    walk.ask(page.sender, "POST", page.url, **environ)
                else:
                    walk.ask(page.caller, "GET", page.url, **environ)
