"""What the commands share that configure sources."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from explain.rendering import render
from metrics.sources import SOURCE_KINDS
from metrics.sources.base import InvalidConfig

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
