"""How pages get their addresses."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpResponseBase
from django.urls import URLPattern, path


def route(address: str, view: Callable[..., HttpResponseBase], name: str) -> list[URLPattern]:
    """The page's own address, which links use, and the same without the slash.

    APPEND_SLASH is off, for the API's sake.
    """
    return [path(address, view, name=name), path(address.rstrip("/"), view)]
