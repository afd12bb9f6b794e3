"""What a person changed on a page, as against what the page showed: somebody else may have changed the rest meanwhile.

Fields with `show_hidden_initial` send along what they showed.
"""

from __future__ import annotations

from typing import Any

from django import forms


def changed(form: forms.BaseForm, name: str) -> bool:
    """Whether the valid form holds another value than its page showed; also where it does not say what that was."""
    return form.add_initial_prefix(name) not in form.data or name in form.changed_data


def changes(form: forms.BaseForm) -> dict[str, Any]:
    """The fields of the valid form that were changed, with their values."""
    return {name: form.cleaned_data[name] for name in form.fields if changed(form, name)}
