"""The operators' HTTP proxy: every request goes through it, if there is one.

It resolves names itself, so the guard checks what it can see from here, before anything is sent to the proxy.
"""

import base64
import os
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from explain.facts import Fact
from outbound.addresses import AllowList, refusal
from outbound.endpoints import Endpoint, EndpointError, parse_endpoint
from outbound.system_errors import problem_of
from outbound.transfer import OutboundError

PROXY = "SEQPULSE_OUTBOUND_PROXY"
# Where only the proxy resolves names, a look-up here may hang.
LOOK_UP_S = 2.0


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy. Its credentials are shown nowhere."""

    endpoint: Endpoint
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def authority(self) -> str:
        return self.endpoint.authority

    @property
    def authorization(self) -> dict[str, str]:
        """Return the header with the credentials, if there are any (RFC 7617)."""
        if not self.user and not self.password:
            return {}
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {token}"}

    def failed(self, problem: Fact) -> OutboundError:
        """Return the error of a request that the proxy did not carry out."""
        return OutboundError("proxy", host=self.authority, problem=problem)

    def refused(self, status: int) -> OutboundError:
        """Return the error of a request, or of a tunnel, that the proxy refused with this status."""
        return self.failed(Fact("proxy_credentials") if status == 407 else Fact("proxy_status", {"status": status}))


@lru_cache(maxsize=4)
def parse_proxy(text: str) -> Proxy:
    """Parse `http://user:password@host:port`. Raises ValueError, without what may be a password."""
    how = "write http://host:port or http://user:password@host:port (a @, / or : in the password as %40, %2F, %3A)"
    scheme, separator, rest = text.strip().partition("://")
    credentials, _, address = rest.rpartition("@")
    user, _, password = credentials.partition(":")
    try:
        endpoint = parse_endpoint(f"http://{address}")
        has_port = urlsplit(f"http://{address}").port is not None
    except (EndpointError, ValueError):
        raise ValueError(f"the proxy's host and port cannot be read: {how}") from None
    if not separator or scheme.lower() != "http" or not has_port or endpoint.path != "/" or endpoint.query:
        raise ValueError(f"this is no HTTP proxy: {how}")
    names = unquote(user), unquote(password)
    if "/" in credentials or ":" in names[0] or not all(name.isprintable() for name in names):
        raise ValueError(f"the proxy's user name or password cannot be read: {how}")
    return Proxy(endpoint, *names)


def operators_proxy() -> Proxy | None:
    """Return the proxy of SEQPULSE_OUTBOUND_PROXY. Raises ValueError, which the system checks report at the start."""
    text = os.environ.get(PROXY, "").strip()
    return parse_proxy(text) if text else None


def check_target(endpoint: Endpoint, addresses: tuple[str, ...], allow: AllowList) -> None:
    """Raise OutboundError unless a request may go to each of the addresses: the proxy may choose any of them."""
    for address in addresses:
        reason = refusal(address, allow, endpoint.host)
        if reason is not None:
            raise OutboundError("blocked", host=endpoint.authority, problem=reason)


def check_unresolved(endpoint: Endpoint, problem: Fact, allow: AllowList) -> None:
    """Raise OutboundError for a name that is not resolved here, unless the operators list it.

    The proxy might resolve it to an address that is not public: who controls a name may answer the proxy alone.
    """
    if not allow.has_host(endpoint.host):
        unresolved = Fact("unresolved_for_proxy", {"problem": problem})
        raise OutboundError("dns", host=endpoint.host, problem=unresolved)


def look_up_problem(error: OSError) -> Fact:
    """Return why a name is not resolved here."""
    return Fact("look_up_failed") if isinstance(error, TimeoutError) else problem_of(error)
