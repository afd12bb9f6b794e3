"""Texts that break what reads them carelessly, and which parameters and fields a request reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import quote_plus

from django.http import QueryDict

# More digits than Python converts to a number, and numbers that columns, floats and calendars do not hold.
DIGITS = "9" * 4400
NUMBERS = [
    DIGITS,
    f"-{DIGITS}",
    f"0x{'f' * 4400}",
    f"1.{DIGITS}",
    "-1",
    "0",
    "1.5",
    "1e999",
    "-1e999",
    "nan",
    "Infinity",
]
NUMBERS += ["1_0", "٣", "0b1", str(2**31), str(2**63), "1" + "0" * 30, "1e-400", "1e9999999999", "+", "0" * 400]
# Offsets that PostgreSQL does not take, the ends of the calendar in every zone, and times of no calendar.
TIMES = ["2026-01-01T00:00:00-23:59", "2026-01-01T00:00:00+23:59:59.5", "2026-01-01T00:00:00+15:59:59"]
TIMES += [
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
    "0001-01-01T00:00",
    "9999-12-31T23:59",
    "0001-01-01",
]
TIMES += [
    "10000-01-01",
    "2026-02-30",
    "2026-W53-7",
    "24:00",
    "now",
    "infinity",
    "-infinity",
    "1700000000",
    "2026-03-29T02:30",
]
JSON = ['{"a":' + DIGITS + "}", "[" * 5000, '{"a":' * 5000, '{"a": NaN}', '{"a": 1e999}', '{"kind": "\\ud800"}', "null"]
JSON += [
    '{"\\u0000": "\\u0000"}',
    '{"a": 1, "a": 2}',
    "{}",
    "[]",
    '"',
    "true",
    '{"kind": "adaptive", "warmup_samples": ' + DIGITS + "}",
]
URLS = [
    "http://[",
    "//[",
    "http://[::1",
    "https://\u2100/",
    "http://a b/",
    "http://h:99999/",
    "http://u:p@h/",
    "http://xn--a/",
]
URLS += [
    "http://" + "a" * 300 + "/",
    "//evil.example",
    "javascript:alert(1)",
    "http://127.0.0.1:9/%00",
    "http://h/%ff",
    "ftp://h/",
]
TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\x1b[31m",
    "\ufeff",
    "é\u202e",
    "x" * 5000,
    "%",
    "%00",
    "%ff",
    "\\",
    "\r\nX-A: b",
    "../../x",
]
TEXTS += [
    "' OR 1=1 --",
    "{{ 7 }}",
    "%(x)s",
    "%s%n",
    "{x}",
    "<script>",
    "\U0010ffff",
    "ﬁ",
    "\u0131",
    "a@b.c\r\nBcc: d@e.f",
    "é@é.fr",
]
TEXTS += ["Europe/Paris\0", "../etc/passwd", "en\0", "#" + DIGITS[:190], "@1", "| & !", "cD0" + "5OTk5" * 2000]
# Not UTF-8, half of a surrogate pair, too long a form of NUL.
BYTES = [b"\xff\xfe", "\ud800".encode("utf-8", "surrogatepass"), b"\xc0\x80"]
HOSTILE: list[str | bytes] = [*NUMBERS, *TIMES, *JSON, *URLS, *TEXTS, *BYTES]


def encoded(pairs: dict[str, str | bytes]) -> str:
    """Return the query, or the body of a form."""
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs.items())


@contextmanager
def names_read() -> Iterator[set[str]]:
    """Collect the names of all parameters and fields that requests read meanwhile."""
    names: set[str] = set()

    def noting(method: Any) -> Any:
        def noted(self: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(key, str):
                names.add(key)
            return method(self, key, *args, **kwargs)

        return noted

    methods = {name: noting(getattr(QueryDict, name)) for name in ("__getitem__", "__contains__", "get", "getlist")}
    with patch.multiple(QueryDict, **methods):
        yield names
