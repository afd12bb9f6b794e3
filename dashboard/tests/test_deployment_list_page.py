"""The page of the list: what it shows of its filters, what it hides of others, and what hostile addresses do to it."""

import base64
import csv
import io
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from accounts.tests.factories import make_user
from dashboard.deployments.filters import ORDERS
from dashboard.deployments.list_export import COLUMNS
from dashboard.deployments.list_views import sending
from dashboard.deployments.listing import deployments_page
from dashboard.filtering import OFFERED
from dashboard.keyset import Place, place_of, written
from dashboard.tests import scenes
from dashboard.tests.pages import HOSTILE, LIST, elements, has, queries_of, shows, words
from deployments.models import State
from projects.models import Environment, Project
from tests.factories import make_deployment, make_environment, make_project, make_verdict

pytestmark = pytest.mark.django_db

NOBODYS = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
CSV, JSON = f"{LIST}csv/", f"{LIST}json/"


def numbers(answer: Any) -> list[int]:
    """Of the deployments that a page shows."""
    return [int(words(cell).lstrip("#")) for cell in elements(answer, ".cell-number")]


def downloaded(client: Client, path: str, query: dict[str, str] | None = None) -> str:
    answer: Any = client.get(path, query or {})
    assert answer.status_code == 200
    return b"".join(answer.streaming_content).decode()


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_what_is_filtered_is_shown_and_can_be_cleared_one_by_one(browser_of, environment) -> None:
    make_deployment(environment=environment, branch="<b>x", state=State.FINISHED)
    query = {"q": "x", "branch": "<b>x", "project": str(environment.project.uuid), "range": "7d", "sort": "duration"}
    answer = browser_of.get(LIST, query)
    assert numbers(answer) == [1]
    body = answer.content.decode()
    chips = {words(chip, "bdi.clip"): elements(chip, "a")[0].get("href") for chip in elements(answer, ".filter-chip")}
    assert list(chips) == ["x", "shop", "Last 7 days", "<b>x"]
    without = chips["shop"]
    assert without == f"{LIST}?{urlencode({'q': 'x', 'range': '7d', 'branch': '<b>x', 'sort': 'duration'})}"
    assert numbers(browser_of.get(without)) == [1]
    # The order narrows nothing: it stays.
    assert f'href="{LIST}?sort=duration">Clear all' in body


@pytest.mark.parametrize("path", [LIST, "/dashboard/hints/"])
def test_a_filter_that_a_list_does_not_have_is_named(browser_of, environment, path: str) -> None:
    words_of_it = "so they filter nothing: enviroment, page."
    shows(browser_of.get(path, {"enviroment": "prod", "page": "2", "environment": ""}), words_of_it)
    has(browser_of.get(path, {"environment": "", "cursor": "x"}), without=["they filter nothing"])


def test_a_rollback_is_shown_as_such_in_the_list_on_its_page_and_in_files(browser_of, environment) -> None:
    usual = make_deployment(environment=environment)
    rollback = make_deployment(environment=make_environment(project=environment.project), kind="rollback")
    assert [("Rollback" in words(cell)) for cell in elements(browser_of.get(LIST), ".cell-name")] == [True, False]
    for deployment in (usual, rollback):
        title = words(elements(browser_of.get(f"/dashboard/deployments/{deployment.uuid}/"), "h1")[0])
        assert ("Rollback" in title) == (deployment is rollback)
    assert [one["kind"] for one in json.loads(downloaded(browser_of, JSON))["deployments"]] == [
        "rollback",
        "deployment",
    ]


def test_a_heading_orders_and_turns_round(browser_of, environment) -> None:
    make_deployment(environment=environment)
    page = browser_of.get(LIST)
    assert [heading.get("aria-sort") for heading in elements(page, "[aria-sort]")] == ["descending"]
    (by_duration,) = elements(page, "#by-duration")
    assert by_duration.get("href") == f"{LIST}?sort=-duration"
    turned = browser_of.get(by_duration.get("href"))
    (heading,) = elements(turned, "[aria-sort]")
    assert (heading.get("aria-sort"), elements(heading, "a")[0].get("id")) == ("descending", "by-duration")
    assert elements(turned, "#by-duration")[0].get("href") == f"{LIST}?sort=duration"
    assert elements(turned, "#by-started")[0].get("href") == LIST


