"""An environment's HMAC secret: turn signing on, rotate with a grace period, turn it off.

A change applies only to the secret that its author saw: of two concurrent changes one raises SecretChanged, instead of
replacing what the other author was just shown.
"""

import hashlib
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from projects.models import Environment, new_hmac_secret
from security.encryption import Sealed

# Hours of grace: for so long the previous secret is still tried.
GRACE_HOURS = (1, 24, 168)
DEFAULT_GRACE_HOURS = 24

_NO_PREVIOUS: dict[str, Any] = {
    "previous_hmac_secret": "",
    "previous_hmac_until": None,
    "previous_hmac_used_at": None,
}


class SecretChanged(Exception):
    """The environment's secret was changed concurrently."""


def fingerprint(environment: Environment) -> str:
    """Return an identifier of the environment's secret that reveals nothing of it; "" without a secret."""
    token = environment.hmac_secret.token
    return hashlib.sha256(token.encode()).hexdigest()[:16] if token else ""


def enable_signing(environment: Environment) -> str:
    """Set a new HMAC secret and return it in clear text, which is shown once; it is stored encrypted.

    It replaces any other at once; `rotate_secret` keeps that for a grace period.
    """
    secret = new_hmac_secret()
    Environment.objects.filter(pk=environment.pk).update(hmac_secret=Sealed.of(secret), **_NO_PREVIOUS)
    environment.refresh_from_db(fields=["hmac_secret", *_NO_PREVIOUS])
    return secret


def begin_signing(environment: Environment) -> str:
    """Turn signing on where it is off; return the secret in clear text. Raises SecretChanged."""
    return _replace(environment, Environment.objects.filter(pk=environment.pk, hmac_secret=""), **_NO_PREVIOUS)


def rotate_secret(environment: Environment, *, seen: str, grace: timedelta) -> str:
    """Set a new secret and return it in clear text; the one that the user saw stays valid for the grace period.

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
    """Replace a secret that was lost after a rotation by another one; the previous one stays as it is.

    Raises SecretChanged.
    """
    return _replace(environment, _as_seen(environment, seen).filter(previous_hmac_until__gt=Now()))


def end_grace(environment: Environment, *, seen: str) -> None:
    """End the grace period: only the newest secret is used. Raises SecretChanged."""
    if _as_seen(environment, seen).update(**_NO_PREVIOUS) != 1:
        raise SecretChanged


def end_signing(environment: Environment, *, seen: str) -> None:
    """Turn signing off and delete the secrets. Raises SecretChanged."""
    if _as_seen(environment, seen).update(hmac_secret="", **_NO_PREVIOUS) != 1:
        raise SecretChanged


def forget_previous_secrets() -> int:
    """Delete previous secrets whose grace period is over; return how many."""
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
