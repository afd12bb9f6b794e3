"""Extended forms of django-allauth, and forms of personal settings."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, cast
from zoneinfo import available_timezones

from allauth.account import forms as allauth_forms
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.socialaccount.forms import SignupForm as SocialSignupFormOfAllauth
from django import forms
from django.conf import settings
from django.contrib.auth.forms import UsernameField
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.login_names import account_with_address
from accounts.models import Theme, User
from accounts.services import free_user_name

# The id of no account.
NOBODY = 0
# Regions of the time zone database to choose from; all others are old names.
REGIONS = {
    "Africa": _("Africa"),
    "America": _("America"),
    "Antarctica": _("Antarctica"),
    "Arctic": _("Arctic"),
    "Asia": _("Asia"),
    "Atlantic": _("Atlantic"),
    "Australia": _("Australia"),
    "Europe": _("Europe"),
    "Indian": _("Indian Ocean"),
    "Pacific": _("Pacific"),
}


class LoginForm(allauth_forms.LoginForm):
    """Sign in by user name or e-mail address."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        login = self.fields["login"]
        login.label = _("User name or e-mail address")
        # "webauthn": the browser offers passkeys beside names.
        login.widget.attrs |= {"autocomplete": "username webauthn", "autofocus": True, "maxlength": 254}
        self.fields["password"].help_text = None

    def user_credentials(self) -> dict[str, str]:
        """Return the login name as `username`, address or not: accounts/login_names.py finds its account."""
        return {"username": self.cleaned_data["login"], "password": self.cleaned_data["password"]}

    @property
    def signup_is_open(self) -> bool:
        """Return whether to offer sign-up."""
        return bool(get_adapter(self.request).is_open_for_signup(self.request))


class EmailLabel:
    """Name the address as all our forms do."""

    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = _("E-mail address")


class OneAccountPerAddress:
    """Sign up with an address without an account. One that another account has not verified is free."""

    def validate_unique_email(self, value: str) -> str:
        self.account_already_exists = account_with_address(value) is not None
        return value


class SocialSignupForm(OneAccountPerAddress, EmailLabel, SocialSignupFormOfAllauth):
    """Sign up with an account of a provider."""


class SignupForm(OneAccountPerAddress, EmailLabel, allauth_forms.SignupForm):
    """Sign up with an e-mail address."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].widget.attrs["autocomplete"] = "username"
        self.fields["password2"].label = _("The password again")

    def try_save(self, request: HttpRequest) -> tuple[Any, Any]:
        """Hash the password also where the address has an account, so that the time of the answer does not tell."""
        if self.account_already_exists:
            make_password(self.cleaned_data["password1"])
        result: tuple[Any, Any] = super().try_save(request)
        return result


class ResetPasswordForm(EmailLabel, allauth_forms.ResetPasswordForm):
    """Request a new password."""

    def clean_email(self) -> str:
        """Find the account of the address. The mail goes to the address as it is stored, however it was typed."""
        typed: str = self.cleaned_data["email"]
        named = account_with_address(typed)
        self.users = [named.user] if named is not None and named.user.is_active else []
        return named.address if named is not None else typed

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Send the mail. Without an account, do the same work as for a link, for which addresses are read twice."""
        if not self.users:
            EmailAddress.objects.filter(user_id=NOBODY, email=self.cleaned_data["email"]).exists()
            allauth_forms.default_token_generator.make_token(User(pk=NOBODY))
        return str(super().save(request, **kwargs))


class AddEmailForm(EmailLabel, allauth_forms.AddEmailForm):
    """Add an address."""


@lru_cache(maxsize=1)
def zones_by_region() -> tuple[tuple[Any, tuple[tuple[str, str], ...]], ...]:
    """Return time zones grouped for a select: (region, ((name, city), …))."""
    names = sorted(available_timezones())
    return tuple(
        (label, tuple((name, city_of(name)) for name in names if name.startswith(f"{region}/")))
        for region, label in REGIONS.items()
    )


def zone_choices(chosen: str) -> list[Any]:
    """Return the choices of the select, including an old name that was chosen elsewhere."""
    known = {"UTC", *(name for _region, names in zones_by_region() for name, _city in names)}
    return [("UTC", _("UTC")), *zones_by_region(), *([(chosen, chosen)] if chosen and chosen not in known else [])]


def city_of(zone: str) -> str:
    """Return the city of a zone: "Indiana, Knox" for "America/Indiana/Knox"."""
    return ", ".join(part.replace("_", " ") for part in zone.split("/")[1:])


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Edit name and display preferences."""

    time_zone = forms.ChoiceField(label=_("Time zone"), required=False)

    class Meta:
        model = User
        fields = ("username", "first_name", "last_name", "language", "theme", "time_zone")
        # Normalizes the spelling: NFKC.
        field_classes = {"username": UsernameField}
        labels = {"username": _("User name"), "first_name": _("First name"), "last_name": _("Last name")}
        help_texts = {"username": ""}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: dict[str, list[Any]] = {
            "language": [("", _("Automatic (as the browser asks)")), *settings.LANGUAGES],
            "theme": [("", _("Automatic (as the device is set)")), *Theme.choices],
            "time_zone": [("", _("Automatic (that of the device)")), *zone_choices(self.instance.time_zone)],
        }
        for name, offered in choices.items():
            cast("forms.ChoiceField", self.fields[name]).choices = offered
        for name, hint in (("username", "username"), ("first_name", "given-name"), ("last_name", "family-name")):
            self.fields[name].widget.attrs["autocomplete"] = hint
        for shown in self.fields.values():
            shown.show_hidden_initial = True

    @property
    def who(self) -> Iterator[forms.BoundField]:
        return (self[name] for name in ("username", "first_name", "last_name"))

    @property
    def display(self) -> Iterator[forms.BoundField]:
        return (self[name] for name in ("language", "theme"))

    def clean_username(self) -> str:
        """Refuse a name that differs from another only in case, as at sign-up."""
        return free_user_name(self.cleaned_data["username"], self.instance)
