"""Read JSON as of RFC 8259 from bytes. Errors are facts, because the library's messages are English."""

import json
from codecs import BOM_UTF8
from dataclasses import dataclass
from typing import Any, NoReturn

from explain.errors import ExplainedError


class InvalidJSON(ExplainedError, ValueError):
    """The bytes are not a JSON document."""


def _no_constant(name: str) -> NoReturn:
    raise InvalidJSON("json_constant", name=name)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


@dataclass(frozen=True, slots=True)
class Constant:
    """NaN, Infinity or -Infinity, which many libraries write although JSON has none of them."""

    name: str


_LENIENT = json.JSONDecoder(parse_constant=Constant)


def read_json(body: bytes, *, constants: bool = False) -> Any:
    """Return the document, in UTF-8 with or without a byte order mark. Raises InvalidJSON.

    constants: return NaN and infinities as Constant, for a reader that can name the field.
    """
    try:
        return (_LENIENT if constants else _DECODER).decode(body.removeprefix(BOM_UTF8).decode())
    except InvalidJSON:
        raise
    except UnicodeDecodeError as error:
        raise InvalidJSON("json_encoding", place=error.start) from None
    except json.JSONDecodeError as error:
        ends = error.pos >= len(error.doc)
        raise InvalidJSON("json_ends" if ends else "json_syntax", line=error.lineno, column=error.colno) from None
    except RecursionError:
        raise InvalidJSON("json_depth") from None
    except ValueError:
        # The only remaining case: an integer of more digits than Python converts.
        raise InvalidJSON("json_number") from None
