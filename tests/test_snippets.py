"""Snippets of the integration page: each is run, or at least parsed, by its target program."""

import os
import py_compile
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import playwright
import pytest
import requests
import yaml

from dashboard.projects.snippets import ENDPOINTS, PIPELINES, Values, written
from dashboard.tests.endpoints import Quiet, running
from metrics.payload import parse_metrics
from metrics.signing import signed_headers
from tests.processes import Installation, environment, free_port
from tests.system_tools import ROOT, client_python, output_of, require, run

pytestmark = pytest.mark.e2e

SECRET = "sphs_of-the-test"
VALUES = Values("https://seqpulse.example.com", "shop", "prod", "/internal/metrics", signed=True)
# Names that are code in one of the languages, or would end the string around them.
NASTY = [
    "prod",
    "it's",
    'a "quoted" one',
    "$(touch hacked) `touch hacked` $HOME ${HOME}",
    "${{ secrets.OTHER }}",
    "<< parameters.other >>",
    "back\\slash \\n \\",
    "'''\"\"\"",
    "*/ // # -- %> {% now %} {{ 7|add:7 }}",
    "a: b, [c] {d} & *e ! | > %",
    "é 漢 😀",
    "two\nlines\r\x85\u2028three\ttabs\x1b[1m",
]
BY_KEY = {snippet.key: snippet for snippet in (*PIPELINES, *ENDPOINTS)}
# Part of the Playwright package.
NODE = Path(playwright.__file__).parent / "driver" / "node"


def text_of(key: str, values: Values = VALUES) -> str:
    return written(BY_KEY[key], values)


def file_of(key: str, directory: Path, values: Values = VALUES) -> Path:
    path = directory / Path(BY_KEY[key].name).name
    path.write_text(text_of(key, values))
    return path


def called(name: str) -> Values:
    return replace(VALUES, project=name, environment=name)


# --- no name is code, whatever it is


@pytest.mark.parametrize("key", BY_KEY)
@pytest.mark.parametrize("signed", [True, False])
def test_every_snippet_is_filled_in_and_holds_no_secret(key: str, signed: bool) -> None:
    text = text_of(key, replace(VALUES, signed=signed))
    # GitHub's expressions look like Django's.
    assert not re.search(r"(?<!\$)\{\{|\{%", text)
    assert "shop" in text
    assert "sphs_" not in text
    assert not re.search(r"sp_[A-Za-z0-9]", text)


@pytest.mark.parametrize("name", NASTY)
def test_a_name_in_the_script_is_text(name: str, tmp_path: Path) -> None:
    script = file_of("curl", tmp_path, called(name))
    for shell in ("bash", "sh"):
        output_of(require(shell), "-n", script)
    # The part before the script calls SeqPulse.
    begin = script.read_bytes().decode().partition("answer=$(mktemp)")[0]
    show = f'{begin}\nprintf %s "$SEQPULSE_ENV"'
    env = {"PATH": os.environ["PATH"], "SEQPULSE_API_KEY": "x", "HOME": "/"}
    shown: Any = output_of(require("sh"), "-c", show, env=env, cwd=tmp_path, text=False)
    assert shown.decode() == name
    assert not (tmp_path / "hacked").exists()


def environment_variables(key: str, text: str) -> dict[str, str]:
    document: Any = yaml.safe_load(text)
    jobs = document if key == "gitlab" else document["jobs"]
    found: dict[str, str] = jobs["deploy"][{"github": "env", "gitlab": "variables", "circleci": "environment"}[key]]
    return found


# How each CI system expands a value.
EXPANDED: dict[str, Callable[[str], str]] = {
    "github": lambda text: text.replace("${{ '${{' }}", "${{"),
    "gitlab": lambda text: text.replace("$$", "$"),
    "circleci": lambda text: text.replace("\\<<", "<<"),
}


