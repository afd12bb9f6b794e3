"""Find the client's address behind trusted reverse proxies. Pure."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# Some proxies append the port: 203.0.113.9:1234, [2001:db8::9]:1234. A bare IPv6 address contains colons.
WITH_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([0-9.]+))(?::[0-9]{1,5})?")


def parse_address(text: str) -> Address | None:
    """Return the address in the text, else None. An IPv4-mapped IPv6 address becomes IPv4.

    A port after it, and the brackets of an IPv6 address, are ignored.
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
    """Return whether the address is a trusted proxy. "" is a Unix socket, which only our proxy can reach."""
    if not address:
        return bool(trusted)
    parsed = parse_address(address)
    return parsed is not None and any(parsed in network for network in trusted)


def client_address(remote: str, forwarded_for: str, trusted: Sequence[Network]) -> str | None:
    """Return the client's address: the last one that is not a trusted proxy; None if a proxy sent no address.

    Addresses left of it were written by the client and are not trusted.

    Args:
        remote: peer of the connection.
        forwarded_for: the header X-Forwarded-For, to whose end each proxy appends its peer.
    """
    hops = forwarded_for.split(",") if forwarded_for.strip() else []
    address = remote
    while hops and is_trusted(address, trusted):
        parsed = parse_address(hops.pop())
        if parsed is None:
            return None
        address = str(parsed)
    return address
