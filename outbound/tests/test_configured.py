"""Headers and basic authentication of configurations, and origins, as tables."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbound.configured import HeaderError, authorized, check_headers
from outbound.endpoints import EndpointError, Origin, origin_of
from outbound.tests.servers import OK, says

SECRET = "T0K3N"


@pytest.mark.parametrize(
    ("headers", "field", "problem"),
    [
        ({"X-A": f"{SECRET}\r\nX-Evil: 1"}, "headers.X-A", r"U\+000D"),
        ({"X-A": f"{SECRET}\n"}, "headers.X-A", r"U\+000A"),
        ({"X-A": f"{SECRET}\x00"}, "headers.X-A", r"U\+0000"),
        ({"X-A": f"{SECRET}\x7f"}, "headers.X-A", r"U\+007F"),
        ({"Authorization": f"Bearer {SECRET}é"}, "headers.Authorization", r"U\+00E9"),
        ({"X-A": f"{SECRET}\u2028"}, "headers.X-A", r"U\+2028"),
        ({"X-A": f"{SECRET}\ud800"}, "headers.X-A", r"U\+D800"),
        ({"X A": SECRET}, "headers", "'X A' is not a header's name"),
        ({"": SECRET}, "headers", "is not a header's name"),
        ({"X-A:": SECRET}, "headers", "is not a header's name"),
        ({"X-A\r\nX-B": SECRET}, "headers", "is not a header's name"),
        ({"Ä": SECRET}, "headers", "is not a header's name"),
        ({"@file": SECRET}, "headers", "is not a header's name"),
        ({"x" * 200: SECRET}, "headers", "is not a header's name"),
        *(
            ({name: SECRET}, f"headers.{name}", "of the connection")
            for name in (
                *("Host", "CONTENT-LENGTH", "transfer-encoding", "Expect", "Connection", "Keep-Alive", "TE", "Trailer"),
                *("Upgrade", "Proxy-Authorization", "Proxy-Connection", "Accept-Encoding"),
            )
        ),
        ({"X-A": "1", "x-a": SECRET}, "headers.x-a", "twice"),
        ({"X-A": SECRET * 2000}, "headers.X-A", "longer than"),
        ({f"X-{n}": SECRET * 1000 for n in range(4)}, "headers", "longer than 16"),
        ({f"X-{n}": SECRET for n in range(31)}, "headers", "more than 30"),
    ],
)
def test_a_header_that_no_request_can_have_is_refused_by_name_and_without_its_value(
    headers: dict[str, str], field: str, problem: str
) -> None:
    with pytest.raises(HeaderError, match=problem) as caught:
        check_headers(headers)
    assert caught.value.field == field
    assert SECRET not in f"{caught.value} {caught.value.fact} {caught.value.args}"


def test_good_headers_are_sent_as_they_are(send: Any) -> None:
    headers = {"X-Scope-OrgID": "tenant|other", "Authorization": " Bearer abc= \t", "X-Empty": ""}
    server = says(OK)
    send(server, headers=authorized(headers, None))
    assert [server.header(0, name) for name in headers] == [["tenant|other"], ["Bearer abc="], [""]]


@pytest.mark.parametrize(
    ("basic", "token"),
    [(("ann", "pa:ss"), "ann:pa:ss"), (("", "x"), ":x"), (("ann", ""), "ann:"), (("é", "ü☃"), "é:ü☃")],
)
def test_basic_authentication_is_a_header(basic: tuple[str, str], token: str) -> None:
    [(name, value)] = authorized({}, basic).items()
    assert name == "Authorization"
    assert base64.b64decode(value.removeprefix("Basic ")).decode() == token
    assert check_headers({name: value}) == {name: value}


def test_no_credentials_are_no_header() -> None:
    assert authorized({"X-A": "b"}, None) == authorized({"X-A": "b"}, ("", "")) == {"X-A": "b"}


@pytest.mark.parametrize(
    ("basic", "problem"),
    [
        ((f"a:{SECRET}", ""), "colon"),
        (("a\n", SECRET), "control character"),
        (("a", f"{SECRET}\x00"), "control character"),
        (("a", f"{SECRET}\ud800"), "control character"),
        (("a", SECRET * 400), "longer than 1024"),
        (("a", SECRET), "basic_auth: headers has an Authorization header"),
    ],
)
def test_credentials_that_cannot_be_sent_are_refused_without_repeating_them(
    basic: tuple[str, str], problem: str
) -> None:
    with pytest.raises(HeaderError, match=problem) as caught:
        authorized({"authorization": SECRET}, basic, basic_field="basic_auth")
    assert caught.value.field == "basic_auth"
    assert SECRET not in f"{caught.value} {caught.value.fact}"


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=5))
def test_any_headers_are_refused_or_cannot_split_a_request(headers: dict[str, str]) -> None:
    try:
        checked = check_headers(headers)
    except HeaderError:
        return
    assert all(text.isascii() and not set(text) & set("\r\n\0") for pair in checked.items() for text in pair)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://A.example/x?y", ("https", "a.example", 443)),
        ("https://a.example:443", ("https", "a.example", 443)),
        ("http://a.example:0080/", ("http", "a.example", 80)),
        ("http://bücher.example:8080/", ("http", "xn--bcher-kva.example", 8080)),
        ("http://[2606:4700:0::1]/", ("http", "2606:4700::1", 80)),
    ],
)
def test_the_origin_of_a_url(url: str, origin: tuple[str, str, int]) -> None:
    assert origin_of(url) == Origin(*origin)


def test_origins_differ_by_scheme_host_and_port_and_a_bad_url_has_none() -> None:
    urls = [
        "https://a.example",
        "http://a.example",
        "https://a.example:8443",
        "https://b.a.example",
        "https://a.example.",
    ]
    assert len({origin_of(url) for url in urls}) == len(urls)
    for url in ("https://a.example@b.example/", "//a.example", "https://a.example\\@b.example"):
        with pytest.raises(EndpointError):
            origin_of(url)