@pytest.mark.parametrize("key", EXPANDED)
@pytest.mark.parametrize("name", NASTY)
def test_a_name_in_a_pipeline_is_text(key: str, name: str) -> None:
    text = text_of(key, called(name))
    assert EXPANDED[key](environment_variables(key, text)["SEQPULSE_ENV"]) == name
    raw = environment_variables(key, text)["SEQPULSE_ENV"]
    if key == "github":
        assert "${{" not in raw.replace("${{ '${{' }}", "")
    elif key == "gitlab":
        assert "$" not in raw.replace("$$", "")


def test_pipelines_call_the_script_before_and_after_the_deployment_and_for_the_verdict() -> None:
    for key in ("github", "gitlab", "circleci", "jenkins"):
        calls = re.findall(r"sh seqpulse\.sh (trigger|finish|gate)", text_of(key))
        assert calls[0] == "trigger", key
        assert {"finish", "gate"} <= set(calls), key
    steps = yaml.safe_load(text_of("github"))["jobs"]["deploy"]["steps"]
    assert [step["run"].split()[2] for step in steps if "seqpulse.sh" in step.get("run", "")] == [
        "trigger",
        "finish",
        "gate",
    ]
    assert yaml.safe_load(text_of("circleci"))["version"] == 2.1


@pytest.mark.parametrize("name", NASTY)
def test_a_name_in_a_jenkinsfile_is_text(name: str) -> None:
    text = text_of("jenkins", called(name))
    [quoted] = re.findall(r"SEQPULSE_ENV = '((?:[^'\\]|\\.)*)'\n", text)
    # Groovy's escapes in single quotes are a subset of Python's.
    assert quoted.encode("latin-1", "backslashreplace").decode("unicode_escape") == name
    assert text.count("{") == text.count("}") or "{" in name


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("key", ["fastapi", "django", "flask"])
def test_python_snippets_compile_with_every_name(key: str, name: str, tmp_path: Path) -> None:
    for signed in (True, False):
        py_compile.compile(str(file_of(key, tmp_path, replace(called(name), signed=signed))), doraise=True)


@pytest.mark.parametrize("name", NASTY)
def test_the_express_snippet_is_javascript_with_every_name(name: str, tmp_path: Path) -> None:
    for signed in (True, False):
        script = file_of("express", tmp_path, replace(called(name), signed=signed))
        output_of(NODE, "--check", script)


# --- the endpoints answer, and only to us

DJANGO = """
import sys
from wsgiref.simple_server import make_server
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, MIDDLEWARE=["seqpulse_metrics.SeqPulseMiddleware"], ALLOWED_HOSTS=["*"])
import django
django.setup()
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
def fail(request):
    raise RuntimeError
urlpatterns = [path("", lambda request: HttpResponse("hello")), path("fail", fail)]
make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application()).serve_forever()
"""
WSGI = """
import sys
from wsgiref.simple_server import make_server
from seqpulse_metrics import SeqPulse
def application(environ, start_response):
    failed = environ["PATH_INFO"] == "/fail"
    start_response("500 Oh" if failed else "200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
make_server("127.0.0.1", int(sys.argv[1]), SeqPulse(application)).serve_forever()
"""
# FastAPI is based on Starlette; the client's environment has only Starlette.
STARLETTE = """
import sys
import uvicorn
from starlette.responses import PlainTextResponse
from main import app
app.add_route("/", lambda request: PlainTextResponse("hello"))
app.add_route("/fail", lambda request: PlainTextResponse("oh", status_code=500))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
"""
# Express passes on Node's request object, and keeps the URL in originalUrl.
EXPRESS = """
const seqpulse = require("./seqpulse-metrics.js");
require("node:http").createServer((request, response) => {
  request.originalUrl = request.url;
  seqpulse(request, response, () => {
    response.statusCode = request.url === "/fail" ? 500 : 200;
    response.end("hello");
  });
}).listen(Number(process.argv[2]), "127.0.0.1");
"""
GO = """
package main

import (
	"net/http"
	"os"
	"snippet/seqpulse"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fail" {
			w.WriteHeader(500)
		}
	})
	http.ListenAndServe("127.0.0.1:"+os.Args[1], seqpulse.Middleware(mux))
}
"""


