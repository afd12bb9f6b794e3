"""Changes to user accounts."""

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from accounts.login_names import accounts_called_alike
from accounts.models import User
from common.integrity import violated_constraint


def free_user_name(name: str, user: User) -> str:
    """Return the name. Raises ValidationError where another account has it, in any spelling."""
    if any(other.pk != user.pk for other in accounts_called_alike(name)):
        raise ValidationError(_("This name is taken. Choose another one."))
    return name


def change_profile(user: User, **changes: str) -> None:
    """Update these fields of the user and no other: rights may have changed since the row was read.

    Raises ValidationError that names the field where the user name is taken.
    """
    try:
        with transaction.atomic():
            User.objects.filter(pk=user.pk).update(**changes)
    except IntegrityError as error:
        if violated_constraint(error) != "accounts_user_username_key":
            raise
        raise ValidationError({"username": _("This name is taken. Choose another one.")}) from None
