"""Show refusals of services on the next page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.http import Http404, HttpRequest


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
