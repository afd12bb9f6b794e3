"""Transfer size of a page from a real web server: compressed, hashed, cached permanently."""

import re
import zlib
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest
import requests
from lxml.html import fromstring

from accounts.models import User
from projects.services import create_project
from tests.processes import Installation, live_installation

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]

PASSWORD = "correct horse battery"
# Of the first page that a user opens, with everything that it loads.
MAX_BYTES = 150_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Yield an installation over plain HTTP with a user and a project."""
    with live_installation(tmp_path_factory.mktemp("payload"), SEQPULSE_HTTPS="off") as made:
        # The web server knows no hashes of tests.
        with made.here(PASSWORD_HASHERS=["django.contrib.auth.hashers.PBKDF2PasswordHasher"]):
            create_project("shop", environment="prod", owner=User.objects.create_user("ada", password=PASSWORD))
        made.manage("collectstatic", "--no-input", "--verbosity", "0")
        made.start_web()
        yield made


def sizes(session: requests.Session, address: str) -> dict[str, int]:
    """Return the transferred bytes of the page and of everything that it loads, by URL."""
    found = {}
    waiting = [address]
    while waiting:
        url = waiting.pop()
        if url in found:
            continue
        with session.get(url, headers={"Accept-Encoding": "gzip"}, stream=True, timeout=30) as answer:
            assert answer.status_code == 200, url
            raw = answer.raw.read(decode_content=False)
            body = zlib.decompress(raw, 31) if answer.headers.get("Content-Encoding") == "gzip" else raw
            if "/static/" in url:
                assert "immutable" in answer.headers["Cache-Control"], url
                assert re.search(r"\.[0-9a-f]{12}\.", url), url
        found[url] = len(raw)
        if url == address:
            waiting += [
                urljoin(url, path) for path in fromstring(body).xpath("//@href | //@src") if path.startswith("/static/")
            ]
    return found


@pytest.mark.parametrize("path", ["/accounts/login/", "/dashboard/"])
def test_a_first_page_is_small_and_what_it_loads_is_kept_for_ever(site: Installation, path: str) -> None:
    session = requests.Session()
    if path == "/dashboard/":
        assert site.sign_in(session, "ada", PASSWORD).url == site.site + path
    found = sizes(session, site.site + path)
    assert len(found) >= 4
    assert sum(found.values()) < MAX_BYTES, found


def test_pages_are_compressed_and_answers_to_programs_are_not(site: Installation) -> None:
    headers = {"Accept-Encoding": "gzip"}
    page = requests.get(f"{site.site}/accounts/login/", headers=headers, timeout=30)
    assert page.headers["Content-Encoding"] == "gzip"
    schema = requests.get(f"{site.site}/api/schema", headers=headers, timeout=30)
    assert len(schema.content) > 5000
    assert "Content-Encoding" not in schema.headers
