"""Cursor pagination, stable while rows are added."""

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

MAX_ID = 2**63 - 1


class NewestFirst(CursorPagination):
    """Sort by descending id; `limit` rows per page."""

    ordering = "-id"
    page_size = 25
    page_size_query_param = "limit"
    max_page_size = 100

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Parse the cursor.

        Raises: ValidationError, also for a position that is not an id.
        """
        cursor: Cursor | None = super().decode_cursor(request)
        position: Any = getattr(cursor, "position", None)
        if position is not None and not (position.isascii() and position.isdigit() and int(position) <= MAX_ID):
            raise ValidationError({"cursor": ["This is no cursor of this list. Begin without one."]})
        return cursor
