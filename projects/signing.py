"""An environment's HMAC secret: turned on, rotated with a time of grace, turned off.

Every change is made only to the secret that its author saw. Of two at once one loses, and learns it, instead of making
worthless what the other was just shown.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from projects.models import Environment, new_hmac_secret
from security.encryption import Sealed

# Hours for which the previous secret is still tried.
GRACE_HOURS = (1, 24, 168)
DEFAULT_GRACE_HOURS = 24

_NO_PREVIOUS: dict[str, Any] = {
    "previous_hmac_secret": "",
    "previous_hmac_until": None,
    "previous_hmac_used_at": None,
}


class SecretChanged(Exception):
    """The environment's secret is not the one any more that the change was meant for."""


def fingerprint(environment: Environment) -> str:
    """Names the environment's secret without telling anything of it; "" where it has none."""
    token = environment.hmac_secret.token
    return hashlib.sha256(token.encode()).hexdigest()[:16] if token else ""


def enable_signing(environment: Environment) -> str:
    """A new HMAC secret of the environment, in plain text: shown once, stored encrypted. It replaces any other at
    once; who rotates wants `rotate_secret`."""
    secret = new_hmac_secret()
    Environment.objects.filter(pk=environment.pk).update(hmac_secret=Sealed.of(secret), **_NO_PREVIOUS)
    environment.refresh_from_db(fields=["hmac_secret", *_NO_PREVIOUS])
    return secret


def begin_signing(environment: Environment) -> str:
    """Turns signing on where it is off; returns the secret, in plain text. Raises SecretChanged."""
    return _replace(environment, Environment.objects.filter(pk=environment.pk, hmac_secret=""), **_NO_PREVIOUS)


def rotate_secret(environment: Environment, *, seen: str, grace: timedelta) -> str:
    """A new secret, in plain text; the one that the person saw stays good for the time of grace.

    Raises SecretChanged, also while an earlier rotation's grace lasts: that has to end first, else the secret that the
    endpoint may still use would go.
    """
    return _replace(
        environment,
        _as_seen(environment, seen).exclude(previous_hmac_until__gt=Now()),
        previous_hmac_secret=environment.hmac_secret,
        previous_hmac_until=Now() + grace,
        previous_hmac_used_at=None,
    )


def reissue_secret(environment: Environment, *, seen: str) -> str:
    """Another new secret in place of the one from a rotation that nobody noted; the previous one stays as it is.

    Raises SecretChanged.
    """
    return _replace(environment, _as_seen(environment, seen).filter(previous_hmac_until__gt=Now()))


def end_grace(environment: Environment, *, seen: str) -> None:
    """From now on only the newest secret is used. Raises SecretChanged."""
    if _as_seen(environment, seen).update(**_NO_PREVIOUS) != 1:
        raise SecretChanged


def end_signing(environment: Environment, *, seen: str) -> None:
    """Requests are not signed any more, and the secrets are forgotten. Raises SecretChanged."""
    if _as_seen(environment, seen).update(hmac_secret="", **_NO_PREVIOUS) != 1:
        raise SecretChanged


def forget_previous_secrets() -> int:
    """Removes secrets whose grace is over; returns how many."""
    return Environment.objects.filter(previous_hmac_until__lte=Now()).update(
        previous_hmac_secret="", previous_hmac_until=None
    )


def _as_seen(environment: Environment, seen: str) -> Any:
    if not seen or seen != fingerprint(environment):
        raise SecretChanged
    return Environment.objects.filter(pk=environment.pk, hmac_secret=environment.hmac_secret)


def _replace(environment: Environment, rows: Any, **columns: Any) -> str:
    secret = new_hmac_secret()
    if rows.update(hmac_secret=Sealed.of(secret), **columns) != 1:
        raise SecretChanged
    environment.refresh_from_db(fields=["hmac_secret", *_NO_PREVIOUS])
    return secret
