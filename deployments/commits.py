"""Compare commits. Pure."""

import re

# Git abbreviates a SHA to four characters at least.
SHORTEST_SHA = 4
SHA = re.compile(f"[0-9a-f]{{{SHORTEST_SHA},}}")


def same_commit(one: str, other: str) -> bool:
    """Return whether both name the same commit: by the same text, or by a SHA and its abbreviation, in any case."""
    short, long = sorted((one.lower(), other.lower()), key=len)
    return short == long or (bool(SHA.fullmatch(short) and SHA.fullmatch(long)) and long.startswith(short))
