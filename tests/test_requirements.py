"""Lock files: base.txt is sufficient to run."""

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Not installed for running: tests, benchmarks, translation.
DEVELOPMENT = {"tests", "benchmarks", "conftest.py", "makemessages.py"}


def pins(lock: str) -> set[str]:
    """Return the lines `name==version` of a lock file, with their conditions."""
    return set(re.findall(r"^\S+==[^\\\n]*", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))


def imported() -> Iterator[tuple[str, str]]:
    """Yield file and top-level package of every import in code that runs in production or in the demo."""
    for path in ROOT.rglob("[a-z_]*.py"):
        parts = path.relative_to(ROOT).parts
        if parts[0].startswith((".", "var", "build")) or DEVELOPMENT & set(parts):
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            yield from (("/".join(parts), name.partition(".")[0]) for name in names)


def test_code_that_runs_imports_only_what_running_installs() -> None:
    base = {pin.partition("==")[0] for pin in pins("base.txt")}
    owners = importlib.metadata.packages_distributions()
    found = set(imported())
    assert ("seqpulse/command_line.py", "django") in found
    foreign = {
        (path, package)
        for path, package in found
        if package not in sys.stdlib_module_names
        and not any((ROOT / name).exists() for name in (package, f"{package}.py"))
        and not base & {re.sub("[-_.]+", "-", owner).lower() for owner in owners.get(package, [])}
    }
    assert not foreign


def test_what_tests_install_contains_what_running_installs() -> None:
    # ops/install.sh keeps a test environment when only base.txt is needed.
    assert pins("base.txt") <= pins("dev.txt")
