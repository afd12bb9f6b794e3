"""Show the beginning of what was answered, by an endpoint instead of metrics: redacted, and only where it may be."""

import re

from django.conf import settings

from outbound.addresses import AllowList, refusal
from outbound.session import Answer
from outbound.transfer import Response
from security.redaction import redact_foreign_text

LONGEST = 200
# Of which the shown characters come: markup takes most of a page.
READ_BYTES = 8 * 1024
UNSHOWN = re.compile(r"<!--.*?(-->|\Z)|<(script|style)\b.*?(</\2\s*>|\Z)|<[^>]*(>|\Z)", re.IGNORECASE | re.DOTALL)


def may_be_shown(response: Response | Answer) -> bool:
    """Return whether people may see the answer.

    Not from an address that is not public, unless the operators say so: whoever sets an endpoint must not read services
    inside a network.
    """
    return settings.SEQPULSE_SHOW_INTERNAL_ANSWERS or refusal(response.remote_ip, AllowList()) is None


def first_lines(response: Response | Answer, longest: int = LONGEST) -> str:
    """Return the beginning of the answer as one line, without markup and secrets; "" where it may not be shown."""
    if not may_be_shown(response):
        return ""
    text = redact_foreign_text(response.body[:READ_BYTES].decode("utf-8", "replace"))
    if text.lstrip("\ufeff \t\r\n").startswith("<"):
        text = UNSHOWN.sub(" ", text)
    shown = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
