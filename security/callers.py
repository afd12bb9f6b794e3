"""Who calls us, seen through our own reverse proxies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_address(text: str) -> Address | None:
    """The address in the text, None where there is none; an IPv4 address in IPv6 clothes counts as IPv4."""
    try:
        address = ip_address(text.strip().partition("%")[0])
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
        address = hops.pop().strip()
        if parse_address(address) is None:
            return None
    return address
