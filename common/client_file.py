"""The command line client as this installation serves it: its bytes and their hash."""

import hashlib
from functools import cache

from django.conf import settings


@cache
def client_file() -> tuple[bytes, str]:
    """Return the client and its SHA-256 in hex, read once: an upgrade restarts the server."""
    content = (settings.BASE_DIR / "clients" / "seqpulse.py").read_bytes()
    return content, hashlib.sha256(content).hexdigest()
