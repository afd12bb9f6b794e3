"""Templates of facts that several apps share."""

from explain.catalogue import gettext_noop as _
from explain.catalogue import register

JSON = {
    "json_constant": _("{name} is not a number in JSON"),
    "json_encoding": _("byte {place} is not UTF-8"),
    "json_ends": _("it ends too early, at line {line} column {column}"),
    "json_syntax": _("syntax error at line {line} column {column}"),
    "json_depth": _("nested too deep"),
    "json_number": _("it contains a number with too many digits"),
}

register(JSON)
