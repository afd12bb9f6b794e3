"""The client's address behind proxies."""

from ipaddress import ip_network

import pytest

from security.callers import client_address, parse_address

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        # No proxy: the header was invented by the client.
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "1.2.3.4", "203.0.113.9"),
        ("203.0.113.9", "1.2.3.4, 10.0.0.1", "203.0.113.9"),
        # Through one proxy and through two.
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("fd00::1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        # Addresses that the client prepended are not trusted.
        ("10.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "10.9.9.9, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        # Text that is not an address is refused.
        ("10.0.0.1", "nonsense", None),
        ("10.0.0.1", "203.0.113.9, ", None),
        ("10.0.0.1", "nonsense, 10.0.0.2", None),
        # With the port of the connection, as some proxies write it.
        ("10.0.0.1", "1.2.3.4, 203.0.113.9:1234, 10.0.0.2:80", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::9]:1234, [fd00::2]:80", "2001:db8::9"),
        # Only our own proxy uses a Unix socket.
        ("", "203.0.113.9", "203.0.113.9"),
    ],
)
def test_the_address_is_the_first_one_beyond_our_proxies(remote: str, forwarded: str, address: str | None) -> None:
    assert client_address(remote, forwarded, PROXIES) == address


def test_without_trusted_proxies_no_header_counts() -> None:
    assert client_address("10.0.0.1", "203.0.113.9", []) == "10.0.0.1"
    assert client_address("", "203.0.113.9", []) == ""


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        (" 203.0.113.9:1234 ", "203.0.113.9"),
        ("2001:db8::9", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("[2001:db8::9]:1234", "2001:db8::9"),
        ("[fe80::1%eth0]:1234", "fe80::1"),
        ("[::ffff:203.0.113.9]:1234", "203.0.113.9"),
        # Not a port, but the last part of the address.
        ("2001:db8::9:1234", "2001:db8::9:1234"),
        ("203.0.113.9:", None),
        ("203.0.113.9:http", None),
        ("203.0.113.9:123456", None),
        ("203.0.113:80", None),
        ("[203.0.113.9", None),
        ("[]:80", None),
        ("[2001:db8::9]1234", None),
        (":1234", None),
        ("", None),
    ],
)
def test_an_address_is_read_with_its_port_or_without(text: str, address: str | None) -> None:
    parsed = parse_address(text)
    assert (None if parsed is None else str(parsed)) == address