def command_of(key: str, directory: Path) -> list[str]:
    """Write the snippet and a service that uses it; return the command that starts it."""
    if key == "go":
        return go_command(directory)
    snippet = file_of(key, directory)
    if key == "express":
        (directory / "service.js").write_text(EXPRESS)
        return [str(NODE), str(directory / "service.js")]
    service = directory / "service.py"
    service.write_text({"django": DJANGO, "flask": WSGI, "fastapi": STARLETTE}[key])
    if key != "fastapi":
        return [sys.executable, str(service)]
    snippet.write_text(
        snippet.read_text().replace("fastapi import FastAPI", "starlette.applications import Starlette as FastAPI")
    )
    return [client_python(), str(service)]


def go_command(directory: Path) -> list[str]:
    go = require("go", "golang-go")
    (directory / "go.mod").write_text("module snippet\n\ngo 1.18\n")
    (directory / "main.go").write_text(GO)
    (directory / "seqpulse").mkdir()
    (directory / "seqpulse" / "metrics.go").write_text(text_of("go"))
    where: dict[str, Any] = {"cwd": directory, "env": {**os.environ, "GOCACHE": str(directory / "cache")}}
    assert output_of(Path(go).with_name("gofmt"), "-l", "seqpulse", **where) == ""
    output_of(go, "vet", "./...", **where)
    output_of(go, "build", "-o", "service", ".", **where)
    return [str(directory / "service")]


def headers_for(path: str = VALUES.path, secret: str = SECRET, **ahead: float) -> dict[str, str]:
    now = datetime.now(UTC) + timedelta(**ahead)
    return signed_headers(secret, url=f"http://127.0.0.1{path}", now=now, project_id="any")


@pytest.mark.parametrize("key", ["django", "flask", "fastapi", "express", "go"])
def test_an_endpoint_measures_its_service_and_answers_only_what_we_signed(key: str, tmp_path: Path) -> None:
    installation = Installation("", environment(SEQPULSE_HMAC_SECRET=SECRET), tmp_path)
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    try:
        process = installation.start("service", *command_of(key, tmp_path), str(port))
        installation.wait_until_answers(process, f"{site}/")
        # The public client reads the signed path from a header, and answers 500 to a non-ASCII signature.
        check_endpoint(site, by_client=key == "fastapi")
    finally:
        installation.children.stop()


def check_endpoint(site: str, *, by_client: bool) -> None:
    def ask(headers: dict[str, str], path: str = VALUES.path) -> requests.Response:
        return requests.get(site + path, headers=headers, timeout=10)

    for path in ("/", "/", "/fail"):
        requests.get(site + path, timeout=10)
    headers = headers_for()
    found = ask(headers)
    assert found.status_code == 200, found.text
    metrics = parse_metrics(found.content)
    assert 0 < metrics.error_rate < 1
    assert metrics.requests_per_sec > 0
    assert metrics.latency_p95 is not None
    assert metrics.latency_p95 > 0
    assert 0 < metrics.memory_usage < 1
    assert ask(headers).status_code == 401  # the same nonce
    assert ask(headers_for(f"{VALUES.path}/")).status_code == 200
    refused: list[dict[str, Any]] = [
        {},
        headers_for(secret="sphs_another"),
        headers_for(seconds=-310),
        headers_for(seconds=60),
        {**headers_for(), "X-SeqPulse-Nonce": "another"},
        {**headers_for(), "X-SeqPulse-Nonce": ""},
        {**headers_for(), "X-SeqPulse-Signature-Version": "v1"},
        {**headers_for(), "X-SeqPulse-Signature": "sha256="},
        {**headers_for(), "X-SeqPulse-Timestamp": "yesterday"},
    ]
    if not by_client:
        refused += [headers_for(path="/other"), {**headers_for(), "X-SeqPulse-Signature": b"\xff\xfe"}]
    assert [ask(bad).status_code for bad in refused] == [401] * len(refused)
    assert ask(headers_for()).status_code == 200


