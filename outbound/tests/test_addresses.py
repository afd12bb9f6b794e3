"""Allowed and refused addresses, as tables."""

from __future__ import annotations

import ipaddress
import re

import pytest

from explain.rendering import render
from outbound.addresses import AllowList, refusal

NOTHING = AllowList()


@pytest.mark.parametrize(
    ("ip", "words"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("0.0.0.0", "unspecified"),  # noqa: S104
        ("0.1.2.3", "unspecified"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("169.254.1.1", "link-local"),
        ("169.254.169.254", "metadata"),
        ("169.254.170.2", "metadata"),
        ("169.254.170.23", "metadata"),
        ("168.63.129.16", "metadata"),
        ("100.100.100.200", "metadata"),
        ("192.0.0.192", "metadata"),
        ("100.64.0.1", "carrier-grade"),
        ("100.127.255.255", "carrier-grade"),
        ("192.0.0.8", "reserved"),
        ("192.0.2.1", "documentation"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("192.88.99.1", "6to4"),
        ("198.18.0.1", "benchmarking"),
        ("198.19.255.255", "benchmarking"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::7f00:1", "IPv4-compatible"),
        ("::8.8.8.8", "IPv4-compatible"),
        ("::ffff:127.0.0.1", "IPv4-mapped"),
        ("::ffff:8.8.8.8", "IPv4-mapped"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::ffff:0:127.0.0.1", "not a public"),
        ("64:ff9b::7f00:1", "NAT64"),
        ("64:ff9b::8.8.8.8", "NAT64"),
        ("64:ff9b:1::1", "NAT64"),
        ("100::1", "not a public"),
        ("2001::1", "Teredo"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
        ("2001:10::1", "reserved"),
        ("2001:20::1", "reserved"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::", "6to4"),
        ("3fff::1", "documentation"),
        ("4000::1", "not a public"),
        ("5f00::1", "not a public"),
        ("fc00::1", "private"),
        ("fd12:3456:789a::1", "private"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "site-local"),
        ("feff::1", "site-local"),
        ("ff02::1", "multicast"),
        ("metrics.example", "not an IP address"),
        ("", "not an IP address"),
    ],
)
def test_addresses_that_are_not_public_are_refused_in_words(ip: str, words: str) -> None:
    reason = refusal(ip, NOTHING, "metrics.example")
    assert reason is not None
    assert words in render(reason)


@pytest.mark.parametrize(
    "ip",
    [
        "8.8.8.8",
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450:4001::1",
        "2001:4860:4860::8888",
    ],
)
def test_public_addresses_pass(ip: str) -> None:
    assert refusal(ip, NOTHING, "metrics.example") is None


def test_an_address_object_is_as_good_as_text() -> None:
    found = refusal(ipaddress.ip_address("10.0.0.1"), NOTHING)
    assert found is not None
    assert render(found) == "10.0.0.1 is a private address"


@pytest.mark.parametrize(
    ("setting", "ip", "host", "passes"),
    [
        ("10.0.0.0/8", "10.1.2.3", "a.example", True),
        ("10.0.0.0/8", "11.0.0.1", "a.example", True),
        ("10.0.0.0/8", "192.168.0.1", "a.example", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", "a.example", True),
        ("10.0.0.0/8", "::ffff:127.0.0.1", "a.example", False),
        ("10.0.0.0/8", "64:ff9b::10.1.2.3", "a.example", False),
        ("127.0.0.1", "127.0.0.1", "localhost", True),
        ("127.0.0.1", "127.0.0.2", "localhost", False),
        ("127.0.0.1", "::1", "localhost", False),
        ("::1", "::1", "localhost", True),
        ("fd00::/8", "fd12::1", "a.example", True),
        ("64:ff9b::/96", "64:ff9b::8.8.8.8", "a.example", True),
        (".internal.example", "10.0.0.1", "app.internal.example", True),
        (".internal.example", "10.0.0.1", "a.b.internal.example", True),
        (".internal.example", "10.0.0.1", "internal.example", True),
        (".internal.example", "10.0.0.1", "APP.Internal.Example.", True),
        (".internal.example", "10.0.0.1", "evilinternal.example", False),
        (".internal.example", "10.0.0.1", "internal.example.evil", False),
        ("app.example", "10.0.0.1", "app.example", True),
        ("app.example", "10.0.0.1", "x.app.example", False),
        ("localhost", "127.0.0.1", "localhost", True),
        ("app.example", "10.0.0.1", "", False),
        (".internal.example", "169.254.169.254", "app.internal.example", False),
        (".internal.example", "168.63.129.16", "app.internal.example", False),
        (".internal.example", "fe80::1", "app.internal.example", False),
        *(
            (".internal.example", ip, "app.internal.example", False)
            for ip in (
                "fd00:ec2::254",
                "fd20:ce::254",
                "fd00:c1::a9fe:a9fe",
                "fd00:42::42",
                "fd00:a9fe:a9fe::1",
                "fd00:100::100:200",
                "64:ff9b::169.254.169.254",
                "::169.254.169.254",
                "::ffff:169.254.169.254",
                "2002:a9fe:a9fe::1",
            )
        ),
        (".internal.example", "fd00:42::1", "app.internal.example", True),
        (".internal.example", "64:ff9b::10.0.0.1", "app.internal.example", True),
        ("169.254.169.254", "169.254.169.254", "metadata", True),
        (" 10.0.0.0/8 , ,.X.example,", "10.0.0.1", "a", True),
        ("", "10.0.0.1", "a", False),
        ("0.0.0.0/0", "127.0.0.1", "a", True),
    ],
)
def test_what_the_allow_list_lets_through(setting: str, ip: str, host: str, passes: bool) -> None:
    assert (refusal(ip, AllowList.parse(setting), host) is None) is passes


@pytest.mark.parametrize(
    "bad",
    [
        "10.0.0.0/33",
        "10.0.0.5/8",
        "10.0.0",
        "1.2.3.4.5",
        "300.1.1.1",
        "fe80::/129",
        "::g",
        "*",
        "*.example",
        ".",
        "a..b",
        "-a.example",
        "http://a.example",
        "a b",
        "a_b!",
        "ä.example",
        "x" * 64 + ".example",
        "a.example:80",
    ],
)
def test_a_bad_item_is_named(bad: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(bad))):
        AllowList.parse(f"10.0.0.0/8,{bad}")
