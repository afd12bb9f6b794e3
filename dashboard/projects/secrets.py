"""The page that shows a new key or secret once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from projects.models import Environment, Project


@dataclass(frozen=True, slots=True)
class Shown:
    """A secret: its id on the page, its kind, and under which name to store it where."""

    id: str
    label: Any
    secret: str = field(repr=False)
    name: str
    where: Any


def shown_once(
    request: HttpRequest,
    *,
    title: Any,
    project: Project,
    shown: Sequence[Shown],
    onward: tuple[str, Any],
    environment: Environment | None = None,
    note: Any = "",
) -> HttpResponse:
    """Show new secrets in the answer to the request that created them, and nowhere else.

    Messages and sessions would store the secret. Caches must not keep the page, so the calling view is `never_cache`.
    """
    context = {
        "title": title,
        "project": project,
        "environment": environment,
        "shown": shown,
        "onward": onward,
        "note": note,
    }
    return render(request, "dashboard/projects/shown_once.html", context)
