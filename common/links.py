"""Absolute links to pages, for messages and for other sites."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import get_script_prefix, reverse


def public_link(view: str, *args: Any, request: HttpRequest | None = None) -> str:
    """Return the address of a page below SEQPULSE_PUBLIC_URL; without it as the request was addressed, else "".

    The setting contains the path of SCRIPT_NAME. What `reverse` returns begins with it too, but not in every thread.
    """
    path, base = reverse(view, args=args), settings.SEQPULSE_PUBLIC_URL
    if base:
        return f"{base}/{path.removeprefix(get_script_prefix())}"
    return request.build_absolute_uri(path) if request is not None else ""
