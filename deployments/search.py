"""Finding deployments by words: works on every PostgreSQL, without an extension.

Each deployment has a set of words: those of its branch, version and author, its commit, its number as "#12" and its
project as "@7". They are not stored; an index holds them (`deployments_by_word`). A word asked for matches where one of
a deployment's begins like it; a single letter, where it is one of them. Letters and digits make words, and whatever is
not ASCII; all else separates them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from django.contrib.postgres.search import SearchVectorField
from django.db.models import BooleanField, CharField, Func, Q, Value
from django.db.models.functions import Lower

# ASCII that is neither letter nor digit. The same in SQL (Words) and here.
SEPARATORS = re.compile(r"[ -/:-@\[-`{-~]+")
NUMBER = re.compile(r"#([0-9]+)", re.ASCII)


TEXTS = ("branch", "version", "author", "commit_sha")


# The function that the index is made of, and every search asks for: a deployment's text in lower case, its number and
# its project's id, as a tsvector without positions. Its cost says that it is dear (PostgreSQL would else rather try a
# hundred thousand rows than look into the index). Changing it needs a migration that makes the index anew.
FUNCTION = """
CREATE OR REPLACE FUNCTION deployment_words(told text, number integer, project bigint) RETURNS tsvector AS $$
BEGIN
    RETURN array_to_tsvector(
        array_remove(string_to_array(regexp_replace(lower(told), '[ -/:-@[-`{-~]+', ' ', 'g'), ' '), '')
        || ARRAY['#' || number, '@' || project]
    );
END
$$ LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000
"""


class Text(Func):
    """Texts, with a space between them."""

    template = "%(expressions)s"
    arg_joiner = " || ' ' || "
    output_field = CharField()


class Words(Func):
    """A deployment's words. Takes its text, its number and its project's id."""

    function = "deployment_words"
    arity = 3
    output_field = SearchVectorField()


def words_of_deployments() -> Words:
    """The expression of the index, and of every search."""
    return Words(Text(*TEXTS), "number", "project")


class HasWords(Func):
    """Whether the words are as the tsquery wants them; the tsquery in lower case by the database's own rules."""

    template = "%(expressions)s::tsquery"
    arg_joiner = " @@ "
    output_field = BooleanField()


class Contains(Func):
    """Whether the first text contains the second."""

    function = "strpos"
    template = "strpos(%(expressions)s) > 0"
    output_field = BooleanField()


def words_in(text: str) -> list[str]:
    """The words of a text, as it is written."""
    return [word for word in SEPARATORS.split(text) if word]


def begins(word: str, text: str) -> bool:
    """Whether every part of the word begins a word of the text, whatever their case."""
    known = [one.casefold() for one in words_in(text)]
    return all(any(one.startswith(part.casefold()) for one in known) for part in words_in(word))


def matching(word: str, projects: Collection[int] = ()) -> Q:
    """Deployments with this word ("4f2a9c1", "release/2.14", "#12"), or of one of the projects (ids).

    A word with separators in it has to stand there just so, wherever. The word holds a letter or a digit.
    """
    number = NUMBER.fullmatch(word)
    if number:
        return Q(_has(f"'#{int(number[1])}'"))
    parts = words_in(word)
    # Of a word with separators the first part may be the end of one: v2.14 is found by 2.14.
    asked = [" & ".join(_beginning(part) for part in (parts[1:] or parts))]
    condition = Q(_has(*asked, *_others(parts, projects)))
    if len(parts) == 1 and parts[0] == word:
        return condition
    just_so = Q(_has(*asked)) & Q(Contains(Lower(Text(*TEXTS)), Lower(Value(word, output_field=CharField()))))
    others = _others(parts, projects)
    return just_so | Q(_has(*others)) if others else just_so


def _beginning(part: str) -> str:
    """As tsquery: what begins so. With a single letter begins nearly everything: it has to be the whole word."""
    return f"'{part}'" if len(part) == 1 and part.isascii() else f"'{part}':*"


def _others(parts: Sequence[str], projects: Collection[int]) -> list[str]:
    """What else a word may mean: a number without its sign, a project."""
    number = [f"'#{int(parts[0])}'"] if len(parts) == 1 and parts[0].isascii() and parts[0].isdigit() else []
    return [*number, *(f"'@{pk:d}'" for pk in projects)]


def _has(*alternatives: str) -> HasWords:
    tsquery = " | ".join(f"({one})" for one in alternatives)
    return HasWords(words_of_deployments(), Lower(Value(tsquery, output_field=CharField())))
