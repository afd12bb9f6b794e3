"""What our own processes share about themselves: counters of rate limits, of requests, and nonces that were used."""

from __future__ import annotations

from django.db import models


class RateCounter(models.Model):
    """Calls of one caller in one period. Unlogged: after a crash of the server counting begins anew."""

    key = models.CharField(max_length=120, primary_key=True)
    value = models.PositiveBigIntegerField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "rate_counters"

    def __str__(self) -> str:
        return self.key
