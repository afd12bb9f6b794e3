"""Sign-in with GitHub or Google."""

from typing import Any

from allauth.account.internal.flows.manage_email import assess_unique_email
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp
from django.conf import settings
from django.http import Http404, HttpRequest

from accounts.login_names import account_with_address


class SocialAdapter(DefaultSocialAccountAdapter):
    """Read providers from settings only, not from allauth's table, which holds secrets in clear text."""

    def list_apps(self, request: HttpRequest, provider: str | None = None, client_id: str | None = None) -> list[Any]:
        return [
            SocialApp(provider=name, name=name, **app)
            for name, configured in settings.SOCIALACCOUNT_PROVIDERS.items()
            for app in configured["APPS"]
            if provider in (None, name) and client_id in (None, app["client_id"])
        ]

    def get_app(self, request: HttpRequest, provider: str, client_id: str | None = None) -> Any:
        apps = self.list_apps(request, provider, client_id)
        if not apps:
            raise Http404
        return apps[0]

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: Any) -> bool:
        """Return whether to sign up without a form.

        Not with an address that another account has entered but not verified: django-allauth would treat it as that
        account's, our form does not.
        """
        address = next((row.email for row in sociallogin.email_addresses), "")
        claimed = bool(address) and assess_unique_email(address) is not True
        if claimed and account_with_address(address) is None:
            return False
        return bool(super().is_auto_signup_allowed(request, sociallogin))