def test_more_than_can_be_counted_cheaply_is_shown_as_more(browser_of, environment, monkeypatch) -> None:
    for _ in range(3):
        make_verdict(make_deployment(environment=environment, state=State.FINISHED))
    assert "3 deployments" in words(browser_of.get(LIST))
    monkeypatch.setattr("dashboard.keyset.COUNTED", 2)
    assert "More than 2 deployments" in words(browser_of.get(LIST))


def test_nothing_found_leads_on(browser_of, environment) -> None:
    make_deployment(environment=environment)
    answer = browser_of.get(LIST, {"branch": "nowhere", "sort": "verdict"})
    assert "No deployment matches" in words(answer)
    assert f'href="{LIST}?sort=verdict">Clear the filters' in answer.content.decode()


def test_htmx_gets_the_list_alone_and_an_address_without_empty_fields(browser_of, environment) -> None:
    make_deployment(environment=environment)
    query = {"q": "", "branch": "main", "verdict": "", "sort": "-started"}
    answer = browser_of.get(LIST, query, headers={"HX-Request": "true"})
    assert answer["HX-Push-Url"] == f"{LIST}?branch=main"
    assert "HX-Request" in answer["Vary"]
    assert "<html" not in answer.content.decode()
    has(browser_of.get(LIST, query, headers={"HX-Request": "true", "HX-History-Restore-Request": "true"}), "<html")


def test_the_live_part_asks_for_what_is_filtered(browser_of, environment) -> None:
    make_deployment(environment=environment, branch="main", state=State.FINISHED)
    page = browser_of.get(LIST, {"branch": "main", "sort": "duration"})
    address = elements(page, '#live[data-live="running"]')[0].get("hx-get")
    assert address == f"{LIST}live/?branch=main&sort=duration"
    assert numbers(browser_of.get(address)) == [1]


# --- whose ------------------------------------------------------------------------------------------------------------


def test_filters_by_what_is_foreign_tell_nothing(browser_of, environment, time_machine) -> None:
    # The page says when it was loaded.
    time_machine.move_to(timezone.now(), tick=False)
    make_deployment(environment=environment)
    theirs = make_environment(project=make_project(name="theirs"), name="their-env")
    make_deployment(environment=theirs, branch="their-branch", author="Their Author", commit_sha="abcdef12")
    for name, foreign, unknown in (
        ("project", str(theirs.project.uuid), NOBODYS),
        ("environment", "their-env", "no-env"),
        ("branch", "their-branch", "no-branch"),
        ("author", "Their Author", "No Author"),
        ("q", "theirs", "nobodys"),
        ("q", "abcdef12", "12abcdef"),
    ):
        pages = [browser_of.get(LIST, {name: value}) for value in (foreign, unknown)]
        assert [numbers(page) for page in pages] == [[], []]
        expected = [words(page).replace(value, "…") for page, value in zip(pages, (foreign, unknown), strict=True)]
        assert expected[0] == expected[1]
        for kind in (CSV, JSON):
            statuses = [browser_of.get(kind, {name: value}).status_code for value in (foreign, unknown)]
            assert statuses[0] == statuses[1]
            if statuses[0] == 200:
                assert "their" not in downloaded(browser_of, kind, {name: foreign}).replace(foreign, "")


