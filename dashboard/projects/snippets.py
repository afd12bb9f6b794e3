"""Code to paste into a pipeline and a service, filled in with a project's values: never with a secret.

The texts are files in templates/snippets/, in their own language. A name is always quoted as a text of that language,
whatever it contains: a name is never code.
"""

import json
import shlex
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.template import Context, Engine, Library
from django.utils.translation import gettext_lazy as _

register = Library()


@dataclass(frozen=True, slots=True)
class Snippet:
    """A text to paste. file: in templates/snippets/, with .txt appended, as templates are not valid code of their
    language; name: of the file in the user's repository."""

    key: str
    title: Any
    file: str
    name: str
    where: Any


@dataclass(frozen=True, slots=True)
class Values:
    """The values of snippets. path: of the metrics endpoint; signed: whether requests to it are."""

    url: str
    project: str
    environment: str
    path: str
    signed: bool


PIPELINES = (
    Snippet(
        "shell", _("Shell script"), "deploy.sh", "seqpulse-deploy.sh", _("For every other CI system, and by hand.")
    ),
    Snippet(
        "github",
        "GitHub Actions",
        "github.yml",
        ".github/workflows/deploy.yml",
        _("The key: Settings → Secrets and variables → Actions."),
    ),
    Snippet("gitlab", "GitLab CI", "gitlab.yml", ".gitlab-ci.yml", _("The key: Settings → CI/CD → Variables, masked.")),
    Snippet(
        "jenkins", "Jenkins", "Jenkinsfile", "Jenkinsfile", _("The key: a “Secret text” with the id seqpulse-api-key.")
    ),
    Snippet("circleci", "CircleCI", "circleci.yml", ".circleci/config.yml", _("The key: a context named seqpulse.")),
)
ENDPOINTS = (
    Snippet(
        "fastapi",
        "FastAPI, Starlette",
        "fastapi.py",
        "main.py",
        _("With the package seqpulse, which does the work, for one worker process."),
    ),
    Snippet(
        "asgi",
        "FastAPI, Starlette (ASGI)",
        "asgi.py",
        "seqpulse_metrics.py",
        _("For any number of worker processes; no further package."),
    ),
    Snippet("django", "Django", "django.py", "seqpulse_metrics.py", _("A middleware; no further package.")),
    Snippet("flask", "Flask", "flask.py", "seqpulse_metrics.py", _("For every WSGI application; no further package.")),
    Snippet("express", "Express", "express.js", "seqpulse-metrics.js", _("A middleware; no further package.")),
    Snippet("go", "Go", "metrics.go", "seqpulse/metrics.go", _("A handler around yours; standard library only.")),
)


def written(snippet: Snippet, values: Values) -> str:
    """Return the snippet filled in with these values."""
    # Templates render safe strings; this is plain text, which the page must escape.
    return "" + engine().get_template(f"{snippet.file}.txt").render(Context(asdict(values), autoescape=False))


@lru_cache
def engine() -> Engine:
    """Return an engine without HTML escaping: the page escapes the whole text."""
    directory = settings.BASE_DIR / "templates" / "snippets"
    return Engine(dirs=[str(directory)], autoescape=False, builtins=[__name__])


@register.filter
def line(text: str) -> str:
    """Return the text as one line, for a comment."""
    return "".join(character if character.isprintable() else " " for character in text)


@register.filter
def shell(text: str) -> str:
    """Quote the text as one word of a POSIX shell."""
    return shlex.quote(text)


@register.filter(name="json")
def json_text(text: str) -> str:
    """Quote the text as a string that JSON, YAML, Python, JavaScript and Go read alike."""
    quoted = json.dumps(text, ensure_ascii=False)
    # Astral characters stay: JSON escapes them as surrogate pairs, which the other languages do not join.
    return "".join(
        character if character.isprintable() or ord(character) > 0xFFFF else f"\\u{ord(character):04x}"
        for character in quoted
    )


@register.filter
def groovy(text: str) -> str:
    """Quote the text as a Groovy string without interpolation."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{''.join(c if c.isprintable() or ord(c) > 0xFFFF else f'{chr(92)}u{ord(c):04x}' for c in escaped)}'"


@register.filter
def github(text: str) -> str:
    """Escape expressions for a value of a GitHub workflow."""
    return text.replace("${{", "${{ '${{' }}")


@register.filter
def gitlab(text: str) -> str:
    """Escape dollars for a variable of GitLab CI."""
    return text.replace("$", "$$")


@register.filter
def circleci(text: str) -> str:
    """Escape parameters for a value of a CircleCI configuration."""
    return text.replace("<<", "\\<<")
