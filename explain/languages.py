"""Languages by their gettext catalogues (locale/<language>/LC_MESSAGES/django.mo): a further one is one more file."""

import gettext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from explain.catalogue import gettext_noop as _

LOCALE = Path(__file__).resolve().parent.parent / "locale"

# Each language writes this number in its own way; its separators are taken from there.
NUMBER = _("1,234.5")


class Untranslated(LookupError):
    """The catalogue has no translation of this template."""


class _NoFallback(gettext.NullTranslations):
    """gettext answers with the English text where it knows none; this one says so."""

    def gettext(self, message: str) -> str:
        raise Untranslated(message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        raise Untranslated(msgid1)


@dataclass(frozen=True, slots=True)
class Language:
    """Templates and number format of one language. text and plural raise Untranslated."""

    catalogue: gettext.NullTranslations

    def text(self, template: str) -> str:
        return self.catalogue.gettext(template)

    def plural(self, one: str, many: str, n: int) -> str:
        return self.catalogue.ngettext(one, many, n)

    def digits(self, english: str) -> str:
        """Convert digits as English writes them ("12,500.5") to the separators of this language, if it names them."""
        try:
            written = self.text(NUMBER)
        except Untranslated:
            written = NUMBER
        return english.translate({ord(","): written[1:-5], ord("."): written[-2]})


ENGLISH = Language(gettext.NullTranslations())


def language(code: str) -> Language:
    """The language of this code ("fr", "fr-ca"); English where there is no catalogue of it."""
    return Language(catalogue(code))


@lru_cache
def catalogue(code: str) -> gettext.NullTranslations:
    try:
        found = gettext.translation("django", LOCALE, [code.replace("-", "_")])
    except OSError:
        return ENGLISH.catalogue
    found.add_fallback(_NoFallback())
    return found
