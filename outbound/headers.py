"""Check the headers that callers give to a request. Pure."""

import re
from collections.abc import Collection, Mapping

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
# Headers set by the client only; a caller that sets them could split requests.
_OURS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "expect", "accept-encoding"}
)
_DEFAULTS = {"User-Agent": "SeqPulse", "Accept": "application/json, */*;q=0.5"}


def check_values(headers: Mapping[str, str]) -> None:
    """Raise ValueError, without the value, for a value that no header may have."""
    if not _VALUE.fullmatch("".join(headers.values())):
        raise ValueError("A header's value contains a character that is not allowed there.")


def default_headers(names: Collection[str]) -> dict[str, str]:
    """Return the headers to send besides those of these names.

    Raises: ValueError for a name that a caller may not set.
    """
    given = {name.lower() for name in names}
    for name in names:
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            raise ValueError(f"The header {name!r} cannot be set.")
    defaults = {name: value for name, value in _DEFAULTS.items() if name.lower() not in given}
    return {"Accept-Encoding": "identity", **defaults}
