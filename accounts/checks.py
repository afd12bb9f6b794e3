"""System check of the accounts."""

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import connections

from accounts.models import User

SHOWN = 10


@register(Tags.database)
def check_user_names(app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Name the accounts whose user name looks like an address, as former versions accepted. `migrate` runs this."""
    return [message for database in databases or () for message in look_like_addresses(database)]


def look_like_addresses(database: str) -> list[CheckMessage]:
    with connections[database].cursor() as cursor:
        if User._meta.db_table not in connections[database].introspection.table_names(cursor):
            return []
    names = list(
        User.objects.using(database)
        .filter(username__contains="@")
        .order_by("username")
        .values_list("username", flat=True)[: SHOWN + 1]
    )
    if not names:
        return []
    listed = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    return [
        checks.Warning(
            f"User names that look like e-mail addresses: {listed}. They sign in as before, but where another account"
            " has verified that address, the name is that account's.",
            hint="Change them in Django admin or in the settings of the account; new ones are refused.",
            id="accounts.W001",
        )
    ]
