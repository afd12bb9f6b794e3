"""Forms of django-allauth that say or do something of ours, and those of personal settings."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import LoginForm as AllauthLoginForm
from django.utils.translation import gettext_lazy as _


class LoginForm(AllauthLoginForm):  # type: ignore[misc]  # untyped
    """Signing in by user name or e-mail address."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        login = self.fields["login"]
        login.label = _("User name or e-mail address")
        # "webauthn": the browser offers passkeys where it offers names.
        login.widget.attrs |= {"autocomplete": "username webauthn", "autofocus": True}
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)
