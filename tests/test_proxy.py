"""The example of nginx, with real web servers: as it is, and below a path."""

import http.client
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from django.conf import settings
from django.test import Client
from lxml.html import fromstring

from accounts.models import User
from tests.processes import Installation, free_port, live_installation, wait_for
from tests.system_tools import ROOT, require

pytestmark = [pytest.mark.external, pytest.mark.e2e]

PASSWORD = "correct horse battery"
MAIN = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/seqpulse.conf;
}}
"""


def start_nginx(site: Installation, directory: Path, location: str) -> str:
    """Start nginx with our example in front of the web server; return its base URL."""
    nginx, port = require("nginx"), free_port()
    directory.mkdir()
    # Workers of nginx that root starts have another account.
    directory.chmod(0o755)
    example = (ROOT / "ops/nginx/seqpulse.conf").read_text()
    for old, new in (
        ("web:8000", urlsplit(site.site).netloc),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        ("location / {", f"location {location} {{"),
    ):
        assert example.count(old) == 1
        example = example.replace(old, new)
    (directory / "seqpulse.conf").write_text(example)
    (directory / "nginx.conf").write_text(MAIN.format(directory=directory))
    # With nginx' own user the temporary directories would not be writable below pytest's.
    started = site.start("nginx", nginx, "-e", "stderr", "-g", "user root;", "-c", str(directory / "nginx.conf"))
    base = f"http://127.0.0.1:{port}{location}"
    site.wait_until_answers(started, f"{base}health/live")
    return base


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with live_installation(
        tmp_path_factory.mktemp("below"),
        SCRIPT_NAME="/seqpulse",
        SEQPULSE_TRUSTED_PROXIES="127.0.0.1/32",
        SEQPULSE_HTTPS="off",
    ) as made:
        made.manage("collectstatic", "--no-input", "--verbosity", "0")
        made.start_web()
        yield made


@pytest.fixture(scope="module")
def base(site: Installation, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of SeqPulse below a path."""
    return start_nginx(site, tmp_path_factory.getbasetemp() / "nginx", "/seqpulse/")


def addresses(page: requests.Response) -> set[str]:
    """Return what the page links to on its own host."""
    tree = fromstring(page.text)
    found = {str(each) for each in tree.xpath("//@href | //@src | //@action | //@hx-get | //@hx-post")}
    absolute = {urljoin(page.url, each) for each in found}
    return {each for each in absolute if urlsplit(each).netloc == urlsplit(page.url).netloc}


def test_everything_stays_below_the_path(site: Installation, base: str) -> None:
    with site.here(PASSWORD_HASHERS=["django.contrib.auth.hashers.PBKDF2PasswordHasher"]):
        User.objects.create_superuser("ada", "ada@example.com", PASSWORD)
    made = site.project("below a path", "--owner", "ada")
    browser = requests.Session()
    page = browser.get(base, timeout=30)
    assert page.url.startswith(f"{base}accounts/login/")
    form = {
        "login": "ada",
        "password": PASSWORD,
        "csrfmiddlewaretoken": fromstring(page.text).xpath("string(//input[@name='csrfmiddlewaretoken']/@value)"),
    }
    page = browser.post(page.url, form, timeout=30)
    assert (page.status_code, page.url) == (200, f"{base}dashboard/"), fromstring(page.text).text_content()
    assert {cookie.path for cookie in browser.cookies} == {"/seqpulse"}
    seen = addresses(page)
    for path in ("dashboard/deployments/", "dashboard/projects/", "settings/", "api/docs", "admin/"):
        page = browser.get(base + path, timeout=30)
        seen |= addresses(page)
    # Django admin links to the path without its slash; nginx adds it.
    assert not {each for each in seen if not f"{each}/".startswith(base)}
    files = [each for each in seen if "/static/" in each]
    assert len(files) > 5
    for address in files:
        assert browser.get(address, timeout=30).status_code == 200, address
    sheet = next(each for each in files if re.search(r"/seqpulse\.[0-9a-f]+\.css", each))
    for inside in re.findall(r"url\(\"?([^)\"]+)", requests.get(sheet, timeout=30).text):
        assert inside.startswith("data:") or requests.get(urljoin(sheet, inside), timeout=30).ok, inside
    # What happens on open pages passes nginx at once, under the path as well.
    [events] = set(
        re.findall(r'data-live-events="([^"]+)"', browser.get(f"{base}dashboard/deployments/", timeout=30).text)
    )
    with browser.get(urljoin(base, events), stream=True, timeout=5) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert next(stream.iter_lines()).startswith(b"retry:")
    # Errors too.
    assert all(each.startswith(base) for each in addresses(browser.get(f"{base}nothing", timeout=30)))
    answer = requests.get(f"{base}deployments", headers={"X-API-Key": made["api_key"]}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert requests.get(f"{base}deployments", timeout=30).json()["error"]["code"] == "not_authenticated"


def test_nginx_names_the_client_and_the_scheme(site: Installation, base: str) -> None:
    claimed = {"X-Forwarded-For": "192.0.2.66", "X-Forwarded-Proto": "https"}
    link = http.client.HTTPConnection(urlsplit(base).netloc, source_address=("127.0.0.2", 0), timeout=30)
    link.request("GET", "/seqpulse/deployments/?named=by-nginx", headers=claimed)
    assert link.getresponse().status == 401
    link.close()

    def lines() -> list[str]:
        return [line for line in site.log("web").splitlines() if "named=by-nginx" in line and '"ip"' in line]

    # What the client says of itself stands left of what nginx has appended.
    assert '"ip": "127.0.0.2"' in wait_for(lines, "the line in the log", 5)[0]


def test_slow_clients_end_at_nginx(site: Installation, base: str) -> None:
    netloc = urlsplit(base)
    head = b"POST /seqpulse/deployments/trigger HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
    slow = [socket.create_connection((netloc.hostname or "", netloc.port or 0), 10) for _ in range(60)]
    for client in slow:
        client.sendall(head)
    try:
        assert requests.get(f"{base}health/live", timeout=5).ok
    finally:
        for client in slow:
            client.close()


def test_waiting_calls_and_events_of_open_pages_come_through_at_once(site: Installation, base: str) -> None:
    key = {"X-API-Key": site.project("events")["api_key"]}
    started = requests.post(f"{base}deployments/trigger", json={"env": "prod"}, headers=key, timeout=30).json()
    path = f"deployments/{started['deployment_id']}"
    with site.here():
        client = Client()
        client.force_login(User.objects.create_superuser("eve", "eve@example.com", PASSWORD))
        cookies = {settings.SESSION_COOKIE_NAME: client.cookies[settings.SESSION_COOKIE_NAME].value}
    with (
        requests.get(f"{base}dashboard/{path}/events/", cookies=cookies, stream=True, timeout=15) as stream,
        ThreadPoolExecutor(1) as pool,
    ):
        lines = stream.iter_lines(chunk_size=1)
        assert next(lines).startswith(b"retry: ")
        waiting = pool.submit(requests.get, f"{base}{path}/verdict?wait=60", headers=key, timeout=70)
        again = {"env": "prod", "force": True}
        requests.post(f"{base}deployments/trigger", json=again, headers=key, timeout=30)
        assert any(line == b"event: changed" for line in lines)
        assert waiting.result(15).status_code == 409
