"""Find the fields that a user changed on a page: others may have changed the rest meanwhile.

Fields with `show_hidden_initial` submit the value that they showed.
"""

from __future__ import annotations

from typing import Any

from django import forms


def changed(form: forms.BaseForm, name: str) -> bool:
    """Return whether the value differs from the one that the page showed, or that one is unknown."""
    return form.add_initial_prefix(name) not in form.data or name in form.changed_data


def changes(form: forms.BaseForm) -> dict[str, Any]:
    """Return the changed fields of the valid form with their values."""
    return {name: form.cleaned_data[name] for name in form.fields if changed(form, name)}
