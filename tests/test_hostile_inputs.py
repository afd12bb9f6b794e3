"""Hostile inputs to every endpoint: none answers 5xx, none reveals whether an id of another team exists."""

import json
from io import BytesIO
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.exceptions import RequestDataTooBig
from django.test import Client

from accounts.tests.factories import make_membership
from deployments.models import Deployment
from deployments.tests.pipeline import Pipeline
from projects.tests.factories import make_environment
from tests.hostile import TIMES

pytestmark = pytest.mark.django_db

LONG = "x" * 1_000_000
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "é\u202e",
    "'; DROP TABLE deployments; --",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "http://",
    "ftp://x/",
    "http://a b/",
    "http://[::1",
    "http://user:pw@host/",
    "http://host:99999/",
    [],
    [1],
    {},
    {"a": {"b": []}},
    "x" * 256,
    "x" * 5000,
    "2026-11-30T10:00:00-23:59",
]
FIELDS = {
    "/deployments/trigger": [
        "env",
        "idempotency_key",
        "branch",
        "metrics_endpoint",
        "commit_sha",
        "version",
        "author",
        "url",
        "commit_message",
        "committed_at",
        "kind",
        "settle_seconds",
    ],
    "/deployments/finish": ["deployment_id", "result", "metrics_endpoint", "env", "idempotency_key"],
}
BODIES: list[bytes] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"12",
    b"NaN",
    b'{"env": NaN}',
    b'{"env": Infinity}',
    b"\xff\xfe",
    b'{"env": "\xff"}',
    b'{"env": "\\ud800"}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"env": "' + b"x" * 1_000_000 + b'"}',
    b'{"env": ' + b"9" * 10_000 + b"}",
    b'{"env": 1e999}',
    b'{"env": "prod", "env": "x"}',
]


def no_crash(answer: Any) -> Any:
    """Return the answer, which must not be 5xx; an error must have the form of docs/protocol.md."""
    assert answer.status_code < 500, answer.content[:500]
    is_head = answer.request["REQUEST_METHOD"] == "HEAD"
    if answer.status_code >= 400 and answer["Content-Type"] == "application/json" and not is_head:
        body = answer.json()
        assert body["detail"] == body["error"]["message"]
        assert set(body["error"]) == {"code", "message", "fields"}
    return answer


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_takes_every_hostile_value(pipeline: Pipeline, path: str) -> None:
    for field in FIELDS[path]:
        for value in VALUES:
            good = {"env": "prod", "deployment_id": str(uuid4()), "result": "success"}
            body = json.dumps({**good, field: value})
            answer = no_crash(pipeline.post(path, body))
            if answer.status_code == 400:
                assert field in answer.json()["error"]["fields"], (field, value, answer.json())


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("missing", ["env", "deployment_id", "result"])
def test_a_missing_field_is_named(pipeline: Pipeline, path: str, missing: str) -> None:
    body = {"env": "prod", "deployment_id": str(uuid4()), "result": "success"}
    del body[missing]
    answer = pipeline.post(path, body)
    needed = {"/deployments/trigger": {"env"}, "/deployments/finish": {"result"}}[path]
    if missing in needed:
        assert answer.status_code == 400
        assert missing in answer.json()["error"]["fields"]
    else:
        assert answer.status_code == 200


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:20]))
def test_a_broken_body_is_refused_with_words(pipeline: Pipeline, path: str, body: bytes) -> None:
    answer = pipeline.post(path, body)
    no_crash(answer)
    assert answer.status_code in (400, 413)
    assert not Deployment.objects.exists()


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/mixed", "x"])
def test_another_content_type_is_refused_with_words(pipeline: Pipeline, content_type: str) -> None:
    answer = no_crash(pipeline.client.post("/deployments/trigger", "env=prod", content_type=content_type))
    assert answer.status_code == 415
    assert "Content-Type: application/json. This one says " in answer.json()["detail"]


@pytest.mark.parametrize("value", ["x" * 256, "x" * 100_000, "\xff", "\x01", "sp_" + "é" * 50, "'"])
def test_hostile_headers_are_refused(pipeline: Pipeline, value: str) -> None:
    no_crash(pipeline.post("/deployments/trigger", {"env": "prod"}, **{"X-Idempotency-Key": value}))
    assert no_crash(Pipeline(value).trigger()).status_code == 401
    no_crash(pipeline.client.get("/deployments", headers={"Accept": value}))


HOSTILE_TEXTS = ["", "\0", "a\0b", "é\u202e", "-1", "1e400", "9" * 500, "x" * 5000, "' OR 1=1", "[]", "%00", "null"]
CURSORS = ["cD14", "cD0x", "bz0tMQ==", "cD0lMDA=", "cD05OTk5OTk5OTk5OTk5OTk5OTk5OTk="]
QUERIES = {
    "/deployments": [
        *("environment", "idempotency_key", "state", "verdict", "started_after", "started_before"),
        *("cursor", "limit", "page"),
    ],
    "/sdh": ["severity", "deployment", "code", "cursor", "limit"],
}


