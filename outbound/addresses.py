"""Decide which addresses requests may go to. Pure: no Django, no network, no name resolution.

Endpoint URLs come from users. Without this check a user could make the server talk to itself, to its neighbours in the
private network, or to the metadata service of its cloud, which hands out credentials (server-side request forgery).
"""

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Self

from explain.facts import Fact

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _table(rows: list[tuple[str, str]]) -> tuple[tuple[Network, str], ...]:
    return tuple((ipaddress.ip_network(network), kind) for network, kind in rows)


# These hand out credentials. They can only be allowed by their network, never by a host name.
_METADATA = _table(
    [
        ("169.254.169.254/32", "metadata"),
        ("169.254.170.0/24", "metadata"),  # AWS ECS and EKS
        ("168.63.129.16/32", "metadata"),  # Azure: a public address, answered by the host machine
        ("100.100.100.200/32", "metadata"),  # Alibaba
        ("192.0.0.192/32", "metadata"),  # Oracle
        ("fd00:ec2::/32", "metadata"),  # AWS
        ("fd20:ce::254/128", "metadata"),  # Google
        ("fd00:c1::a9fe:a9fe/128", "metadata"),  # Oracle
        ("fd00:42::42/128", "metadata"),  # Scaleway
        ("fd00:a9fe:a9fe::1/128", "metadata"),  # Akamai
        ("fd00:100::100:200/128", "metadata"),  # Alibaba
        ("169.254.0.0/16", "link_local"),
        ("fe80::/10", "link_local"),
    ]
)

# IPv4-compatible, mapped, translated (RFC 7915), NAT64 (RFC 6052): the last 32 bits are an IPv4 address.
_WITH_IPV4 = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")))
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
# RFC 5214: the interface identifier of ISATAP, under any prefix, with and without the bit for "globally unique".
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

# IANA's special-purpose address registries (RFC 6890 and successors), by purpose.
_SPECIAL = _table(
    [
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier_grade_nat"),
        ("127.0.0.0/8", "loopback"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "as112"),
        ("192.52.193.0/24", "anycast_relay"),  # AMT
        ("192.88.99.0/24", "6to4_relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "as112"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "ipv4_mapped"),
        ("::/96", "ipv4_compatible"),
        ("64:ff9b::/96", "nat64"),
        ("64:ff9b:1::/48", "nat64"),
        ("2001::/32", "teredo"),
        ("2001:2::/48", "benchmarking"),
        ("2001:3::/32", "anycast_relay"),  # AMT
        ("2001:4:112::/48", "as112"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "as112"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private"),
        ("fec0::/10", "site_local"),
        ("ff00::/8", "multicast"),
    ]
)

# All public IPv6 addresses assigned by IANA so far.
_GLOBAL_UNICAST = IPv6Network("2000::/3")

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True)
class AllowList:
    """Networks and host names that the operator allows although they are not public."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, setting: str) -> Self:
        """Parse `10.0.0.0/8, .internal.example, 127.0.0.1`.

        `.internal.example` allows that name and all names under it, `app.example` that name only.

        Raises: ValueError naming an item that is neither.
        """
        networks: list[Network] = []
        hosts: set[str] = set()
        suffixes: list[str] = []
        for item in filter(None, (part.strip().lower() for part in setting.split(","))):
            if "/" in item or ":" in item or re.fullmatch(r"[0-9.]+", item):
                networks.append(_parse_network(item))
            elif not _HOST.fullmatch(item.removeprefix(".")):
                raise ValueError(
                    f"{item!r} is neither a network (10.0.0.0/8), a host (app.example) nor a suffix (.example)"
                )
            elif item.startswith("."):
                suffixes.append(item)
            else:
                hosts.add(item)
        return cls(tuple(networks), frozenset(hosts), tuple(suffixes))

    def has_address(self, address: Address) -> bool:
        """Return whether one of the networks contains the address."""
        return any(address in network for network in self.networks)

    def has_host(self, host: str) -> bool:
        """Return whether the name or a suffix of it is listed."""
        name = host.lower().rstrip(".")
        return name in self.hosts or any(f".{name}".endswith(suffix) for suffix in self.suffixes)


def _parse_network(item: str) -> Network:
    try:
        return ipaddress.ip_network(item)
    except ValueError as error:
        raise ValueError(f"{item!r} is not a network: {error}") from None


def refusal(ip: str | Address, allow: AllowList, host: str = "") -> Fact | None:
    """Return why no request may go to `ip` ("10.0.0.5 is a private address"), None if it may.

    `host` is the name that led to the address. A listed name opens every address except link-local ones and the
    metadata services of clouds: these take a network in the list, so that who controls a name cannot point it there.
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return Fact("no_ip_address", {"address": str(ip)})
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if allow.has_address(address) or (mapped is not None and allow.has_address(mapped)):
        return None
    leads_to = [address, *embedded(address)] if isinstance(address, IPv6Address) else [address]
    for network, kind in _METADATA:
        if any(one in network for one in leads_to):
            return _forbidden(address, kind)
    kind_found = _special_use(address)
    if kind_found is None or allow.has_host(host):
        return None
    return _forbidden(address, kind_found)


# How much of the neighbourhood of an address is let through with it, by what it is for: the subnet it is likely in.
_SUBNETS = {"private": (16, 64), "carrier_grade_nat": (16, 128), "loopback": (8, 128), "site_local": (32, 64)}
_HOME = IPv4Network("192.168.0.0/16")


def network_to_allow(ip: str, setting: str = "") -> str:
    """Return the setting with the network that lets this address through; "" for those that hand out credentials.

    setting: the present one, which stays in it.
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ""
    if any(address in network for network, _kind in _METADATA):
        return ""
    of_4, of_6 = _SUBNETS.get(_special_use(address) or "", (32, 128))
    length = of_6 if isinstance(address, IPv6Address) else 24 if address in _HOME else of_4
    return ",".join(
        filter(None, (setting.strip().strip(","), str(ipaddress.ip_network((address, length), strict=False))))
    )


def _forbidden(address: Address, kind: str) -> Fact:
    return Fact("forbidden_address", {"address": str(address), "kind": kind})


def embedded(address: IPv6Address) -> list[IPv4Address]:
    """Return the IPv4 addresses to which a router may send or translate what is sent to this one."""
    number = int(address)
    found = [IPv4Address(number & 0xFFFFFFFF)] if _ends_with_ipv4(address) else []
    if address in _LOCAL_NAT64:  # RFC 6052 lets prefixes end at these bits, and leaves out bits 64 to 71
        without_gap = number >> 64 << 56 | number & ((1 << 56) - 1)
        found += [IPv4Address(without_gap >> 120 - 32 - length & 0xFFFFFFFF) for length in (48, 56, 64)]
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    return [*found, *(address.teredo or ())]


def _ends_with_ipv4(address: IPv6Address) -> bool:
    return is_isatap(address) or any(address in network for network in _WITH_IPV4)


def is_isatap(address: IPv6Address) -> bool:
    """Return whether a router of the address's site may take it for a tunnel to the IPv4 address at its end."""
    return int(address) >> 32 & 0xFFFFFFFF in _ISATAP


def _special_use(address: Address) -> str | None:
    for network, kind in _SPECIAL:
        if address in network:
            return kind
    if isinstance(address, IPv6Address) and is_isatap(address):
        return "isatap"
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return "not_public"
    return None
