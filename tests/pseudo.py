"""A pseudo-language that marks text translated by gettext, and a reader that finds unmarked text on pages.

The parts between the placeholders of a text are put into brackets. Values stay outside: they must have brackets of
their own, or be data. So a translated sentence around an English word is found as well.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.template.base import TokenType
from django.utils.translation.trans_real import DjangoTranslation
from lxml.html import document_fromstring

from explain import languages

OPEN, CLOSE = "⟦", "⟧"
CONTEXT = "\x04"
# Tags, entities and placeholders within a text: %(name)s, %d, {name}, {limit:{metric}}.
BETWEEN = re.compile(r"(<[^<>]*>|&#?\w+;|%\(\w+\)[a-z]|%[sdr]|%%|\{\{|\}\}|\{[^{}]*(?:\{\w+\})?\})")
LETTER = re.compile(r"[^\W\d_]")
SAYS_SOMETHING = re.compile(r"[^\W\d_]|[:;!?]")


def bracketed(text: str) -> str:
    """Mark a text: "{n} samples of %(name)s" → "{n}⟦ samples of ⟧%(name)s"."""
    # The argument of the filter `yesno`.
    if text == "yes,no,maybe":
        return ",".join(bracketed(word) for word in text.split(","))
    pieces = BETWEEN.split(text)
    return "".join(
        f"{OPEN}{piece}{CLOSE}" if place % 2 == 0 and SAYS_SOMETHING.search(piece) else piece
        for place, piece in enumerate(pieces)
    )


class Pseudo(DjangoTranslation):  # type: ignore[misc]  # untyped
    """Replacement for a language. `unknown`: requested texts that its catalogue does not have."""

    def __init__(self, language: str) -> None:
        super().__init__(language)
        self.known: Any = vars(self)["_catalog"]
        self.unknown: set[str] = set()

    def gettext(self, message: str) -> str:
        self._note(message, message)
        if message == languages.NUMBER:
            return super().gettext(message)  # type: ignore[no-any-return]  # untyped
        return bracketed(message.rpartition(CONTEXT)[2])

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        self._note(msgid1, (msgid1, 0))
        return bracketed((msgid1 if n == 1 else msgid2).rpartition(CONTEXT)[2])

    def _note(self, message: str, key: Any) -> None:
        if LETTER.search(BETWEEN.sub("", message)) and not self.known.get(key):
            self.unknown.add(message)


# --- reading pages -------------------------------------------------------------------------------------------------

# Elements that contain data, code, or nothing visible.
DATA_ELEMENTS = {"script", "style", "code", "pre", "bdi", "kbd", "samp", "textarea", "template"}
TEXT_ATTRIBUTES = {
    "title",
    "aria-label",
    "aria-description",
    "aria-roledescription",
    "aria-valuetext",
    "placeholder",
    "alt",
    "label",
    "summary",
}
# data- attributes that scripts show; in addition, every one that reads like a sentence.
SHOWN_DATA = re.compile(r"data-(say|text|label|confirm|message|lost|gone|signed|live-title|live-announce)\b.*")
SENTENCE = re.compile(r"[^\W\d_]{2,}[,.:;…!?]? [^\W\d_]{2,}")


@dataclass(frozen=True, slots=True)
class Text:
    """A text on a page: its element, or element[attribute], and the text with white space folded."""

    node: str
    text: str


# Django admin's own list of models.
NOT_OURS = "nav-sidebar"


def is_shown(tag: str, name: str, value: str, attributes: Mapping[str, str]) -> bool:
    """Return whether users see, or hear, the value of this attribute."""
    if name == "value":
        return tag == "input" and attributes.get("type") in ("submit", "button", "reset")
    if name == "content":
        return tag == "meta" and attributes.get("name") == "description"
    if name.startswith("data-"):
        return SHOWN_DATA.fullmatch(name) is not None or (value[:1] not in "[{" and bool(SENTENCE.search(value)))
    return name in TEXT_ATTRIBUTES


def pieces(element: Any, above: tuple[str, ...] = (), *, skipped: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the texts that users see, or hear, in an element of lxml: where, and the text."""
    tag, attributes = element.tag, element.attrib
    if isinstance(tag, str):  # otherwise a comment
        path = above if tag in ("html", "body") else (*above, tag)
        skips = skipped or tag in DATA_ELEMENTS or attributes.get("id") == NOT_OURS
        yield from (
            (f"{tag}[{name}]", text) for name, text in attributes.items() if is_shown(tag, name, text, attributes)
        )
        if not skips:
            yield " > ".join(path[-3:]), element.text or ""
        for child in element:
            yield from pieces(child, path, skipped=skips)
    if not skipped:
        yield " > ".join(above[-3:]), element.tail or ""


