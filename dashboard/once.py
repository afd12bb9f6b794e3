"""Forms whose answer shows a secret this once: sent again, they must not make another one.

The template writes {% form_token %} into the form; the view asks `sent_before` right before it makes the secret. The
page sees to double clicks itself (static/seqpulse/forms.js); an answer that is loaded again only the server can tell.
"""

from __future__ import annotations

import hashlib

from django.core.cache import caches
from django.http import HttpRequest

from dashboard.person import person

FIELD = "sent"
# After a day nobody loads the answer again.
KEPT_S = 24 * 3600


def sent_before(request: HttpRequest) -> bool:
    """Whether this very form was sent before, by a second click or by loading its answer again. One that brings no
    token never was."""
    token = request.POST.get(FIELD, "")
    if not token:
        return False
    of_whom = hashlib.sha256(f"{person(request).pk}|{token}".encode("utf-8", "replace")).hexdigest()
    # Each count is one atomic step, whichever process takes it (security/counting.py).
    counters = caches["counters"]
    counters.add(f"{FIELD}|{of_whom}", 0, KEPT_S)
    return counters.incr(f"{FIELD}|{of_whom}") > 1