# --- the gate waits as it is told, within its patience

Answer = tuple[int, dict[str, str], bytes]
ID = "5f0c2a3e-0000-4000-8000-000000000000"
LATER = {"Retry-After": "1"}
PENDING: Answer = (202, LATER, b'{"gate": "pending", "verdict": null}')
BUSY: Answer = (429, LATER, b'{"error": {"message": "Too many calls"}, "gate": "pending"}')
AWAY: Answer = (503, {}, b"<html>")
# No answer at all: the connection is closed.
DROPPED: Answer = (0, {}, b"")
PASS: Answer = (200, {}, b'{"verdict": "ok", "summary": "s", "hints": [], "gate": "pass"}')
FAIL: Answer = (200, {}, b'{"verdict": "rollback_recommended", "summary": "s", "hints": [], "gate": "fail"}')
PAGE: Answer = (200, {}, b"<!doctype html><title>Sign in</title>")
CLOSED: Answer = (409, {}, b'{"error": {"message": "superseded"}, "gate": "none"}')


def loop_of_the_documents(directory: Path) -> Path:
    page = (ROOT / "docs" / "pipelines.md").read_text()
    [block] = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "/verdict" in block]
    path = directory / "loop.sh"
    path.write_text(block)
    return path


@contextmanager
def gate_server(answers: list[Answer]) -> Iterator[tuple[str, list[str]]]:
    """Answer calls in this order, the last one for ever; yield the URL and the list of paths that were called."""
    called: list[str] = []

    class Handler(Quiet):
        def do_GET(self) -> None:  # noqa: N802  (the name that http.server calls)
            called.append(self.path)
            status, headers, body = answers[min(len(called), len(answers)) - 1]
            if not status:
                self.connection.close()
                return
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    with running(Handler) as url:
        yield url, called


@pytest.mark.parametrize("source", ["documents", "script"])
@pytest.mark.parametrize(
    ("answers", "patience", "closed", "expected", "calls"),
    [
        ([BUSY, DROPPED, PENDING, AWAY, PASS], 60, "0", 0, (5, 5)),
        ([BUSY, FAIL], 60, "0", 1, (2, 2)),
        ([BUSY], 3, "0", 0, (2, 4)),
        ([BUSY], 3, "1", 1, (2, 4)),
        ([(429, {"Retry-After": "3600"}, b"")], 60, "1", 1, (1, 1)),
        ([(503, {"Retry-After": "0"}, b"")], 3, "1", 1, (1, 1)),
        ([(429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"")], 3, "0", 0, (1, 1)),
        ([DROPPED], 3, "1", 1, (1, 1)),
        ([CLOSED], 60, "0", 0, (1, 1)),
        ([CLOSED], 60, "1", 1, (1, 1)),
        ([PAGE], 60, "0", 0, (1, 1)),
        ([PAGE], 60, "1", 1, (1, 1)),
    ],
    ids=[
        "waits",
        "fails-on-a-rollback",
        "busy-fails-open",
        "busy-fails-closed",
        "busy-for-longer-than-its-patience",
        "never-spins",
        "a-date-is-no-number",
        "no-connection",
        "closed-fails-open",
        "closed-fails-closed",
        "page-of-a-proxy-fails-open",
        "page-of-a-proxy-fails-closed",
    ],
)
def test_the_gate_waits_as_the_server_says_and_never_spins(
    tmp_path: Path,
    source: str,
    answers: list[Answer],
    patience: int,
    closed: str,
    expected: int,
    calls: tuple[int, int],
) -> None:
    require("curl")
    shell = require("sh")
    with gate_server(answers) as (url, called):
        variables = environment(
            SEQPULSE_API_KEY="sp_x", SEQPULSE_PATIENCE_SECONDS=str(patience), SEQPULSE_FAIL_CLOSED=closed
        )
        if source == "documents":
            command: list[str | Path] = [loop_of_the_documents(tmp_path)]
            variables |= {"SEQPULSE_URL": url, "ID": ID, "PATIENCE": str(patience), "FAIL_CLOSED": closed}
        else:
            command = [file_of("curl", tmp_path, replace(VALUES, url=url)), "gate"]
            (tmp_path / ".seqpulse-deployment").write_text(ID)
        begun = time.monotonic()
        ended = run(shell, *command, env=variables, cwd=tmp_path)
        took_s = time.monotonic() - begun
    assert ended.returncode == expected, ended.stderr
    assert calls[0] <= len(called) <= calls[1]
    assert took_s < min(patience, 20) + 3
    assert all(path.startswith(f"/deployments/{ID}/verdict?wait=") for path in called)


