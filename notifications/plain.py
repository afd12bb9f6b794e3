"""Texts of users in messages: one line, no characters that reorder, hide or break what stands around them. Pure."""

import unicodedata

# Of what is invisible, joiners stay: emoji, Persian and Indic scripts are written with them.
JOINERS = "\u200c\u200d"
# Letters and symbols without a shape.
BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
# No text that people write has as many accents on one letter.
MOST_MARKS = 4


def line(text: object, most: int) -> str:
    """Return the text as one line of at most so many characters, "" where nothing of it can be seen."""
    shown: list[str] = []
    marks = 0
    # Far more than can be shown; the rest is not worth looking at.
    for character in str(text)[: most * 20]:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category in ("Zs", "Zl", "Zp", "Cc"):
            shown.append(" ")
        elif marks <= MOST_MARKS and (character in JOINERS or visible(character, category)):
            shown.append(character)
    one_line = " ".join("".join(shown).split())
    if not one_line.strip(JOINERS + " "):
        return ""
    return one_line if len(one_line) <= most else one_line[: most - 1].rstrip() + "…"


def visible(character: str, category: str) -> bool:
    return category not in ("Cf", "Cs", "Co", "Cn") and character not in BLANKS