@pytest.mark.parametrize("path", QUERIES)
def test_every_query_parameter_takes_every_hostile_text(pipeline: Pipeline, path: str) -> None:
    for name in QUERIES[path]:
        for text in [*HOSTILE_TEXTS, *TIMES, *CURSORS]:
            no_crash(pipeline.get(path, {name: text}))


IDS = ["0", "1", "%00", "..", "null", "a" * 36, "x" * 3000, str(uuid4()), uuid4().hex, f"{{{uuid4()}}}", "é", "'"]


@pytest.mark.parametrize("suffix", ["", "/", "/verdict", "/verdict/", "/metrics", "/nothing"])
def test_bad_ids_answer_404_like_foreign_ones(pipeline: Pipeline, suffix: str) -> None:
    for bad in IDS:
        answer = no_crash(pipeline.get(f"/deployments/{bad}{suffix}"))
        assert answer.status_code == 404, bad


def test_refusals_of_a_whole_call_say_what_to_send(pipeline: Pipeline) -> None:
    assert Pipeline("").trigger().json()["detail"] == "Send the API key of the project in the header X-API-Key."
    assert pipeline.verdict(uuid4()).json()["detail"] == "This project has nothing with this id."


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"])
@pytest.mark.parametrize("path", [*FIELDS, *QUERIES, "/health", "/"])
def test_other_methods_are_answered_in_words(pipeline: Pipeline, method: str, path: str) -> None:
    no_crash(pipeline.client.generic(method, path, b"{"))


@pytest.mark.parametrize(
    "path", ["/health", "/health/scheduler", "/health/live", "/db-check", "/metrics", "/ds-metrics"]
)
def test_what_is_only_read_is_refused_in_json_without_a_token(path: str) -> None:
    answer = no_crash(Client(enforce_csrf_checks=True).post(path))
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.json()["detail"] == f"This address takes {answer['Allow']}."


def test_a_version_in_the_query_does_not_become_part_of_a_header(client: Client) -> None:
    answer = client.get("/api/schema?version=%0D%0AX-A%3A+b")
    assert answer.status_code == 200
    assert "X-A" not in answer["Content-Disposition"]


@pytest.mark.parametrize("path", ["/api/docs", "/api/schema"])
def test_the_documentation_says_which_methods_it_takes(client: Client, path: str) -> None:
    answer = client.options(path)
    assert (answer.status_code, answer.content, answer["Allow"]) == (200, b"", "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/logout/", "/accounts/signup/"])
@pytest.mark.parametrize(
    "next_page", ["http://[", "//[", "http://[::1", "https://\u2100/", "//\u2100", "\0", "javascript:x"]
)
def test_what_is_no_url_is_no_page_to_go_on_to(client: Client, path: str, next_page: str) -> None:
    for send in (client.get, client.post):
        answer = no_crash(send(f"{path}?{urlencode({'next': next_page})}", {"next": next_page}))
        assert not answer.headers.get("Location", "/").startswith(("http", "//", "javascript"))


LOGINS: list[dict[str, str]] = [
    {},
    {"login": "\0", "password": "\0"},
    {"login": "x" * 1_000_00, "password": "y"},
    {"login": "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "password": "p"},
    {"login": "' OR 1=1 --", "password": "' OR 1=1 --"},
    {"login": "a", "password": "b", "next": "https://evil.example/"},
    {"login": "ada", "password": "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")},
]


@pytest.mark.parametrize("form", LOGINS, ids=range(len(LOGINS)))
def test_the_login_form_takes_hostile_values(client: Client, form: dict[str, str]) -> None:
    answer = no_crash(client.post("/accounts/login/", form))
    assert answer.status_code == 200
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize("path", ["/accounts/login/", "/dashboard/deployments/", "/admin/"])
@pytest.mark.parametrize("cookie", ["\\000" * 8 + "aa", "\xff" * 20, "x" * 5000, "' OR 1=1"])
def test_hostile_session_cookies_are_no_session(client: Client, path: str, cookie: str) -> None:
    # As sent by a client: a quoted cookie value may contain any byte in octal.
    answer = client.get(path, headers={"Cookie": f'sessionid="{cookie}"; csrftoken="{cookie}"'})
    assert no_crash(answer).status_code in (200, 302)


