"""Allowed and refused addresses, as tables."""

import ipaddress
import re

import pytest

from explain.rendering import render
from outbound.addresses import AllowList, refusal

NOTHING = AllowList()

# What the refusal says, and the addresses that it is said of.
REFUSED = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],  # noqa: S104
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456:789a::1"],
    "link-local": ["169.254.1.1", "fe80::1", "fe80::1%eth0", "fe80::5efe:10.0.0.1"],
    "metadata": [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "fd20:ce::254",
        "2a00:1450:4001::5efe:169.254.169.254",
        "2606:4700::200:5efe:a9fe:a9fe",
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:a9:fe:a9fe::",
        "64:ff9b:1::a9:fea9:fe00:0",
        "::ffff:0:169.254.169.254",
        "2001:0:a9fe:a9fe::",
        "2001:0:4136:e378:8000:63bf:5601:5601",
    ],
    "carrier-grade": ["100.64.0.1", "100.127.255.255"],
    "reserved": ["192.0.0.8", "240.0.0.1", "255.255.255.255", "2001:10::1", "2001:20::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "6to4": ["192.88.99.1", "2002:7f00:1::"],
    "benchmarking": ["198.18.0.1", "198.19.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1"],
    "IPv4-compatible": ["::7f00:1", "::8.8.8.8"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:8.8.8.8"],
    "not a public": ["::ffff:0:127.0.0.1", "100::1", "4000::1", "5f00::1"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::1"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "AS112": ["192.31.196.1", "192.175.48.6", "2001:4:112::1", "2620:4f:8000::1"],
    "public relay": ["192.52.193.1", "2001:3::1"],
    "ISATAP": ["2a00:1450:4001::5efe:10.0.0.1", "2606:4700:1:2:200:5efe:7f00:1", "2600::5efe:8.8.8.8"],
    "site-local": ["fec0::1", "feff::1"],
    "not an IP address": ["metrics.example", ""],
}


@pytest.mark.parametrize(("ip", "words"), [(ip, words) for words, ips in REFUSED.items() for ip in ips])
def test_addresses_that_are_not_public_are_refused_in_words(ip: str, words: str) -> None:
    reason = refusal(ip, NOTHING, "metrics.example")
    assert reason is not None
    assert words in render(reason)


IN_USE = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888"]
# A refused network, and the public addresses next to it.
BESIDE = {
    "10.0.0.0/8": ["9.255.255.255", "11.0.0.0"],
    "100.64.0.0/10": ["100.63.255.255", "100.128.0.0"],
    "127.0.0.0/8": ["126.255.255.255", "128.0.0.1"],
    "168.63.129.16": ["168.63.129.15", "168.63.129.17"],
    "169.254.0.0/16": ["169.253.255.255"],
    "172.16.0.0/12": ["172.15.255.255", "172.32.0.0"],
    "192.168.0.0/16": ["192.167.255.255", "192.169.0.0"],
    "192.31.196.0/24": ["192.31.195.255", "192.31.197.0"],
    "192.52.193.0/24": ["192.52.192.255", "192.52.194.0"],
    "192.175.48.0/24": ["192.175.47.255", "192.175.49.0"],
    "2620:4f:8000::/48": ["2620:4f:7fff::1", "2620:4f:8001::1"],
    "ISATAP": ["2600::5eff:10.0.0.1", "2600::100:5efe:10.0.0.1", "2600::5efe:0:10.0.0.1"],
    "198.18.0.0/15": ["198.17.255.255", "198.20.0.0"],
    "224.0.0.0/4": ["223.255.255.255"],
}


@pytest.mark.parametrize("ip", [*IN_USE, *(ip for ips in BESIDE.values() for ip in ips)])
def test_public_addresses_pass(ip: str) -> None:
    assert refusal(ip, NOTHING, "metrics.example") is None


def test_an_address_object_is_as_good_as_text() -> None:
    found = refusal(ipaddress.ip_address("10.0.0.1"), NOTHING)
    assert found is not None
    assert render(found) == "10.0.0.1 is a private address"


@pytest.mark.parametrize(
    ("setting", "host", "passing", "refused"),
    [
        (
            "10.0.0.0/8",
            "a.example",
            ["10.1.2.3", "11.0.0.1", "::ffff:10.1.2.3"],
            ["192.168.0.1", "::ffff:127.0.0.1", "64:ff9b::10.1.2.3"],
        ),
        ("127.0.0.1", "localhost", ["127.0.0.1"], ["127.0.0.2", "::1"]),
        ("::1", "localhost", ["::1"], []),
        ("fd00::/8", "a.example", ["fd12::1"], []),
        ("64:ff9b::/96", "a.example", ["64:ff9b::8.8.8.8"], []),
        (
            ".internal.example",
            "app.internal.example",
            ["10.0.0.1", "fd00:42::1", "64:ff9b::10.0.0.1"],
            [
                "169.254.169.254",
                "168.63.129.16",
                "fe80::1",
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
            ],
        ),
        (".internal.example", "a.b.internal.example", ["10.0.0.1"], []),
        (".internal.example", "internal.example", ["10.0.0.1"], []),
        (".internal.example", "APP.Internal.Example.", ["10.0.0.1"], []),
        (".internal.example", "evilinternal.example", [], ["10.0.0.1"]),
        (".internal.example", "internal.example.evil", [], ["10.0.0.1"]),
        ("app.example", "app.example", ["10.0.0.1"], []),
        ("app.example", "x.app.example", [], ["10.0.0.1"]),
        ("localhost", "localhost", ["127.0.0.1"], []),
        ("app.example", "", [], ["10.0.0.1"]),
        ("169.254.169.254", "metadata", ["169.254.169.254"], []),
        (" 10.0.0.0/8 , ,.X.example,", "a", ["10.0.0.1"], []),
        ("", "a", [], ["10.0.0.1"]),
        ("0.0.0.0/0", "a", ["127.0.0.1"], []),
    ],
)
def test_what_the_allow_list_lets_through(setting: str, host: str, passing: list[str], refused: list[str]) -> None:
    allow = AllowList.parse(setting)
    assert [ip for ip in passing + refused if refusal(ip, allow, host) is None] == passing


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