def test_a_cursor_of_another_users_deployment_shows_only_mine(browser_of, environment) -> None:
    mine = make_deployment(environment=environment)
    theirs = make_deployment()
    for backward in (True, False):
        cursor = written(Place(0, theirs.started_at, theirs.pk, backward), "-started")
        found = browser_of.get(LIST, {"cursor": cursor}).context["page"].rows
        assert {row.deployment.pk for row in found} <= {mine.pk}


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"project": NOBODYS}, "Project : There is no such choice any more."),
        ({"verdict": "excellent"}, "Verdict : There is no such choice any more."),
        ({"since": "yesterday"}, "From : This is no time. Write it as 2026-11-23T14:30."),
        ({"since": "2026-02-30T10:00"}, "From : This is no time."),
        ({"since": "0001-01-01T00:00"}, "From : The year has to lie between 2000 and 2100."),
        ({"until": "9999-12-31T23:59"}, "To : The year has to lie between 2000 and 2100."),
        ({"since": "2026-02-02T10:00", "until": "2026-02-01T10:00"}, "To : This has to be later than “From”."),
        ({"q": "/// main"}, "Search : There is no letter and no digit in “///”."),
        ({"q": "a " * 11}, "Search : Search for 10 words at most."),
        ({"q": "x" * 201}, "Search : Ensure this value has at most 200 characters"),
        ({"q": "a\0b"}, "Search : Null characters are not allowed."),
        ({"branch": "\0"}, "Branch, in full : Null characters are not allowed."),
    ],
    ids=str,
)
def test_a_filter_that_cannot_be_used_is_reported_and_nothing_is_shown(
    browser_of, environment, query, expected
) -> None:
    make_deployment(environment=environment)
    answer = browser_of.get(LIST, query)
    shows(answer, expected)
    assert numbers(answer) == []
    # The file would say nothing of it: the page does.
    refused = browser_of.get(CSV, query)
    assert refused.status_code == 302
    assert expected in words(browser_of.get(refused["Location"]))


TEXTS = [*HOSTILE, "#" + "9" * 190, "#0", "'!'&|(:*", "\u2028"]
TEXTS += ["0001-01-01T00:00", "9999-12-31T23:59:59-12:00", "2026-11-30T10:00+23:59", "2026-02-30"]


