"""Compare commits. Pure."""

import re

# Git abbreviates a SHA to four characters at least.
SHA = re.compile("[0-9a-f]{4,}")


def same_commit(one: str, other: str) -> bool:
    """Return whether both name the same commit: by the same text, or by a SHA and its abbreviation, in any case."""
    short, long = sorted((one.lower(), other.lower()), key=len)
    return short == long or (bool(SHA.fullmatch(short) and SHA.fullmatch(long)) and long.startswith(short))
