"""Search deployments by words, on every PostgreSQL, without an extension.

The words of a deployment are those of its branch, version and author, its commit, its number as "#12" and its project
as "@7". Only the index `deployments_by_word` holds them. A search word matches as the prefix of a word, a single letter
only as a whole word. Words consist of letters, digits and characters outside ASCII; all others separate them.
"""

import re
from collections.abc import Collection, Sequence

from django.contrib.postgres.search import SearchVectorField
from django.db.models import BooleanField, CharField, Func, Q, Value
from django.db.models.functions import Lower

# ASCII characters that are neither letter nor digit; the same as in FUNCTION.
SEPARATORS = re.compile(r"[ -/:-@\[-`{-~]+")
NUMBER = re.compile(r"#([0-9]+)", re.ASCII)


TEXTS = ("branch", "version", "author", "commit_sha")


# The expression of the index and of every search: a deployment's text in lower case, its number and its project's id as
# a tsvector without positions. With a lower COST PostgreSQL would evaluate it for a hundred thousand rows instead of
# using the index. Changing it needs a migration that builds a new index.
FUNCTION = """
CREATE OR REPLACE FUNCTION deployment_words(content text, number integer, project bigint) RETURNS tsvector AS $$
BEGIN
    RETURN array_to_tsvector(
        array_remove(string_to_array(regexp_replace(lower(content), '[ -/:-@[-`{-~]+', ' ', 'g'), ' '), '')
        || ARRAY['#' || number, '@' || project]
    );
END
$$ LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000
"""


class Text(Func):
    """Texts joined by spaces."""

    template = "%(expressions)s"
    arg_joiner = " || ' ' || "
    output_field = CharField()


class Words(Func):
    """The words of a deployment, from its text, its number and its project's id."""

    function = "deployment_words"
    arity = 3
    output_field = SearchVectorField()


def words_of_deployments() -> Words:
    """Return the expression of the index and of every search."""
    return Words(Text(*TEXTS), "number", "project")


class HasWords(Func):
    """Match words with a tsquery, using the database's lower case."""

    template = "%(expressions)s::tsquery"
    arg_joiner = " @@ "
    output_field = BooleanField()


class Contains(Func):
    """Test whether the first text contains the second."""

    function = "strpos"
    template = "strpos(%(expressions)s) > 0"
    output_field = BooleanField()


def words_in(text: str) -> list[str]:
    """Return the words of a text, in its own case."""
    return [word for word in SEPARATORS.split(text) if word]


def begins(word: str, text: str) -> bool:
    """Return whether every part of the word is the prefix of a word of the text, ignoring case."""
    known = [one.casefold() for one in words_in(text)]
    return all(any(one.startswith(part.casefold()) for one in known) for part in words_in(word))


def matching(word: str, projects: Collection[int] = ()) -> Q:
    """Return the Q of deployments with this word ("4f2a9c1", "release/2.14", "#12") or of these projects (ids).

    A word with separators has to occur literally. The word contains a letter or a digit.
    """
    number = NUMBER.fullmatch(word)
    if number:
        return Q(_has(f"'#{int(number[1])}'"))
    parts = words_in(word)
    # The first part of a word with separators may be the end of another word: 2.14 finds v2.14.
    asked = [" & ".join(_beginning(part) for part in (parts[1:] or parts))]
    condition = Q(_has(*asked, *_others(parts, projects)))
    if len(parts) == 1 and parts[0] == word:
        return condition
    just_so = Q(_has(*asked)) & Q(Contains(Lower(Text(*TEXTS)), Lower(Value(word, output_field=CharField()))))
    others = _others(parts, projects)
    return just_so | Q(_has(*others)) if others else just_so


def _beginning(part: str) -> str:
    """Return the tsquery for this prefix; a single letter, which begins nearly everything, has to be the whole word."""
    return f"'{part}'" if len(part) == 1 and part.isascii() else f"'{part}':*"


def _others(parts: Sequence[str], projects: Collection[int]) -> list[str]:
    """Return further meanings of a word: a number without "#", a project."""
    number = [f"'#{int(parts[0])}'"] if len(parts) == 1 and parts[0].isascii() and parts[0].isdigit() else []
    return [*number, *(f"'@{pk:d}'" for pk in projects)]


def _has(*alternatives: str) -> HasWords:
    tsquery = " | ".join(f"({one})" for one in alternatives)
    return HasWords(words_of_deployments(), Lower(Value(tsquery, output_field=CharField())))
