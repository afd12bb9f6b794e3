"""What several kinds of channels lay out alike: lengths, lines, marks of severity. Pure."""

from datetime import UTC

from notifications.message import Message

MARKS = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
RESOLVED = "🟢"
COLOURS = {"critical": 0xC62828, "warning": 0xEF6C00, "info": 0x1565C0}
RESOLVED_COLOUR = 0x2E7D32


def mark(message: Message) -> str:
    return RESOLVED if message.resolves else MARKS.get(message.severity, MARKS["info"])


def colour(message: Message) -> int:
    return RESOLVED_COLOUR if message.resolves else COLOURS.get(message.severity, COLOURS["info"])


def timestamp(message: Message) -> str:
    """Return when it happened, in UTC and with the letter Z, which all receivers accept."""
    return message.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def shortened(text: str, most: int) -> str:
    """Return the text with at most so many UTF-16 units, which is how receivers count."""
    if len(text.encode("utf-16-le")) // 2 <= most:
        return text
    return text.encode("utf-16-le")[: (most - 1) * 2].decode("utf-16-le", "ignore") + "…"


def lines(message: Message) -> list[str]:
    """Return what follows the headline: details, then the headlines of the others that go with it."""
    return [*message.details, *(f"{mark(other)} {other.headline}" for other in message.others)]
