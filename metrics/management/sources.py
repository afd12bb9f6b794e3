"""What the commands share that configure sources."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from explain.rendering import render
from metrics.sources import SOURCE_KINDS
from metrics.sources.base import InvalidConfig
from projects.models import Environment

KINDS = [kind.name for kind in SOURCE_KINDS]


def config_from(text: str) -> Any:
    """Return the JSON of an option, or of the file that it names with @. Raises CommandError."""
    try:
        return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except OSError as error:
        raise CommandError(f"{text[1:]}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise CommandError(f"The settings have to be JSON: {error}") from None


def in_words(error: InvalidConfig) -> str:
    """Return what is wrong with a configuration, by the path of the field."""
    return "\n".join(f"{path}: {render(fact)}" for path, fact in error.errors.items())


def environment_named(project: str, name: str) -> Environment:
    """Return the environment of a project by its name or id. Raises CommandError."""
    rows = Environment.objects.not_deleted().select_related("project").filter(name=name)
    found = [row for row in rows if project in (row.project.name, str(row.project.uuid))]
    if len(found) > 1:
        raise CommandError(f"--project: {len(found)} projects are named {project!r}. Give the id of one.")
    if not found:
        raise CommandError(f"There is no environment {name!r} of a project {project!r}.")
    return found[0]
