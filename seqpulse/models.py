"""State shared by web processes: counters of rate limits and of requests, and used nonces."""

from django.db import models


class RateCounter(models.Model):
    """Calls of one caller in one period. Unlogged: after a crash of the server counting restarts."""

    key = models.CharField(max_length=120, primary_key=True)
    value = models.PositiveBigIntegerField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "rate_counters"

    def __str__(self) -> str:
        return self.key


class UsedNonce(models.Model):
    """SHA-256 of a nonce of a signed request, accepted once over all processes (security/nonces.py)."""

    digest = models.BinaryField(primary_key=True, max_length=32)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "used_nonces"

    def __str__(self) -> str:
        return bytes(self.digest).hex()


class RequestCount(models.Model):
    """Requests of one second and one step of latency, over all web processes. Unlogged, kept for minutes.

    second: since the epoch; step: of the latency scale (seqpulse/observability/own_requests.py); errors: answered 5xx.
    """

    pk = models.CompositePrimaryKey("second", "step")
    second = models.BigIntegerField()
    step = models.SmallIntegerField()
    requests = models.PositiveBigIntegerField()
    errors = models.PositiveBigIntegerField()

    class Meta:
        db_table = "own_requests"

    def __str__(self) -> str:
        return f"{self.requests} requests in second {self.second}"