@pytest.mark.parametrize(
    ("path", "texts"),
    # The live part and the files read what the page reads.
    [(LIST, TEXTS), ("/dashboard/hints/", TEXTS), *((path, TEXTS[:7]) for path in (f"{LIST}live/", CSV, JSON))],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_parameter_takes_every_hostile_text(browser_of, environment, path, texts) -> None:
    make_deployment(environment=environment)
    # One value represents all choices of a kind.
    for name in ("q", "project", "verdict", "severity", "branch", "since", "until", "sort", "cursor"):
        for text in texts:
            answer = browser_of.get(path, {name: text})
            assert answer.status_code in (200, 302), (name, text)
            if answer.streaming:
                b"".join(answer.streaming_content)
    assert browser_of.get(f"{path}?q=a&q=%ff&q=%ed%b3%bf&verdict=ok&verdict=x&cursor=%00").status_code in (200, 302)


CURSORS = [
    '["-started",0,null,1,false]',
    '["-started",0,"2026-01-01",1,false]',
    '["-started",0,"0001-01-01T00:00:00+14:00",1,false]',
    '["-started",0,"9999-12-31T23:59:59-14:00",1,true]',
    '["-started",7,"2026-01-01T00:00:00+00:00",1,true]',
    '["-started",0,1,1,false]',
    '["-started",0,"2026-01-01T00:00:00+00:00",99999999999999999999,false]',
    '["-started",0,"2026-01-01T00:00:00+00:00",true,false]',
    '["-started",0,"2026-01-01T00:00:00+00:00",1,0]',
    '["-started"]',
    "[" * 100,
    '{"a": 1}',
    "null",
    '["-duration",0,1e999,1,false]',
    '["-confidence",0,NaN,1,false]',
    '["-duration",0,-1,1,false]',
    '["project",0,"2026-01-01T00:00:00+00:00",1,false]',
    '["-verdict",2,"x",1,false]',
    '["-verdict",2,null,1,true]',
]


def test_a_cursor_that_means_nothing_leads_to_a_page(browser_of, environment) -> None:
    make_deployment(environment=environment)
    for text in CURSORS:
        cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        for order in ("-started", "-duration", "-confidence", "-verdict", "project"):
            assert browser_of.get(LIST, {"cursor": cursor, "sort": order}).status_code == 200, (text, order)


def test_a_cursor_comes_back_as_it_was_written() -> None:
    place = Place(3, timezone.now(), 7, backward=True)
    assert place_of(written(place, "started"), "started", type(place.key)) == place
    assert place_of(written(place, "started"), "-started", type(place.key)) is None
    assert written(None, "started") == ""


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(environment: Environment) -> None:
    """More than a chunk, after it is made small."""
    for place in range(7):
        make_verdict(
            make_deployment(environment=environment, state=State.FINISHED, author="Ada", branch=f"b{place % 2}"),
            confidence=0.5 + place / 100,
        )
    make_deployment(environment=environment, branch="b1")
    make_deployment(branch="b1", author="Ada")


def uuids_of_all_pages(client: Client, query: dict[str, str]) -> list[str]:
    """Of the deployments that the list shows."""
    found: list[str] = []
    path: str | None = f"{LIST}?{urlencode(query)}"
    while path:
        answer = client.get(path)
        found += [str(row.deployment.uuid) for row in answer.context["page"].rows]
        path = answer.context["older"] or None
    return found


def test_files_hold_what_all_pages_of_the_list_show(browser_of, many, monkeypatch) -> None:
    monkeypatch.setattr("dashboard.deployments.list_export.CHUNK", 2)
    monkeypatch.setitem(deployments_page.__kwdefaults__, "size", 3)
    narrowed: list[dict[str, str]] = [{"branch": "b1"}, {"author": "Ada", "verdict": "ok"}, {"q": "b0"}]
    for query in [*({"sort": order} for order in ORDERS), *narrowed]:
        shown = uuids_of_all_pages(browser_of, query)
        assert len(shown) == len(set(shown)) > 2
        table = csv.DictReader(io.StringIO(downloaded(browser_of, CSV, query).removeprefix("\ufeff")))
        rows = list(table)
        document = json.loads(downloaded(browser_of, JSON, query))
        assert [row["deployment_id"] for row in rows] == shown
        assert [record["deployment_id"] for record in document["deployments"]] == shown
        assert document["count"] == len(shown)
        for row, record in zip(rows, document["deployments"], strict=True):
            assert list(row) == list(record) == list(COLUMNS)
            assert list(row.values()) == [as_text(value) for value in record.values()]


def as_text(value: Any) -> str:
    """A value of the JSON file as the other one has it."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_a_file_says_what_was_filtered(browser_of, many) -> None:
    document = json.loads(downloaded(browser_of, JSON, {"branch": "b1", "author": "", "sort": "-duration", "x": "y"}))
    assert document["filters"] == {"branch": "b1", "sort": "-duration"}


def test_files_are_read_in_few_queries(browser_of, many, monkeypatch, django_assert_num_queries) -> None:
    monkeypatch.setattr("dashboard.deployments.list_export.CHUNK", 4)
    # Session, user, projects; count; ids and rows of each of two chunks.
    with django_assert_num_queries(8):
        downloaded(browser_of, CSV)


def test_a_file_is_named_for_its_day(browser_of, environment, time_machine) -> None:
    time_machine.move_to("2026-11-23T23:30:00+00:00", tick=False)
    make_deployment(environment=environment)
    for path, kind, content in ((CSV, "csv", "text/csv; charset=utf-8"), (JSON, "json", "application/json")):
        answer = browser_of.get(path)
        assert answer["Content-Disposition"] == f'attachment; filename="seqpulse-deployments-2026-11-23.{kind}"'
        assert answer["Content-Type"] == content
        assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", "\t'=1"),
        ("\r=1", "\r'=1"),
        ("  =1", "  '=1"),
        # Where semicolons part cells, a second one begins here.
        ("x;=1+1", "x;'=1+1"),
        ('x;"=1+1', "x;\"'=1+1"),
        ("fix/a-b+c=d@e", "fix/a-b+c=d@e"),
    ],
)
def test_no_cell_is_a_formula(browser_of, environment, text, harmless) -> None:
    make_deployment(environment=environment, branch=text, author=f'a",{text}')
    [row] = csv.DictReader(io.StringIO(downloaded(browser_of, CSV).removeprefix("\ufeff"), newline=""))
    assert row["branch"] == harmless
    assert row["author"].replace("'", "") == f'a",{text}'
    assert json.loads(downloaded(browser_of, JSON))["deployments"][0]["branch"] == text


def test_nothing_to_download_is_a_file_all_the_same(browser_of, environment) -> None:
    assert downloaded(browser_of, CSV).removeprefix("\ufeff").strip() == ",".join(COLUMNS)
    assert json.loads(downloaded(browser_of, JSON))["deployments"] == []


def test_so_many_files_are_sent_at_once_and_no_more(browser_of, environment) -> None:
    make_deployment(environment=environment)
    begun = [iter(browser_of.get(CSV).streaming_content) for _ in range(2)]
    # As the web server drops it.
    dropped = sending(iter(["a", "b"]), owner=0)
    next(dropped)
    assert [b"deployment_id" in next(lines) for lines in begun] == [True] * 2
    refused = browser_of.get(CSV, {"branch": "main"}, follow=True)
    assert refused.redirect_chain == [(f"{LIST}?branch=main", 302)]
    assert "Several files are being sent right now." in words(refused)
    # One is read to its end, another one's reader goes away.
    assert len(list(begun[0])) == 1
    assert browser_of.get(JSON).status_code == 200
    dropped.close()
    assert [len(list(iter(browser_of.get(CSV).streaming_content))) for _ in range(9)] == [2] * 9
    list(begun[1])


def test_one_user_leaves_a_file_to_the_others(browser_of, environment) -> None:
    make_deployment(environment=environment)
    begun = [iter(browser_of.get(CSV).streaming_content) for _ in range(2)]
    for lines in begun:
        next(lines)
    assert browser_of.get(CSV).status_code == 302
    other = Client()
    other.force_login(make_user())
    assert other.get(CSV).status_code == 200
    for lines in begun:
        list(lines)
    assert browser_of.get(CSV).status_code == 200


def test_files_count_on_the_limit_of_pages(browser_of, environment, settings) -> None:
    settings.SEQPULSE_RATE_LIMITS = True
    assert "X-RateLimit-Remaining" in browser_of.get(CSV).headers


# --- forged cursors ---


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def test_a_time_is_compared_in_utc_whatever_zone_it_was_written_in() -> None:
    found = place_of(cursor("-started", 0, "2026-03-01T12:00:00+05:45", 7, False), "-started", datetime)
    assert found is not None
    assert isinstance(found.key, datetime)
    assert (found.key, found.key.tzinfo) == (datetime(2026, 3, 1, 6, 15, tzinfo=UTC), UTC)


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00"])
@pytest.mark.parametrize("sort", ["-started", "project"])
def test_a_time_at_the_end_of_all_times_leads_to_the_first_page(
    browser_of: Client, environment: Environment, key: str, sort: str
) -> None:
    one = make_deployment(environment=environment)
    part = environment.project_id if sort == "project" else 0
    has(browser_of.get(LIST, {"sort": sort, "cursor": cursor(sort, part, key, 5, False)}), str(one.uuid))


def test_of_thousands_of_projects_the_first_are_offered_and_any_can_be_chosen(browser_of, environment):
    team = environment.project.team
    Project.objects.bulk_create(Project(team=team, name=f"service-{number:04}") for number in range(OFFERED + 50))
    last = Project.objects.get(name=f"service-{OFFERED + 49:04}")
    make_deployment(environment=make_environment(project=last), branch="of-the-last")
    make_deployment(environment=environment, branch="of-another")
    page = browser_of.get(LIST)
    assert len(elements(page, "#id_project option")) == OFFERED + 1
    assert words(elements(page, "#id_project option")[-1]) == "… and 52 more: search by name"
    chosen = browser_of.get(LIST, {"project": str(last.uuid)})
    shows(chosen, "of-the-last", without=["of-another"])
    assert words(chosen, "#id_project option[selected]") == last.name


def test_rows_say_what_a_bad_verdict_found(browser_of, environment):
    scenes.judged(environment, minutes_ago=60)
    few = queries_of(browser_of, LIST)
    for minutes in (30, 6):
        scenes.judged(environment, minutes_ago=minutes, error_rate=0.25)
    page = browser_of.get(LIST)
    assert [words(row) for row in elements(page, ".cell-finding")] == ["25 % of requests fail, was 0.2 %."] * 2
    assert queries_of(browser_of, LIST) == few + 1
    shows(browser_of.get(f"/dashboard/environments/{environment.pk}/"), "25 % of requests fail, was 0.2 %.")
