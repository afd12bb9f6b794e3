"""Take the secrets of a receiver out of what it answered, which people read. Pure."""

from collections.abc import Iterable
from html import escape
from urllib.parse import parse_qsl, unquote, urlsplit

# Shorter ones would be found in any text.
SHORTEST_SECRET = 6


def without_secrets(text: str, *, urls: Iterable[str] = (), secrets: Iterable[str] = ()) -> str:
    """Return a text without what it repeats of the secrets, nor of the URLs, whose path and query are secret."""
    hidden = {*secrets, *(part for url in urls for part in (url, *parts_of(url)))}
    for secret in sorted(hidden, key=len, reverse=True):
        for form in {secret, unquote(secret), secret.replace("/", r"\/"), escape(secret)}:
            if len(form) >= SHORTEST_SECRET:
                text = without(text, form)
    return text


def parts_of(url: str) -> list[str]:
    """Return what of a URL is secret besides the whole: its path and query, and their parts."""
    parts = urlsplit(url)
    # As they are sent, and as the receiver reads them.
    query = [pair.partition("=")[2] for pair in parts.query.split("&")] + [text for _, text in parse_qsl(parts.query)]
    return [f"{parts.path}?{parts.query}", parts.path, parts.query, *parts.path.split("/"), *query]


def without(text: str, secret: str) -> str:
    """Return a text without a secret, nor the beginning of it at the end, where the text was cut."""
    text = text.replace(secret, "…")
    end = text.removesuffix("…")
    for length in range(min(len(secret) - 1, len(end)), SHORTEST_SECRET - 1, -1):
        if end.endswith(secret[:length]):
            return end[:-length] + "…"
    return text