def texts_of(markup: str) -> list[Text]:
    folded = [(node, " ".join(text.split())) for node, text in pieces(document_fromstring(f"<html>{markup}"))]
    return [Text(node, text) for node, text in folded if text]


# --- finding what is not translated --------------------------------------------------------------------------------

MARKED = re.compile(rf"{OPEN}[^{OPEN}{CLOSE}]*(?:{CLOSE}|…$)")
MACHINE = re.compile(
    "|".join(
        (
            r"https?://\S+",
            # E-mail addresses, hosts with their ports, paths, names of files
            r"[\w.+-]+@[\w.-]+\w",
            r"\b[\w-]+(?:\.[\w-]+)+:\d+|\btestserver\b|\bnowhere\.invalid\b",
            r"(?<!\w)/[\w./-]+",
            r"\b[\w-]+\.(?:json|csv|toml|txt|py)\b",
            # Secrets; a code would match only the beginning of one like sphs_ab-C
            r"\b(?:sp|sphs|spi)_[\w-]+",
            # Codes, hexadecimal ids, placeholders of scripts, words of JSON and of URLs
            r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b",
            r"\b[0-9a-f]{6,}(?:-[0-9a-f]+)*\b",
            r"\{\w+\}",
            r"\b(?:null|ftp)\b",
        )
    )
)
WORD = re.compile(r"[^\W\d_][\w’'-]*")
ENGLISH_NUMBER = re.compile(r"(?<![\w./:-])\d+\.\d+(?![\w./-])")
COLON = re.compile(rf"{CLOSE}\s?[:;!?]")
ATTRIBUTES = re.compile(r"\s*[\w-]+=\"")


def untranslated(text: str, *, data: Collection[str], same: Collection[str]) -> list[str]:
    """Return untranslated words, numbers in English format, and colons that a template appended to a text.

    French puts a space before a colon, so it belongs to the text.

    Args:
        data: texts from the database.
        same: words that every language writes alike.
    """
    rest = text
    while MARKED.search(rest):
        rest = MARKED.sub(" ", rest)
    rest = MACHINE.sub(" ", rest)
    for known in sorted(data, key=len, reverse=True):
        if known in rest:
            rest = re.sub(rf"(?<!\w){re.escape(known)}(?!\w)", " ", rest)
    return (
        [word for word in WORD.findall(rest) if word not in same] + ENGLISH_NUMBER.findall(rest) + COLON.findall(text)
    )


def raw_texts(template: Any) -> Iterator[Text]:
    """Yield the literal texts of a template, of all branches. `template`: its tokens from Django's Lexer."""
    markup, within = [], False
    # Names of CSS classes, for an attribute of the parent template.
    of_an_attribute = False
    for token in template:
        if token.token_type == TokenType.BLOCK:
            name, *rest = token.contents.split()
            of_an_attribute = name == "block" and rest[0].endswith("_class")
            within = name in ("blocktranslate", "blocktrans", "comment", "plural") or (
                within and name not in ("endblocktranslate", "endblocktrans", "endcomment")
            )
        elif token.token_type == TokenType.TEXT and not within and not of_an_attribute:
            markup.append(token.contents)
        markup.append("\N{WORD JOINER}" if token.token_type == TokenType.VAR else "")
    whole = "".join(markup)
    # Attributes, for a tag of the including template.
    yield from texts_of(f"<i {whole}>" if ATTRIBUTES.match(whole) else whole)
