"""Form tokens: a form whose answer shows a secret once must not make a second secret when it is submitted again.

The template writes {% form_token %} into the form; the view calls `already_submitted` right before it makes the secret.
Double clicks are handled in the browser (static/seqpulse/forms.js); a reload of the answer only the server can detect.
"""

from __future__ import annotations

import hashlib

from django.core.cache import caches
from django.http import HttpRequest

from dashboard.auth import current_user

FIELD = "sent"
# Long enough for any reload of the answer.
KEPT_S = 24 * 3600


def already_submitted(request: HttpRequest) -> bool:
    """Return whether this form was submitted before. A form without a token never was."""
    token = request.POST.get(FIELD, "")
    if not token:
        return False
    digest = hashlib.sha256(f"{current_user(request).pk}|{token}".encode("utf-8", "replace")).hexdigest()
    # Each count is one atomic step, whichever process takes it (security/counting.py).
    counters = caches["counters"]
    counters.add(f"{FIELD}|{digest}", 0, KEPT_S)
    return counters.incr(f"{FIELD}|{digest}") > 1
