"""Texts that say in English what they mean, and know it: their message can be told again in another language. Pure.

The judge writes its sentences in English; the API and the database keep them so. A `Told` is such a sentence: a plain
`str` for everybody, and beside it its message: the template it was made from and what was filled in, as JSON values.

    text:     "shop"                                                   shown as it is: names and codes
    number:   {"number": "12,500.5"}                                   the digits, as English writes them
    message:  {"msgid": "p95 rose to {level}", "args": {"level": …}}   each argument is one of these three
    counted:  {"msgid": "{n} sample", "plural": "{n} samples", "n": 2, "args": {…}}

Numbers are kept as they were told, not as they were measured: every language tells the same figures, and a change of
rounding does not make a stored sentence and its translation differ.

Translators get the templates by `make messages`: it looks for `told(…)`, `counted(…)` and, where a template is kept for
later, `noop(…)`, which modules of templates import as `_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache, reduce
from typing import Any, Protocol

# An argument or a whole message, as the docstring above has it: JSON values only.
Message = Any

# No sentence is as long; what is stored may be anything.
LONGEST = 20_000

_FIELDS = re.compile(r"\{\{|\}\}|\{([a-z_][a-z0-9_]*)\}")


class Unreadable(ValueError):
    """What is stored is no message, or a template and what is to fill it do not fit together."""


class Language(Protocol):
    """How one language says templates and writes digits. text and plural raise LookupError for what it has no words
    for."""

    def text(self, msgid: str) -> str: ...
    def plural(self, msgid: str, plural: str, n: int) -> str: ...
    def digits(self, digits: str) -> str: ...


class English:
    """The language that messages are written in."""

    def text(self, msgid: str) -> str:
        return msgid

    def plural(self, msgid: str, plural: str, n: int) -> str:
        return msgid if n == 1 else plural

    def digits(self, digits: str) -> str:
        return digits


ENGLISH = English()


class Told(str):
    """English text that carries its message."""

    __slots__ = ("message",)

    message: Message

    def __new__(cls, text: str, message: Message) -> Told:
        made = super().__new__(cls, text)
        made.message = message
        return made

    def __getnewargs__(self) -> tuple[str, Message]:  # type: ignore[override]  # to be copied with its message
        return str(self), self.message


def noop(msgid: str) -> str:
    """Marks a template for translators and leaves it as it is."""
    return msgid


def told(msgid: str, /, **values: str | int) -> Told:
    """The template, filled in. values: other told texts, whole numbers, or names and codes that nobody translates.

    Raises KeyError for a placeholder without a value; values that the template does not name are left out.
    """
    return Told(fill(msgid, values), {"msgid": msgid, "args": _args(values, msgid)})


def counted(n: int, msgid: str, plural: str, /, **values: str | int) -> Told:
    """The template for one or for several, filled in; its placeholder {n} is the count.

    The two may read alike where only other languages tell them apart.
    """
    values = {"n": n, **values}
    english = fill(ENGLISH.plural(msgid, plural, n), values)
    args = _args(values, plural) | _args(values, msgid)
    return Told(english, {"msgid": msgid, "plural": plural, "n": n, "args": args})


def number(digits: str) -> Told:
    """A number, rounded and grouped as English writes it: "0.004", "12,500"."""
    return Told(digits, {"number": digits})


def joined(words: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"; "" for none."""
    *first, last = list(words) or [""]
    return told("{several} and {last}", several=in_a_row(first), last=last) if first else last


def in_a_row(words: Iterable[str]) -> str:
    """ "a, b, c"; "" for none."""
    return reduce(lambda before, after: told("{before}, {after}", before=before, after=after), list(words) or [""])


def clauses(parts: Iterable[str]) -> str:
    """ "a; b; c"; "" for none."""
    return reduce(lambda before, after: told("{before}; {after}", before=before, after=after), list(parts) or [""])


def fill(template: str, values: Mapping[str, str | int]) -> str:
    """The template with its placeholders replaced: {name}; a brace itself is written twice. Raises KeyError."""
    return "".join([text if name is None else text + str(values[name]) for text, name in _parts(template)])


def placeholders(template: str) -> frozenset[str]:
    """The names of what is to be filled in."""
    return frozenset(name for _, name in _parts(template) if name is not None)


# A verdict fills a hundred templates out of some hundred: taking them apart each time would double its cost.
@lru_cache(maxsize=1000)
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """Pairs of a text and the placeholder after it; None: there is none."""
    parts: list[tuple[str, str | None]] = []
    end = 0
    for match in _FIELDS.finditer(template):
        name = match.group(1)
        parts.append((template[end : match.start()] + ("" if name else match.group()[0]), name))
        end = match.end()
    return (*parts, (template[end:], None))


def message_of(value: str | int) -> Message:
    """What a language needs to say it: the message of a told text, a number, else the text itself."""
    if isinstance(value, Told):
        return value.message
    return str(value) if isinstance(value, str) else {"number": str(value)}


def messages_of(texts: Iterable[Any]) -> list[Message]:
    """The messages of those texts that carry one, each once; to be stored beside the English texts."""
    return list({str(text): text.message for text in texts if isinstance(text, Told)}.values())


def by_text(messages: Any) -> dict[str, Message]:
    """What messages_of gave, by the English texts. Whatever else is stored there is left out; never raises."""
    found = {}
    for message in messages if isinstance(messages, list) else []:
        try:
            found[render(message, ENGLISH)] = message
        except Unreadable:
            continue
    return found


def render(message: Message, language: Language) -> str:
    """The message in this language. Raises Unreadable where it is no message or the language has no words for it."""
    try:
        return _render(message, language)
    except (LookupError, RecursionError) as error:
        raise Unreadable(repr(error)) from None


def _render(message: Message, language: Language) -> str:
    if isinstance(message, str):
        return message
    if not isinstance(message, dict):
        raise Unreadable(f"neither text nor message: {type(message).__name__}")
    if isinstance(message.get("number"), str):
        return language.digits(message["number"])
    msgid, plural, n, args = message.get("msgid"), message.get("plural"), message.get("n"), message.get("args")
    if not isinstance(msgid, str) or not isinstance(args, dict):
        raise Unreadable("no template or nothing to fill it with")
    if isinstance(plural, str) and isinstance(n, int):
        template = language.plural(msgid, plural, n)
    else:
        template = language.text(msgid)
    # Only what is used: a language may leave a count out.
    text = fill(template, {name: _render(args[name], language) for name in placeholders(template)})
    if len(text) > LONGEST:
        raise Unreadable("longer than any sentence")
    return text


def _args(values: Mapping[str, str | int], template: str) -> dict[str, Message]:
    return {name: message_of(values[name]) for _, name in _parts(template) if name is not None}