ADMIN_PATHS = [
    "/admin/projects/project/%00/change/",
    "/admin/projects/project/99999999999999999999/change/",
    "/admin/projects/environment/x/change/",
    "/admin/scheduler/scheduledjob/?status__exact=%00",
    "/admin/scheduler/scheduledjob/?q=%00",
    "/admin/deployments/deployment/?q=" + "x" * 3000,
    "/admin/deployments/deployment/?id__exact=abc",
    "/admin/deployments/deployment/?started_at__year=99999",
    "/admin/deployments/deployment/?p=-5",
    "/admin/deployments/deployment/?o=9.9.9",
    "/admin/deployments/deployment/?project__id__exact=%00",
    "/admin/nothing/",
]


@pytest.mark.parametrize("path", ADMIN_PATHS, ids=lambda path: path[:70])
def test_the_admin_takes_hostile_addresses(admin_client: Client, path: str) -> None:
    no_crash(admin_client.get(path))


@pytest.mark.parametrize("value", ["", "\0", "x" * 1_000_00, "é\u202e", "-1", "9" * 100, "{", "[[[", '{"a": NaN}'])
def test_the_admins_forms_take_hostile_values(admin_client: Client, value: str) -> None:
    changes = [
        ("/admin/accounts/team/add/", ["name"]),
        ("/admin/projects/project/add/", ["name", "plan", "team", "window_minutes", "retention_days"]),
        ("/admin/projects/environment/add/", ["name", "project", "metrics_endpoint", "policy"]),
        (f"/admin/projects/environment/{make_environment().pk}/change/", ["name", "metrics_endpoint", "policy"]),
        ("/admin/projects/apikey/add/", ["name", "project"]),
        ("/admin/accounts/user/add/", ["username", "password1", "password2"]),
    ]
    for path, fields in changes:
        no_crash(admin_client.post(path, dict.fromkeys(fields, value)))


def test_the_id_of_an_inline_row_in_other_digits_changes_nothing_else(admin_client: Client) -> None:
    member = make_membership()
    digits = str(member.pk).translate({ord("0") + n: 0x660 + n for n in range(10)})
    row = {"id": digits, "team": member.team_id, "user": member.user_id, "role": "viewer"}
    form = {f"memberships-0-{name}": value for name, value in row.items()}
    form |= {"name": member.team.name, "memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "1"}
    assert admin_client.post(f"/admin/accounts/team/{member.team_id}/change/", form).status_code == 302
    member.refresh_from_db()
    assert member.role == "viewer"


def served(path: str, *, query: str = "", content_type: str = "text/plain", body: bytes = b"") -> int:
    """Return the status from the WSGI entry point: Django's test client builds requests of its own class."""
    from seqpulse.wsgi import application  # noqa: PLC0415  (it runs the checks of a start)

    statuses: list[str] = []
    environ: dict[str, Any] = {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body)), "QUERY_STRING": query}
    environ |= {"PATH_INFO": path, "REQUEST_METHOD": "POST" if body else "GET", "wsgi.input": BytesIO(body)}
    setup_testing_defaults(environ)
    answer = application(environ, lambda status, _headers: statuses.append(status))
    try:
        b"".join(answer)
    finally:
        answer.close()
    return int(statuses[0].split()[0])


@pytest.mark.parametrize("charset", ["rot13", "hex", "unicode_escape", "idna", "utf-16", "undefined", "no-such"])
def test_no_charset_of_a_request_is_believed(charset: str) -> None:
    said = f"text/plain; charset={charset}"
    assert served("/health/live", query="a=1&q=%5Cud800", content_type=said) == 200
    assert served("/health/live", query="&" * 2000, content_type=said) == 200
    form = f"multipart/form-data; boundary=x; charset={charset}"
    body = b'--x\r\nContent-Disposition: form-data; name="login"\r\n\r\n\\ud800\r\n--x--\r\n'
    assert served("/accounts/login/", content_type=form, body=body) in (200, 403)
    trigger = f"application/json; charset={charset}"
    assert served("/deployments/trigger", content_type=trigger, body=b'{"env": "prod"}') == 401
    assert served("/dashboard/deployments/", query="q=%5Cud800", content_type=said) == 302


def test_a_body_sent_in_chunks_is_read_up_to_the_limit() -> None:
    """Node's http.request sends one so where the caller names no length."""
    from seqpulse.wsgi import Utf8Request  # noqa: PLC0415  (it runs the checks of a start)

    def request_with(body: bytes) -> Any:
        environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "wsgi.input": BytesIO(body), "wsgi.input_terminated": True}
        setup_testing_defaults(environ)
        return Utf8Request({**environ, "HTTP_TRANSFER_ENCODING": "Chunked"})

    assert request_with(b'{"env": "prod"}').body == b'{"env": "prod"}'
    with pytest.raises(RequestDataTooBig):
        assert request_with(b" " * 2_000_000).body
