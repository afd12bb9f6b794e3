"""Query parameters of the API's lists: what a list does not know is refused, because ignoring a misspelt filter would
answer with more than was asked for.
"""

from typing import Any

import django_filters
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.fields import IntegerField
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

LARGEST_ID = 2**63 - 1
# Of a query that is wrong throughout, and of a name.
MOST_NAMED = 20
LONGEST_NAME = 100


class ListFilter(django_filters.FilterSet):
    """format: json, which all answers are; other clients of Django REST framework send it."""

    format = django_filters.ChoiceFilter(choices=[("json", "json")], method="every_row")

    _form_class: Any = None

    def get_form_class(self) -> Any:
        """Return the class of the form that checks the parameters; django-filter makes one for each request."""
        own = type(self)
        if "_form_class" not in vars(own):
            own._form_class = super().get_form_class()
        return own._form_class

    def every_row(self, rows: Any, _name: str, _value: str) -> Any:
        return rows


class KnownParametersBackend(DjangoFilterBackend):
    """Filter by the view's `filterset_class`. Refuse unknown parameters with the known ones, and repeated ones."""

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        paging = {view.paginator.cursor_query_param, view.paginator.page_size_query_param}
        known = sorted(paging | set(view.filterset_class.base_filters))
        wrong = {
            name[:LONGEST_NAME]: ["Send this once." if name in known else f"Unknown. There are: {', '.join(known)}."]
            for name, values in request.query_params.lists()
            if name not in known or len(values) > 1
        }
        if wrong:
            raise ValidationError(dict(list(wrong.items())[:MOST_NAMED]))
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
