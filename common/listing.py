"""Query parameters of the API: what a call does not know is refused, because ignoring a misspelt filter would answer
with more than was asked for.
"""

from collections.abc import Iterable
from typing import Any

import django_filters
from django import forms
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.fields import IntegerField
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView

from common.moments import MomentField

LARGEST_ID = 2**63 - 1
# Of a query that is wrong throughout, and of a name.
MOST_NAMED = 20
LONGEST_NAME = 100
# Other clients of Django REST framework send format=json, which all answers are.
FORMAT = "format"
# What a field of a filter takes, in the words of its error.
FORMATS: dict[type[forms.Field], str] = {
    forms.UUIDField: "an id as `trigger` returns it, such as 0193fd5e-8a3c-7d21-9c55-3a1f0e6b7c42",
    MomentField: "a time in ISO 8601, such as 2026-11-30T14:05:00Z",
}


class ListFilter(django_filters.FilterSet):
    """format: see FORMAT."""

    format = django_filters.ChoiceFilter(choices=[("json", "json")], method="every_row")

    _form_class: Any = None

    def get_form_class(self) -> Any:
        """Return the class of the form that checks the parameters; django-filter makes one for each request."""
        own = type(self)
        if "_form_class" not in vars(own):
            own._form_class = super().get_form_class()
            for field in own._form_class.base_fields.values():
                say_what_is_valid(field)
        return own._form_class

    def every_row(self, rows: Any, _name: str, _value: str) -> Any:
        return rows


def say_what_is_valid(field: Any) -> None:
    """Have the errors of a form field name its choices or its format."""
    if isinstance(field, forms.ChoiceField):
        choices: Any = field.choices
        values = ", ".join(str(value) for value, _ in choices if value != "")
        field.error_messages["invalid_choice"] = f"%(value)s is none of: {values}."
    for kind, words in FORMATS.items():
        if isinstance(field, kind):
            field.error_messages["invalid"] = f"This has to be {words}."


def refuse_unknown(request: Request, known: Iterable[str]) -> None:
    """Raise ValidationError, with the known query parameters, for those that are unknown or repeated."""
    names = sorted(known)
    unknown = f"Unknown. There are: {', '.join(names)}." if names else "Unknown. This call takes no query parameters."
    wrong = {
        name[:LONGEST_NAME]: ["Send this once." if name in names else unknown]
        for name, values in request.query_params.lists()
        if name not in names or len(values) > 1
    }
    if wrong:
        raise ValidationError(dict(list(wrong.items())[:MOST_NAMED]))


class StrictAPIView(APIView):
    """A call that refuses query parameters other than `query_parameters`, after the key was checked."""

    query_parameters: tuple[str, ...] = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.query_params:
            refuse_unknown(request, {FORMAT, *self.query_parameters})


class KnownParametersBackend(DjangoFilterBackend):
    """Filter by the view's `filterset_class`. Refuse unknown parameters with the known ones, and repeated ones."""

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        paging = {view.paginator.cursor_query_param, view.paginator.page_size_query_param}
        refuse_unknown(request, paging | set(view.filterset_class.base_filters))
        if paging.issuperset(request.query_params):
            # Nothing to filter by; the form for it took a fifth of the call.
            return queryset
        return super().filter_queryset(request, queryset, view)


class NewestFirst(CursorPagination):
    """Sort by descending id; `limit` rows per page."""

    ordering = "-id"
    page_size = 25
    page_size_query_param = "limit"
    max_page_size = 100

    def get_page_size(self, request: Request) -> int:
        """Return `limit`, at most the largest page. Raises ValidationError."""
        given = request.query_params.get(self.page_size_query_param)
        if not given:
            return self.page_size
        try:
            size: int = IntegerField(min_value=1).run_validation(given)
        except ValidationError as error:
            raise ValidationError({self.page_size_query_param: error.detail}) from None
        return min(size, self.max_page_size)

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Parse the cursor.

        Raises: ValidationError, also for a position that is not an id.
        """
        try:
            cursor: Cursor | None = super().decode_cursor(request)
        except NotFound:
            raise not_a_cursor() from None
        position: Any = getattr(cursor, "position", None)
        if position is not None and not is_id(position):
            raise not_a_cursor()
        return cursor


def not_a_cursor() -> ValidationError:
    return ValidationError({"cursor": ["This is no cursor of this list. Begin without one."]})


def is_id(text: str) -> bool:
    """Return whether the text is an id in decimal digits: Python converts some thousand digits at most."""
    digits = len(str(LARGEST_ID))
    return text.isascii() and text.isdigit() and len(text) <= digits and int(text) <= LARGEST_ID
