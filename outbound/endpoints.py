"""Check the form of URLs to be called. Pure: no network.

The address of a host is checked when connecting.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

import idna

from explain.errors import ExplainedError

MAX_URL_LENGTH = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}

_SPLIT = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?"
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]*))?")
# WHATWG URL, "ends in a number": such a host is an address (127.0.0.1, 127.1, 0x7f.1, 2130706433) or nothing at all.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# RFC 3986: pchar, "/" and "?"; a percent sign only in front of two hexadecimal digits.
_NOT_IN_PATH = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]|%(?![0-9A-Fa-f]{2})")


class EndpointError(ExplainedError, ValueError):
    """A URL that cannot be called."""


class Origin(NamedTuple):
    """Where a URL leads (RFC 6454). Credentials of one origin are not for another."""

    scheme: str  # http or https
    host: str  # lower case, ASCII; IPv6 without brackets
    port: int


@dataclass(frozen=True)
class Endpoint:
    """A checked URL, in the form in which it is sent."""

    scheme: str  # http or https
    host: str  # lower case, ASCII; IPv6 without brackets
    port: int
    path: str  # starts with "/"
    query: str  # with its "?", or empty

    @property
    def origin(self) -> Origin:
        return Origin(self.scheme, self.host, self.port)

    @property
    def authority(self) -> str:
        """Return host and port: `metrics.example:8080`, `[::1]:80`. The port is always included."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def needs_look_up(self) -> bool:
        """Return whether the host is a name to resolve: not an address in any notation, and not localhost."""
        last = self.host.rstrip(".").rpartition(".")[2]
        return ":" not in self.host and last != "localhost" and not _NUMBER.fullmatch(last)

    @property
    def url(self) -> str:
        """Return the URL, without the default port of its scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}{self.query}"


def parse_endpoint(url: str) -> Endpoint:
    """Check an absolute http(s) URL and take it apart. Raises EndpointError."""
    if len(url) > MAX_URL_LENGTH:
        raise EndpointError("url_too_long", length=len(url), most=MAX_URL_LENGTH)
    for character in url:
        if character <= " " or character == "\x7f" or character.isspace() or not character.isprintable():
            raise EndpointError("url_character", number=f"{ord(character):04X}")
    parts = _SPLIT.fullmatch(url)
    if parts is None:
        raise EndpointError("url_not_absolute")
    scheme = parts["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise EndpointError("url_scheme", scheme=parts["scheme"])
    if parts["fragment"] is not None:
        raise EndpointError("url_fragment")
    if "@" in parts["authority"]:
        raise EndpointError("url_credentials")
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        raise EndpointError("url_authority")
    bad = _NOT_IN_PATH.search(parts["path"] + (parts["query"] or ""))
    if bad is not None:
        raise EndpointError("url_path", character=repr(bad[0]))
    return Endpoint(
        scheme=scheme,
        host=_host(authority["host"]),
        port=_port(authority["port"], scheme),
        path=parts["path"] or "/",
        query=parts["query"] or "",
    )


def origin_of(url: str) -> Origin:
    """Return the origin of a URL. Raises EndpointError.

    Two spellings of one address (127.1 and 127.0.0.1) are two origins.
    """
    return parse_endpoint(url).origin


def _port(text: str | None, scheme: str) -> int:
    if not text:
        return DEFAULT_PORTS[scheme]
    port = int(text[:6])
    if not 1 <= port <= 65535:
        raise EndpointError("url_port", port=text[:6])
    return port


def _host(text: str) -> str:
    if not text:
        raise EndpointError("url_no_host")
    if text.startswith("["):
        try:
            address = IPv6Address(text[1:-1])
        except AddressValueError:
            raise EndpointError("url_not_ipv6", host=text) from None
        if address.scope_id is not None:
            raise EndpointError("url_zone")
        return str(address)
    host = text.lower()
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise EndpointError("url_host", host=repr(text)) from None
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise EndpointError("url_host", host=repr(text))
    return host
