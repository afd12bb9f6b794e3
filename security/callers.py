"""Who calls us, seen through our own reverse proxies. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# As some proxies write it: 203.0.113.9:1234, [2001:db8::9]:1234. A bare IPv6 address has colons of its own.
WITH_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([0-9.]+))(?::[0-9]{1,5})?")


def parse_address(text: str) -> Address | None:
    """The address in the text, None where there is none; an IPv4 address in IPv6 clothes counts as IPv4.

    A port behind it, and the brackets of an IPv6 address, are left out.
    """
    text = text.strip()
    found = WITH_PORT.fullmatch(text)
    try:
        address = ip_address(((found[1] or found[2] or "") if found else text).partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether the address is one of our own proxies; "" is a Unix socket, which only a proxy of ours can reach."""
    if not address:
        return bool(trusted)
    parsed = parse_address(address)
    return parsed is not None and any(parsed in network for network in trusted)


def client_address(remote: str, forwarded_for: str, trusted: Sequence[Network]) -> str | None:
    """The address of whoever calls: the first one, seen from us, that is none of our proxies.

    remote: the peer of the connection; forwarded_for: the header X-Forwarded-For, to whose end each proxy adds its own
    peer. What stands left of the first untrusted address was written by that one, so it is not believed. None where
    one of our proxies tells something that is no address.
    """
    hops = forwarded_for.split(",") if forwarded_for.strip() else []
    address = remote
    while hops and is_trusted(address, trusted):
        parsed = parse_address(hops.pop())
        if parsed is None:
            return None
        address = str(parsed)
    return address
