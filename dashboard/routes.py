"""URL patterns of pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponseBase
from django.urls import URLPattern, path


def route(address: str, view: Callable[..., HttpResponseBase], name: str, **values: Any) -> list[URLPattern]:
    """Return the pattern of a page, and the same without the trailing slash. values: further arguments of the view.

    APPEND_SLASH is off, because the API must not redirect.
    """
    return [path(address, view, values, name), path(address.rstrip("/"), view, values)]
