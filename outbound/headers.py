"""Check the headers of requests, and read those of answers. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping

from requests.structures import CaseInsensitiveDict

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(r"[\t\x20-\x7e]*")
# Headers set by the client only; a caller that sets them could split requests.
OURS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "expect", "accept-encoding"),
        # Each connection has its own (RFC 9110, 7.6.1): they are not for the receiver of the request.
        *("connection", "keep-alive", "te", "trailer", "upgrade"),
        *("proxy-connection", "proxy-authenticate", "proxy-authorization"),
    }
)
ACCEPT_ENCODING = {False: "identity", True: "gzip, deflate"}  # whether the body may be compressed
_DEFAULTS = {"User-Agent": "SeqPulse", "Accept": "application/json, */*;q=0.5"}


def check_values(headers: Mapping[str, str]) -> None:
    """Raise ValueError, without the value, for a value that no header may have."""
    if not VALUE.fullmatch("".join(headers.values())):
        raise ValueError("A header's value contains a character that is not allowed there.")


def default_headers(names: Collection[str], *, gzip: bool = False) -> dict[str, str]:
    """Return the headers to send besides those of these names. gzip: whether the answer may be compressed.

    Raises: ValueError for a name that a caller may not set.
    """
    given = {name.lower() for name in names}
    for name in names:
        if not NAME.fullmatch(name) or name.lower() in OURS:
            raise ValueError(f"The header {name!r} cannot be set.")
    defaults = {name: value for name, value in _DEFAULTS.items() if name.lower() not in given}
    return {"Accept-Encoding": ACCEPT_ENCODING[gzip], **defaults}


def parsed_headers(lines: Iterable[bytes]) -> CaseInsensitiveDict[str]:
    """Return the headers of an answer, as `joined_headers` does.

    lines: as received, of informational answers before the final one, too, and of trailers, which are left out.
    """
    found: list[tuple[str, str]] = []
    complete = False
    for line in lines:
        if line.startswith(b"HTTP/"):
            found, complete = [], False
        elif not line.strip():
            complete = True
        elif not complete and b":" in line:
            name, _, value = line.decode("latin-1").partition(":")
            found.append((name.strip(), value))
    return joined_headers(found)


def joined_headers(pairs: Iterable[tuple[str, str]]) -> CaseInsensitiveDict[str]:
    """Return headers by name, in any case; values of a name that comes again are joined by ", " (RFC 9110, 5.3)."""
    found: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for name, value in pairs:
        found[name] = f"{found[name]}, {value.strip()}" if name in found else value.strip()
    return found
