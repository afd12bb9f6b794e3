"""Check the headers and the basic authentication that a configuration adds to requests. Pure."""

import base64
from collections.abc import Mapping

from explain.errors import ExplainedError
from explain.facts import Param
from outbound.headers import NAME, OURS, VALUE

MOST_HEADERS = 30
MOST_VALUE_CHARACTERS = 8 * 1024
MOST_TOTAL_CHARACTERS = 16 * 1024
MOST_CREDENTIAL_CHARACTERS = 1024


class HeaderError(ExplainedError, ValueError):
    """A header or a credential that no request can have. Neither the fact nor `str()` contains a value."""

    def __init__(self, code: str, field: str, **params: Param) -> None:
        super().__init__(code, field=field, **params)


def check_headers(headers: Mapping[str, str], *, field: str = "headers") -> dict[str, str]:
    """Return the headers of a configuration, without white space around values.

    field: the name of the field that has them, for the error.

    Raises: HeaderError that names field and header.
    """
    if len(headers) > MOST_HEADERS:
        raise HeaderError("header_too_many", field, where=field, n=MOST_HEADERS)
    checked: dict[str, str] = {}
    seen: set[str] = set()
    for name, given in headers.items():
        value = given.strip(" \t")
        at = f"{field}.{name}"[:100]
        if not NAME.fullmatch(name) or len(name) > 100:
            raise HeaderError("header_name", field, where=field, name=repr(name[:100]))
        if name.lower() in OURS:
            raise HeaderError("header_reserved", at, where=field, name=name)
        if name.lower() in seen:
            raise HeaderError("header_twice", at, where=field, name=name)
        if not VALUE.fullmatch(value):
            number = next(f"{ord(one):04X}" for one in value if not VALUE.fullmatch(one))
            raise HeaderError("header_value", at, where=field, name=name, number=number)
        if len(value) > MOST_VALUE_CHARACTERS:
            raise HeaderError("header_too_long", at, where=field, name=name, n=MOST_VALUE_CHARACTERS)
        seen.add(name.lower())
        checked[name] = value
    if sum(len(name) + len(value) for name, value in checked.items()) > MOST_TOTAL_CHARACTERS:
        raise HeaderError("headers_too_long", field, where=field, n=MOST_TOTAL_CHARACTERS)
    return checked


def authorized(
    headers: Mapping[str, str], basic: tuple[str, str] | None, *, field: str = "headers", basic_field: str = "basic"
) -> dict[str, str]:
    """Return the checked headers of a configuration, with those of basic authentication (RFC 7617).

    basic: user name and password, each possibly empty; None or both empty: none. field, basic_field: the names of the
    fields that have them, for the error.

    Raises: HeaderError.
    """
    checked = check_headers(headers, field=field)
    if basic is None or not any(basic):
        return checked
    user, password = basic
    for text in basic:
        if any(ord(one) < 0x20 or ord(one) == 0x7F or 0xD800 <= ord(one) <= 0xDFFF for one in text):
            raise HeaderError("basic_character", basic_field, where=basic_field)
        if len(text) > MOST_CREDENTIAL_CHARACTERS:
            raise HeaderError("basic_too_long", basic_field, where=basic_field, n=MOST_CREDENTIAL_CHARACTERS)
    if ":" in user:
        raise HeaderError("basic_colon", basic_field, where=basic_field)
    if any(name.lower() == "authorization" for name in checked):
        raise HeaderError("basic_twice", basic_field, where=basic_field, other=field)
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {**checked, "Authorization": f"Basic {token}"}