# --- the script drives a deployment


def test_the_script_drives_a_deployment_to_its_verdict(installation: Installation, tmp_path: Path) -> None:
    require("curl")
    shell = require("sh")
    made = installation.project("snippets")
    site = installation.start_web()
    installation.start_poller()
    endpoint = installation.start_endpoint()
    installation.rows("UPDATE projects_environment SET metrics_endpoint = %s", f"{endpoint}/good")
    path = file_of("curl", tmp_path, Values(site, "snippets", "prod", "/good", signed=False))
    branch = 'feature/"quotes" & $(more)'
    env = environment(
        SEQPULSE_API_KEY=made["api_key"], CI_JOB_ID="4711", CI_COMMIT_REF_NAME=branch, CI_COMMIT_SHA="abc"
    )

    def script(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return run(shell, path, *arguments, env={**env, **more}, cwd=tmp_path)

    begun = script("trigger")
    assert begun.returncode == 0, begun.stderr
    assert "begins in prod" in begun.stderr
    [(stored_branch, key)] = installation.rows("SELECT branch, idempotency_key FROM deployments")
    assert (stored_branch, key) == (branch, "4711-prod")
    again = script("trigger")
    assert again.stderr == f"{begun.stderr}seqpulse: Deployment #1 has this idempotency key already.\n"
    finished = script("finish", "success")
    assert "finish (success), HTTP 200: Under observation" in finished.stderr
    assert "is not running any more" in script("finish", "failed").stderr
    gate = script("gate")
    assert gate.returncode == 0, gate.stderr
    [(verdict,)] = installation.rows("SELECT verdict FROM deployment_verdicts")
    assert gate.stderr.startswith(f"seqpulse: {verdict}: ")
    assert f"{site}/dashboard/deployments/" in gate.stderr
    # Change the verdict of the same deployment.
    installation.rows("UPDATE deployment_verdicts SET verdict = 'rollback_recommended'")
    failed = script("gate")
    assert failed.returncode == 1
    assert "rollback_recommended" in failed.stderr
    # If SeqPulse refuses or is unreachable, the pipeline continues.
    refused = script("trigger", SEQPULSE_API_KEY="sp_wrong")
    assert refused.returncode == 0
    assert "HTTP 401: This API key is not known" in refused.stderr
    for arguments in (("finish", "success"), ("gate",)):
        nothing = script(*arguments)
        assert nothing.returncode == 0
        assert "nothing to do" in nothing.stderr
    assert script().returncode == 2
    assert "is not set" in script("trigger", SEQPULSE_API_KEY="").stderr
    shown = begun.stderr + finished.stderr + gate.stderr + refused.stderr
    assert made["api_key"] not in shown


@pytest.mark.parametrize(("status", "code"), [(401, 2), (404, 2), (409, 0)])
def test_the_gate_of_the_documents_says_why_there_is_no_verdict(tmp_path: Path, status: int, code: int) -> None:
    require("curl")
    body = b'{"error": {"message": "The server says why."}, "gate": "none"}'
    answer: Answer = (status, {}, body)
    with gate_server([answer]) as (url, _):
        variables = environment(SEQPULSE_API_KEY="sp_x", SEQPULSE_URL=url, ID=ID)
        ended = run(require("sh"), loop_of_the_documents(tmp_path), env=variables, cwd=tmp_path)
    assert (ended.returncode, ended.stderr.strip()) == (code, f"no verdict: HTTP {status} The server says why.")
