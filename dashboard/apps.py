from django.apps import AppConfig

from security.rotation import JSON_SECRETS

# Secrets of django-allauth, encrypted by our adapter (dashboard/accounts/mfa.py).
MFA_SECRETS = [("mfa.Authenticator", "data", "secret"), ("mfa.Authenticator", "data", "seed")]


class DashboardConfig(AppConfig):
    name = "dashboard"

    def ready(self) -> None:
        from dashboard.accounts import sessions

        JSON_SECRETS.extend(MFA_SECRETS)
        sessions.listen()
