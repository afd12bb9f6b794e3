"""Snippets of the integration page: each is run, or at least parsed, by its target program."""

import os
import py_compile
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import playwright
import pytest
import requests
import yaml

from dashboard.projects.snippets import ENDPOINTS, PIPELINES, Values, written
from metrics.payload import METRICS, parse_metrics
from metrics.signing import signed_headers
from tests.processes import Installation, environment, free_port
from tests.system_tools import client_python, output_of, require

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
    script = file_of("shell", tmp_path, called(name))
    for shell in ("bash", "sh"):
        output_of(require(shell), "-n", script)
    # The part before the script calls SeqPulse.
    begin = script.read_bytes().decode().partition("curl ")[0]
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


def test_pipelines_fetch_the_client_and_run_the_deployment_with_it() -> None:
    for key in ("shell", "github", "gitlab", "circleci", "jenkins"):
        text = text_of(key)
        fetched, ran = text.index("$SEQPULSE_URL/cli/seqpulse.py"), text.index("python3 seqpulse.py run -- ./deploy.sh")
        assert fetched < ran, key
        assert VALUES.url in text
    for key in ("github", "gitlab", "circleci"):
        assert environment_variables(key, text_of(key))["SEQPULSE_URL"] == VALUES.url
    assert yaml.safe_load(text_of("circleci"))["version"] == 2.1


@pytest.mark.parametrize("name", NASTY)
def test_a_name_in_a_jenkinsfile_is_text(name: str) -> None:
    text = text_of("jenkins", called(name))
    [quoted] = re.findall(r"SEQPULSE_ENV = '((?:[^'\\]|\\.)*)'\n", text)
    # Groovy's escapes in single quotes are a subset of Python's.
    assert quoted.encode("latin-1", "backslashreplace").decode("unicode_escape") == name
    assert text.count("{") == text.count("}") or "{" in name


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("key", ["fastapi", "asgi", "django", "flask"])
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
ASGI = """
import sys
import uvicorn
from seqpulse_metrics import SeqPulse
async def application(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError
    failed = scope["path"] == "/fail"
    await send({"type": "http.response.start", "status": 500 if failed else 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
uvicorn.run(SeqPulse(application), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
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
CLUSTER = """
const cluster = require("node:cluster");
if (cluster.isPrimary) {
  for (let number = 0; number < 4; number++) cluster.fork();
  process.on("SIGTERM", () => process.exit());
} else {
  require("./service.js");
}
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
    service.write_text({"django": DJANGO, "flask": WSGI, "fastapi": STARLETTE, "asgi": ASGI}[key])
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


@pytest.mark.parametrize("key", ["django", "flask", "asgi", "fastapi", "express", "go"])
def test_an_endpoint_measures_its_service_and_answers_only_what_we_signed(key: str, tmp_path: Path) -> None:
    installation = Installation("", environment(SEQPULSE_HMAC_SECRET=SECRET, TMPDIR=str(tmp_path)), tmp_path)
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    try:
        process = installation.start("service", *command_of(key, tmp_path), str(port))
        installation.wait_until_answers(process, f"{site}/")
        # The public client reads the signed path from a header, and answers 500 to a non-ASCII signature.
        check_endpoint(site, by_client=key == "fastapi")
    finally:
        installation.children.stop()


def workers_of(key: str, directory: Path, port: int) -> list[str]:
    """Write the snippet and a service of four worker processes; return the command that starts it."""
    file_of(key, directory)
    if key == "express":
        (directory / "service.js").write_text(EXPRESS)
        (directory / "cluster.js").write_text(CLUSTER)
        return [str(NODE), str(directory / "cluster.js"), str(port)]
    service = {"flask": WSGI, "asgi": ASGI}[key].rpartition("\n")[0].rpartition("\n")[0]
    (directory / "service.py").write_text(service + "\napplication = SeqPulse(application)\n")
    worker = ["-k", "uvicorn_worker.UvicornWorker"] if key == "asgi" else []
    options = ["--no-control-socket", "--chdir", str(directory), "-w", "4", "-b", f"127.0.0.1:{port}"]
    return [sys.executable, "-m", "gunicorn", *options, *worker, "service"]


@pytest.mark.parametrize("key", ["flask", "asgi", "express"])
def test_whichever_worker_answers_it_tells_of_all(key: str, tmp_path: Path) -> None:
    installation = Installation("", environment(SEQPULSE_HMAC_SECRET=SECRET, TMPDIR=str(tmp_path)), tmp_path)
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    try:
        process = installation.start("service", *workers_of(key, tmp_path, port))
        installation.wait_until_answers(process, f"{site}/")
        # A connection for each: whichever worker is free takes it.
        answers = [requests.get(site + path, timeout=10) for path in ["/"] * 75 + ["/fail"] * 25]
        assert sum(answer.status_code == 500 for answer in answers) == 25
        if key == "express":
            time.sleep(1.2)  # each writes every second
        found = [requests.get(site + VALUES.path, headers=headers_for(), timeout=10) for _ in range(20)]
    finally:
        installation.children.stop()
    told = [parse_metrics(one.content) for one in found]
    assert len(list(tmp_path.glob("seqpulse-*/*"))) > 1  # several workers took part
    counted = {round(one.requests_per_sec * 60) for one in told if one.requests_per_sec is not None}
    assert len(counted) == 1
    assert 100 <= counted.pop() <= 105  # with those that waited for its start
    for one in told:
        assert one.error_rate == pytest.approx(0.25, abs=0.02)
        assert one.latency_p95
        assert 0 < one.latency_p95 < 1000
        assert one.cpu_usage
        assert one.memory_usage


def check_endpoint(site: str, *, by_client: bool) -> None:
    def ask(headers: dict[str, str], path: str = VALUES.path) -> requests.Response:
        return requests.get(site + path, headers=headers, timeout=10)

    for path in ("/", "/", "/fail"):
        requests.get(site + path, timeout=10)
    headers = headers_for()
    found = ask(headers)
    assert found.status_code == 200, found.text
    metrics = parse_metrics(found.content)
    values = {name: getattr(metrics, name) for name in METRICS}
    assert None not in values.values()
    assert 0 < values["error_rate"] < 1
    assert values["requests_per_sec"] > 0
    assert values["latency_p95"] > 0
    assert 0 < values["memory_usage"] < 1
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
