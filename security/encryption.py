"""Encrypt secrets at rest: Fernet (AES-128-CBC and HMAC-SHA256), several keys for rotation; the first one encrypts."""

from functools import lru_cache
from typing import Any, Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models.query_utils import DeferredAttribute


def cipher() -> MultiFernet:
    """Return the cipher of the configured keys."""
    return _cipher(tuple(settings.SEQPULSE_ENCRYPTION_KEYS))


@lru_cache(maxsize=8)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


# A poller decrypts the same few secrets repeatedly, 60 µs each. They are in its memory anyway while it signs.
@lru_cache(maxsize=2048)
def _decrypted(keys: tuple[str, ...], token: str) -> str:
    return _cipher(keys).decrypt(token.encode()).decode()


def encrypt(text: str) -> str:
    return cipher().encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """Return the plain text.

    Raises: ImproperlyConfigured if no configured key decrypts it.
    """
    try:
        return _decrypted(tuple(settings.SEQPULSE_ENCRYPTION_KEYS), token)
    except InvalidToken:
        raise ImproperlyConfigured(
            "A stored secret opens with none of the keys in SEQPULSE_ENCRYPTION_KEYS: bring back the key it was "
            "encrypted with, or issue a new secret."
        ) from None


def rotated(token: str) -> str | None:
    """Return the secret encrypted with the first key; None if it already is. Raises like decrypt."""
    try:
        Fernet(settings.SEQPULSE_ENCRYPTION_KEYS[0]).decrypt(token.encode())
    except InvalidToken:
        return encrypt(decrypt(token))
    return None


class Sealed:
    """A secret as stored. Rows are read with it encrypted; it is decrypted only where it is needed.

    So a missing key affects only users of the secret, and logs cannot contain it. False if empty.
    """

    __slots__ = ("token",)

    def __init__(self, token: str) -> None:
        self.token = token

    @classmethod
    def of(cls, text: str) -> Self:
        """Encrypt a text; "" stays empty."""
        return cls(encrypt(text) if text else "")

    def open(self) -> str:
        """Return the plain text.

        Raises: ImproperlyConfigured if no configured key decrypts it.
        """
        return decrypt(self.token) if self.token else ""

    def __bool__(self) -> bool:
        return bool(self.token)

    def __repr__(self) -> str:
        return "Sealed(…)" if self.token else "Sealed()"


# Prefix of encrypted secrets in dumps (manage.py dumpdata).
DUMPED = "sealed:"


class SealedAttribute(DeferredAttribute):
    """Model attribute that encrypts assigned plain text."""

    def __set__(self, instance: models.Model, value: Sealed | str) -> None:
        instance.__dict__[self.field.attname] = value if isinstance(value, Sealed) else Sealed.of(value)


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]
    """Text stored encrypted; models hold it as Sealed. It cannot be searched."""

    descriptor_class = SealedAttribute
    _pyi_private_set_type: Sealed | str  # type: ignore[assignment]
    _pyi_private_get_type: Sealed  # type: ignore[assignment]

    def to_python(self, value: Any) -> Any:
        """Return Sealed values unchanged; values of a dump are encrypted already."""
        if isinstance(value, str) and value.startswith(DUMPED):
            return Sealed(value.removeprefix(DUMPED))
        return value if isinstance(value, Sealed) else super().to_python(value)

    def value_to_string(self, obj: models.Model) -> str:
        secret: Sealed = self.value_from_object(obj)
        return DUMPED + secret.token if secret else ""

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Sealed):
            return value.token
        return encrypt(value) if value else value

    def from_db_value(self, value: str, expression: Any, connection: Any) -> Sealed:
        return Sealed(value)
