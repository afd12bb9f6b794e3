"""Find the instances behind a name: all its addresses, or what its SRV records list."""

import asyncio
import re
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from dns import asyncresolver
from dns.exception import DNSException, Timeout
from dns.resolver import NXDOMAIN, NoAnswer, NoNameservers

from explain.facts import Fact
from outbound.endpoints import EndpointError, parse_endpoint
from outbound.resolver import Resolver, addresses_of
from outbound.system_errors import problem_of
from outbound.transfer import OutboundError

if TYPE_CHECKING:
    from dns.rdtypes.IN.SRV import SRV

Kind = Literal["A", "AAAA", "SRV"]
MOST_TARGETS = 50
T = TypeVar("T")

# RFC 2782: the labels for service and protocol. What follows is the name that certificates are issued for.
_SERVICE = re.compile(r"_[^.]+\._(tcp|udp)\.", re.IGNORECASE)


class Target(NamedTuple):
    """An instance. host: for the URL of a request, so for its Host header and TLS; address: for `to` of a request.

    port: of its SRV record, else None.
    """

    host: str
    address: str
    port: int | None


async def find_targets(resolver: Resolver, name: str, kind: Kind, *, timeout_s: float) -> list[Target]:
    """Return the instances behind a name, in a stable order, at least one.

    They are not checked: a request to one of them is, as any other.

    Raises: OutboundError, also for more than MOST_TARGETS: a part of them would pass for a service with less traffic.
    """
    try:
        endpoint = parse_endpoint(f"http://{name}/")
        if endpoint.path != "/" or endpoint.port != 80:
            raise EndpointError("url_host", host=repr(name))
    except EndpointError as error:
        raise OutboundError("other", problem=error.fact) from None
    try:
        async with asyncio.timeout(timeout_s):
            if kind == "SRV":
                return await _services(resolver, endpoint.host)
            if endpoint.needs_look_up:
                addresses = resolver.known(endpoint.host) or await resolver.look_up(endpoint.host)
            else:
                addresses = addresses_of(endpoint, 0)
    except TimeoutError:
        raise OutboundError("timeout", host=name, seconds=timeout_s, phase="name") from None
    except OSError as error:
        raise _failed(name, problem_of(error)) from None
    found = sorted(address for address in addresses if (":" in address) == (kind == "AAAA"))
    if not found:
        raise _failed(name, Fact("name_without_address"))
    return [Target(endpoint.host, address, None) for address in _bounded(name, found)]


async def _services(resolver: Resolver, name: str) -> list[Target]:
    """Return the instances of SRV records, each at the first address of its host; those without one are left out."""
    try:
        answer = await asyncresolver.resolve(name, "SRV", search=False, lifetime=60)
    except NXDOMAIN:
        raise _failed(name, Fact("name_unknown")) from None
    except NoAnswer:
        raise _failed(name, Fact("name_without_service")) from None
    except (NoNameservers, Timeout):
        raise _failed(name, Fact("name_server_failed")) from None
    except (DNSException, ValueError):
        raise _failed(name, Fact("look_up_failed")) from None
    records: list[SRV] = list(answer)
    listed = sorted({(one.target.to_text(omit_final_dot=True).lower(), one.port) for one in records if one.port})
    listed = [(host, port) for host, port in listed if host not in ("", "@", ".")]  # RFC 2782: "." is no service
    if not listed:
        raise _failed(name, Fact("name_without_service"))
    shared = _SERVICE.sub("", name, count=1)
    found = await asyncio.gather(*(_first_address(resolver, host) for host, _ in _bounded(name, listed)))
    targets = [Target(shared, at, port) for at, (_, port) in zip(found, listed, strict=True) if isinstance(at, str)]
    if not targets:
        raise _failed(listed[0][0], next(problem for problem in found if isinstance(problem, Fact)))
    return targets


async def _first_address(resolver: Resolver, host: str) -> str | Fact:
    """Return the first address, or why there is none: an instance that is stopping may still be listed."""
    try:
        return (resolver.known(host) or await resolver.look_up(host))[0]
    except OSError as error:
        return problem_of(error)


def _bounded(name: str, found: list[T]) -> list[T]:
    if len(found) > MOST_TARGETS:
        raise _failed(name, Fact("too_many_targets", {"n": len(found), "most": MOST_TARGETS}))
    return found


def _failed(name: str, problem: Fact) -> OutboundError:
    return OutboundError("dns", host=name, problem=problem)
