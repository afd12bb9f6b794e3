"""Forms of teams. Services check again what a form accepts."""

from collections.abc import Collection
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import Invitation, Role, Team
from accounts.permissions import Action

LONGEST_NAME = Team._meta.get_field("name").max_length
LONGEST_ADDRESS = Invitation._meta.get_field("email").max_length


class TeamForm(forms.Form):
    """The name of a team."""

    name = forms.CharField(
        label=_("Name of the team"), max_length=LONGEST_NAME, widget=forms.TextInput({"autocomplete": "off"})
    )


class DeleteForm(forms.Form):
    """The team's name, typed as a confirmation."""

    typed = forms.CharField(
        label=_("Type the team's name to delete it"),
        max_length=10 * (LONGEST_NAME or 0),
        widget=forms.TextInput({"autocomplete": "off"}),
    )


class InvitationForm(forms.Form):
    """Whom to invite with which role; only owners may invite owners."""

    email = forms.EmailField(
        label=_("E-mail address"), max_length=LONGEST_ADDRESS, widget=forms.EmailInput({"autocomplete": "off"})
    )
    role = forms.ChoiceField(label=_("Role"), initial=Role.MEMBER)

    def __init__(self, actions: Collection[Action], data: Any = None) -> None:
        super().__init__(data, prefix="invite")
        role: Any = self.fields["role"]
        role.choices = roles_for(actions)


def roles_for(actions: Collection[Action]) -> list[tuple[str, Any]]:
    """Return the roles that a user with these actions may give, lowest first."""
    every = list(reversed(Role.choices))
    return every if Action.CHANGE_OWNERS in actions else [(name, label) for name, label in every if name != Role.OWNER]
