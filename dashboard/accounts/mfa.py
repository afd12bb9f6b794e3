"""Second factors: secrets encrypted at rest, codes valid once, hostile answers handled as wrong ones."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.adapter import DefaultMFAAdapter, get_adapter
from allauth.mfa.base import forms as codes
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.webauthn import forms as passkeys
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from django import forms
from django.contrib.postgres.fields import ArrayField
from django.db.models import Func, JSONField, Q, TextField, Value
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from security import encryption

# Of one account.
MOST_PASSKEYS = 20
# Exceptions of parsing an invalid answer of a security key.
UNREADABLE = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    RecursionError,
    struct.error,
    InvalidSignature,
    UnsupportedAlgorithm,
)


class MFAAdapter(DefaultMFAAdapter):
    """Adapter of django-allauth for second factors."""

    def encrypt(self, text: str) -> str:
        """Encrypt like every stored secret; security/rotation.py finds them by JSON_SECRETS of dashboard/apps.py."""
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return encryption.decrypt(encrypted_text)

    def generate_authenticator_name(self, user: Any, type: Any) -> str:  # noqa: A002  (allauth's name)
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return gettext("Passkey") if number == 1 else gettext("Passkey %(n)d") % {"n": number}

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {**super().get_public_key_credential_rp_entity(), "name": "SeqPulse"}


class JSONBSet(Func):
    """Replace one value in a JSON column: column, path, value."""

    function = "jsonb_set"
    arity = 3
    output_field = JSONField()


def spend(authenticator: Authenticator, code: str) -> bool:
    """Mark the code of an authenticator app as used; return False if it or a later one was used before.

    RFC 6238 §5.2. One guarded statement: of two concurrent processes with the same code, one succeeds.
    """
    secret = encryption.decrypt(authenticator.data["secret"])
    expected = (
        (step, totp.format_hotp_value(totp.hotp_value(secret, step))) for step in totp.yield_hotp_counters_from_time()
    )
    counter = next((step for step, each in expected if compare_user_code(actual=code, expected=each)), None)
    if counter is None:
        return False
    unused = Q(data__counter__isnull=True) | Q(data__counter__lt=counter)
    # Only the counter: the secret beside it may just have been re-encrypted (security/rotation.py).
    with_counter = JSONBSet("data", Value(["counter"], ArrayField(TextField())), Value(counter, JSONField()))
    changed: int = Authenticator.objects.filter(unused, pk=authenticator.pk).update(data=with_counter)
    return changed == 1


class OneTimeCode:
    """A code of an app is valid once over all processes; allauth remembers it per process."""

    authenticator: Authenticator

    def clean_code(self) -> str:
        code: str = super().clean_code()  # type: ignore[misc]
        if self.authenticator.type == Authenticator.Type.TOTP and not spend(self.authenticator, code):
            raise get_adapter().validation_error("incorrect_code")
        return code


class AuthenticateForm(OneTimeCode, codes.AuthenticateForm):
    """Enter a code after the password."""


class ReauthenticateForm(OneTimeCode, codes.ReauthenticateForm):
    """Enter a code before a sensitive change."""


class CredentialField(forms.JSONField):
    """Answer of a security key; too deeply nested JSON is invalid as well."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except RecursionError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except RecursionError:
            return None


@contextmanager
def unreadable_is_wrong() -> Iterator[None]:
    """Report an answer that cannot be parsed as a wrong one."""
    try:
        yield
    except forms.ValidationError:
        raise
    except UNREADABLE:
        raise get_adapter().validation_error("incorrect_code") from None


class Readable(forms.Form):
    """Handle an answer that cannot be parsed as a wrong one."""

    credential = CredentialField(widget=forms.HiddenInput)

    def clean_credential(self) -> Any:
        with unreadable_is_wrong():
            return super().clean_credential()  # type: ignore[misc]


class AuthenticatePasskeyForm(Readable, passkeys.AuthenticateWebAuthnForm):
    """Use a passkey or security key after the password."""


class LoginPasskeyForm(Readable, passkeys.LoginWebAuthnForm):
    """Use a passkey instead of the password."""


class ReauthenticatePasskeyForm(Readable, passkeys.ReauthenticateWebAuthnForm):
    """Use a passkey before a sensitive change."""


class EditPasskeyForm(passkeys.EditWebAuthnForm):
    """Rename a passkey."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = _("Name")


class AddPasskeyForm(passkeys.AddWebAuthnForm):
    """Add a passkey or security key."""

    credential = CredentialField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name = self.fields["name"]
        name.label, name.max_length = _("Name"), 100
        name.widget.attrs["maxlength"] = 100
        alone = self.fields["passwordless"]
        alone.label, alone.initial = _("Sign in with it alone, without the password"), True
        alone.help_text = _("The device then asks for your fingerprint, face or PIN.")

    def clean(self) -> dict[str, Any]:
        if Authenticator.objects.filter(user=self.user, type=Authenticator.Type.WEBAUTHN).count() >= MOST_PASSKEYS:
            words = gettext("An account has at most %(n)d passkeys. Remove one first.")
            raise forms.ValidationError(words % {"n": MOST_PASSKEYS})
        with unreadable_is_wrong():
            data: dict[str, Any] = super().clean()
        return data
