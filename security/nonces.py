"""Nonces of signed requests: each is accepted once over all processes."""

import hashlib

from django.db import connection


def take_nonce(nonce: str, ttl_s: int) -> bool:
    """Take the nonce for ttl_s seconds, in which its signature stays valid; return False if it was taken before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO used_nonces (digest, expires_at) VALUES (%s, now() + %s * interval '1 second')"
            " ON CONFLICT DO NOTHING",
            [hashlib.sha256(nonce.encode()).digest(), ttl_s],
        )
        taken: bool = cursor.rowcount == 1
        return taken
