"""What form views share: changed fields, refusals of services, tokens of forms whose answer shows a secret."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.http import Http404, HttpRequest

from dashboard.page import current_user
from security.counting import is_first_use

# The field of a form's token.
FIELD = "sent"
# Long enough for any reload of the answer.
KEPT_S = 24 * 3600


def changed(form: forms.BaseForm, name: str) -> bool:
    """Return whether the value differs from the one that the page showed, or that one is unknown.

    Others may have changed the rest meanwhile. Fields with `show_hidden_initial` submit the value that they showed.
    """
    return form.add_initial_prefix(name) not in form.data or name in form.changed_data


def changes(form: forms.BaseForm) -> dict[str, Any]:
    """Return the changed fields of the valid form with their values."""
    return {name: form.cleaned_data[name] for name in form.fields if changed(form, name)}


class Refusals(AbstractContextManager[None]):
    """Add a ValidationError to the form, at the fields that it names, else to the messages of the next page.

    A row that is gone meanwhile is 404.
    """

    def __init__(self, request: HttpRequest, form: forms.BaseForm | None = None) -> None:
        self.request = request
        self.form = form

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, ObjectDoesNotExist):
            raise Http404 from None
        if not isinstance(error, ValidationError):
            return False
        by_field: Mapping[str, Sequence[Any]] = getattr(error, "message_dict", {"": error.messages})
        for name, texts in by_field.items():
            for text in texts:
                if self.form is None:
                    messages.error(self.request, text)
                else:
                    self.form.add_error(name if name in self.form.fields else None, text)
        return True


def already_submitted(request: HttpRequest) -> bool:
    """Return whether this form was submitted before; call it right before a secret is made that its answer shows once.

    The template writes {% form_token %} into the form; a form without a token was never submitted. Double clicks are
    handled in the browser (static/seqpulse/forms.js); only the server can detect a reload of the answer.
    """
    token = request.POST.get(FIELD, "")
    return bool(token) and not is_first_use(FIELD, f"{current_user(request).pk}|{token}", KEPT_S)
