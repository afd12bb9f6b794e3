"""Accepted and refused URLs, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbound.endpoints import EndpointError, parse_endpoint


@pytest.mark.parametrize(
    ("url", "sent", "authority"),
    [
        ("http://metrics.example", "http://metrics.example/", "metrics.example:80"),
        ("HTTPS://Metrics.Example/ds-metrics", "https://metrics.example/ds-metrics", "metrics.example:443"),
        ("http://a.example:8080/x?y=1&z=%20", "http://a.example:8080/x?y=1&z=%20", "a.example:8080"),
        ("http://a.example:80/", "http://a.example/", "a.example:80"),
        ("http://a.example:/", "http://a.example/", "a.example:80"),
        ("http://a.example:0443/", "http://a.example:443/", "a.example:443"),
        ("https://a.example:65535/", "https://a.example:65535/", "a.example:65535"),
        ("http://a.example/../x/./y//", "http://a.example/../x/./y//", "a.example:80"),
        ("http://a.example?q", "http://a.example/?q", "a.example:80"),
        ("http://a.example./", "http://a.example./", "a.example.:80"),
        ("http://my_service:9000/", "http://my_service:9000/", "my_service:9000"),
        ("http://[2606:4700:0::1]:8080/x", "http://[2606:4700::1]:8080/x", "[2606:4700::1]:8080"),
        ("http://[::1]/", "http://[::1]/", "[::1]:80"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example:80"),
        ("http://127.0.0.1/", "http://127.0.0.1/", "127.0.0.1:80"),
    ],
)
def test_a_good_url_is_brought_into_the_form_that_is_sent(url: str, sent: str, authority: str) -> None:
    endpoint = parse_endpoint(url)
    assert (endpoint.url, endpoint.authority) == (sent, authority)
    assert parse_endpoint(endpoint.url) == endpoint


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "not absolute"),
        ("/ds-metrics", "not absolute"),
        ("metrics.example/x", "not absolute"),
        ("//metrics.example/x", "not absolute"),
        ("http:metrics.example", "not absolute"),
        ("http:/metrics.example", "not absolute"),
        ("ftp://a.example/", "scheme is ftp"),
        ("file:///etc/passwd", "scheme is file"),
        ("gopher://a.example:70/_x", "scheme is gopher"),
        ("http://", "names no host"),
        ("http://:80/", "names no host"),
        ("http:///x", "names no host"),
        ("http://user:secret@a.example/", "user name or password"),
        ("http://a.example@b.example/", "user name or password"),
        ("http://a.example/#part", "fragment"),
        ("http://a.example#", "fragment"),
        ("http://a.example:0/", "port is 0"),
        ("http://a.example:65536/", "port is 65536"),
        ("http://a.example:99999999999999999999/", "port is 999999"),
        ("http://a.example:-1/", "cannot be read"),
        ("http://a.example:http/", "cannot be read"),
        ("http://a.example:80:80/", "cannot be read"),
        ("http://[::1/", "cannot be read"),
        ("http://::1/", "cannot be read"),
        ("http://[::1]x/", "cannot be read"),
        ("http://[127.0.0.1]/", "not an IPv6 address"),
        ("http://[fe80::1%25eth0]/", "not an IPv6 address|zone"),
        ("http://[fe80::1%eth0]/", "zone"),
        ("http://a..example/", "not a valid name"),
        ("http://-a.example/", "not a valid name"),
        ("http://a%2eexample/", "not a valid name"),
        ("http://a\\b.example/", "not a valid name"),
        ("http://" + "a" * 64 + ".example/", "not a valid name"),
        ("http://" + "a.a" * 100 + "/", "not a valid name"),
        ("http://\u2024.example/", "not a valid name"),
        ("http://a.example/a b", r"U\+0020"),
        (" http://a.example/", r"U\+0020"),
        ("http://a.example/\n", r"U\+000A"),
        ("http://a.example/\r\nX-Evil: 1", r"U\+000D"),
        ("http://a.example/\x00", r"U\+0000"),
        ("http://a.example\t/", r"U\+0009"),
        ("http://a.example/\x7f", r"U\+007F"),
        ("http://a.example/\u00a0", r"U\+00A0"),
        ("http://a.example/\ud800", r"U\+D800"),
        ("http://a.example/\u202e", r"U\+202E"),
        ("http://a.example/ü", "percent-encoded"),
        ("http://a.example/\\x", "percent-encoded"),
        ("http://a.example/%zz", "percent-encoded"),
        ("http://a.example/?q={x}", "percent-encoded"),
        ("http://a.example/" + "x" * 2048, "characters long"),
    ],
)
def test_a_bad_url_is_refused_and_the_problem_named(url: str, problem: str) -> None:
    with pytest.raises(EndpointError, match=problem):
        parse_endpoint(url)


def test_the_message_does_not_repeat_a_password() -> None:
    with pytest.raises(EndpointError) as caught:
        parse_endpoint("http://admin:hunter2@a.example/")
    assert "hunter2" not in str(caught.value)


@given(st.text() | st.text().map("http://".__add__) | st.text().map("http://a.example/".__add__))
def test_any_text_is_either_refused_or_harmless(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except EndpointError:
        return
    assert endpoint.url.isascii()
    assert endpoint.url.isprintable()
    assert not set(endpoint.url) & set(" \\#")
    assert "@" not in endpoint.url.split("/")[2]
