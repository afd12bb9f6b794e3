"""Sentences are rendered from facts where they are shown; no module reads them back."""

import ast
from collections.abc import Iterator

import pytest
from django.conf import settings

# Attributes that hold a rendered text, and functions that return one.
TEXTS = {"last_error", "shown_error", "message", "messages", "sentence", "summary", "title", "cause", "impact"}
RENDERERS = {"render", "localized", "message"}
READERS = {"partition", "rpartition", "split", "startswith", "endswith", "removeprefix", "removesuffix", "find"}
READERS |= {"match", "search", "fullmatch", "findall", "finditer", "sub"}
APPS = (
    "accounts",
    "analysis",
    "common",
    "dashboard",
    "deployments",
    "metrics",
    "outbound",
    "projects",
    "scheduler",
    "notifications",
)


def is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in TEXTS
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    return node.func.id in RENDERERS or ast.unparse(node) == "str(error)"


def places(source: str) -> Iterator[int]:
    """Yield the lines in which a rendered text is taken apart or searched."""
    for node in ast.walk(ast.parse(source)):
        read: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS:
            read = [node.func.value, *node.args]
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            read = node.comparators
        if isinstance(node, ast.expr) and any(map(is_text, read)):
            yield node.lineno


@pytest.mark.parametrize("app", APPS)
def test_no_module_parses_rendered_text(app: str) -> None:
    modules = [
        path
        for path in (settings.BASE_DIR / app).rglob("*.py")
        if "tests" not in path.relative_to(settings.BASE_DIR).parts
    ]
    assert len(modules) > 2
    assert [f"{path}:{line}" for path in modules for line in places(path.read_text(encoding="utf-8"))] == []


def test_what_would_parse_rendered_text_is_found() -> None:
    for source in ('field = error.message.partition(":")', "re.match(p, job.last_error)", '"x" in str(error)'):
        assert list(places(source)) == [1]
