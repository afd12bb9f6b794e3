"""Descriptions of API calls, for the OpenAPI document (`seqpulse/openapi.py`).

They are noted here and given to drf-spectacular when it writes the document: its generator loads the test tools of
Django, REST framework and unittest, which serving and commands do without.
"""

from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def described(**description: Any) -> Callable[[Method], Method]:
    """Note on a method of a view what drf-spectacular's `extend_schema` takes."""

    def note(method: Method) -> Method:
        method.openapi = description  # type: ignore[attr-defined]
        return method

    return note
