"""What people paste into their pipeline and their service, filled in with a project's values: never with a secret.

The texts are files in templates/snippets/, in the language that they are of. Whatever a name contains, it arrives there
as that language's own text: a name is never code.
"""

from __future__ import annotations

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
    """A text to be pasted: the file in templates/snippets/ (with .txt behind it: as long as it is filled in, it is none
    of its language) and the name that it gets in the user's repository."""

    key: str
    title: Any
    file: str
    name: str
    where: Any


@dataclass(frozen=True, slots=True)
class Values:
    """What snippets are filled in with. path: of the metrics endpoint; signed: whether requests to it are."""

    url: str
    project: str
    environment: str
    path: str
    signed: bool


@dataclass(frozen=True, slots=True)
class Written:
    snippet: Snippet
    text: str


SCRIPT = Snippet(
    "curl", "curl", "seqpulse.sh", "seqpulse.sh", _("The script that all of them call; it needs only curl.")
)
PIPELINES = (
    SCRIPT,
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
        "fastapi", "FastAPI, Starlette", "fastapi.py", "main.py", _("With the package seqpulse, which does the work.")
    ),
    Snippet("django", "Django", "django.py", "seqpulse_metrics.py", _("A middleware; no further package.")),
    Snippet("flask", "Flask", "flask.py", "seqpulse_metrics.py", _("For every WSGI application; no further package.")),
    Snippet("express", "Express", "express.js", "seqpulse-metrics.js", _("A middleware; no further package.")),
    Snippet("go", "Go", "metrics.go", "seqpulse/metrics.go", _("A handler around yours; standard library only.")),
)


def written(snippet: Snippet, values: Values) -> Written:
    """The snippet with these values."""
    # What a template renders counts as safe; this is plain text, which the page has to escape.
    text = "" + engine().get_template(f"{snippet.file}.txt").render(Context(asdict(values), autoescape=False))
    return Written(snippet, text)


@lru_cache
def engine() -> Engine:
    """Nothing is escaped for HTML here: the page does that with the whole text."""
    directory = settings.BASE_DIR / "templates" / "snippets"
    return Engine(dirs=[str(directory)], autoescape=False, builtins=[__name__])


@register.filter
def line(text: str) -> str:
    """For a comment: on one line, whatever is in it."""
    return "".join(character if character.isprintable() else " " for character in text)


@register.filter
def shell(text: str) -> str:
    """As one word of a POSIX shell."""
    return shlex.quote(text)


@register.filter(name="json")
def json_text(text: str) -> str:
    """As a text in double quotes that JSON, YAML, Python, JavaScript and Go read alike."""
    quoted = json.dumps(text, ensure_ascii=False)
    # Astral characters stay: what JSON makes of them, two halves, the others would not put together again.
    return "".join(
        character if character.isprintable() or ord(character) > 0xFFFF else f"\\u{ord(character):04x}"
        for character in quoted
    )


@register.filter
def groovy(text: str) -> str:
    """As a text in single quotes, in which Groovy replaces nothing."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{''.join(c if c.isprintable() or ord(c) > 0xFFFF else f'{chr(92)}u{ord(c):04x}' for c in escaped)}'"


@register.filter
def github(text: str) -> str:
    """For a value of a GitHub workflow: an expression in it is text."""
    return text.replace("${{", "${{ '${{' }}")


@register.filter
def gitlab(text: str) -> str:
    """For a variable of GitLab CI: a dollar in it is one."""
    return text.replace("$", "$$")


@register.filter
def circleci(text: str) -> str:
    """For a value of a CircleCI configuration: no parameter begins in it."""
    return text.replace("<<", "\\<<")
