"""Users, teams, memberships and invitations."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import available_timezones

from django.conf import settings
from django.contrib.auth.models import AbstractUser, UserManager
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Lower, Now
from django.utils import timezone
from django.utils.deconstruct import deconstructible
from django.utils.translation import gettext_lazy as _

# How long an invitation can be accepted.
INVITATION_DAYS = 7
INVITATION_TOKEN_PREFIX = "spi_"  # noqa: S105  (by it, security/redaction.py finds tokens in what is logged)


def validate_time_zone(name: str) -> None:
    """Raise ValidationError unless this is a name of the time zone database."""
    if name not in available_timezones():
        raise ValidationError(_("“%(name)s” is no time zone. Pick one such as Europe/Paris."), params={"name": name})


@deconstructible
class UserNameValidator(UnicodeUsernameValidator):
    """Accept names that do not look like addresses: an address identifies the account that has verified it."""

    regex = r"^[\w.+-]+\Z"
    message = _("A user name has letters, digits and . + - _ only: with an @ it would look like an e-mail address.")


class Users(UserManager["User"]):
    """Create accounts. Raises ValidationError for a user name that no form would accept."""

    def create_user(self, username: str, *args: Any, **kwargs: Any) -> User:
        UserNameValidator()(username)
        return super().create_user(username, *args, **kwargs)

    def create_superuser(self, username: str, *args: Any, **kwargs: Any) -> User:
        UserNameValidator()(username)
        return super().create_superuser(username, *args, **kwargs)


class Theme(models.TextChoices):
    LIGHT = "light", _("Light")
    DARK = "dark", _("Dark")


class User(AbstractUser):
    """An account and its preferences. "": what the browser asks for; for the time zone UTC."""

    username = models.CharField(
        _("user name"),
        max_length=150,
        unique=True,
        help_text=_("Letters, digits and . + - _"),
        validators=[UserNameValidator()],
        error_messages={"unique": _("This name is taken. Choose another one.")},
    )
    language = models.CharField(
        max_length=10, choices=settings.LANGUAGES, blank=True, default="", db_default="", verbose_name=_("language")
    )
    theme = models.CharField(
        max_length=5, choices=Theme, blank=True, default="", db_default="", verbose_name=_("theme")
    )
    time_zone = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        validators=[validate_time_zone],
        verbose_name=_("time zone"),
    )

    objects: ClassVar[Users] = Users()

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save with the address in lower case, in which addresses are compared."""
        self.email = (self.email or "").lower()
        super().save(*args, **kwargs)


class TeamQuerySet(models.QuerySet["Team"]):
    def not_deleted(self) -> TeamQuerySet:
        """Leave out deleted teams, whose rows are still being removed."""
        return self.filter(deleting_at__isnull=True)

    def visible_to(self, user: Any) -> TeamQuerySet:
        """Return the user's teams; all teams for a superuser."""
        if user.is_superuser:
            return self.not_deleted()
        return self.not_deleted().filter(members=user)


class Team(models.Model):
    """Users who share projects."""

    name = models.CharField(_("name"), max_length=100)
    members = models.ManyToManyField(User, through="Membership", related_name="teams")
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    deleting_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when it is gone for people, while its rows are removed."
    )

    objects = TeamQuerySet.as_manager()

    class Meta:
        verbose_name = _("team")
        verbose_name_plural = _("teams")

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    OWNER = "owner", _("Owner")
    ADMIN = "admin", _("Admin")
    MEMBER = "member", _("Member")
    VIEWER = "viewer", _("Viewer")


class Membership(models.Model):
    """A user's role in a team."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships", verbose_name=_("team"))
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships", verbose_name=_("user"))
    role = models.CharField(_("role"), max_length=10, choices=Role, default=Role.MEMBER)

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [models.UniqueConstraint(fields=["team", "user"], name="one_membership_per_user")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team} ({self.role})"


def invitation_end() -> datetime:
    """Serve migration 0001 only: the database's clock decides since 0002."""
    return timezone.now() + timedelta(days=INVITATION_DAYS)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> InvitationQuerySet:
        """Return invitations that can still be accepted."""
        return self.waiting().filter(expires_at__gt=Now())

    def waiting(self) -> InvitationQuerySet:
        """Return invitations neither accepted nor withdrawn, expired or not."""
        return self.filter(accepted_at__isnull=True, revoked_at__isnull=True)

    def withdraw(self) -> int:
        """Withdraw the waiting ones; return how many."""
        return self.waiting().update(revoked_at=Now())


class Invitation(models.Model):
    """An invitation into a team, sent by e-mail, also to people without an account. Stores only the token's hash."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="invitations", verbose_name=_("team"))
    email = models.EmailField()
    role = models.CharField(_("role"), max_length=10, choices=Role, default=Role.MEMBER)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("invited by")
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    expires_at = models.DateTimeField(_("expires at"), db_default=Now() + timedelta(days=INVITATION_DAYS))
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    accepted_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True, editable=False)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        constraints = [
            # At most one open per address and team: a new one replaces it.
            models.UniqueConstraint(
                "team",
                Lower("email"),
                condition=models.Q(accepted_at__isnull=True, revoked_at__isnull=True),
                name="one_open_invitation_per_email",
            )
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.team} ({self.role})"
