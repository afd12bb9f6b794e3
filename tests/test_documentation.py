"""Documents agree with the repository: links resolve, the version has a changelog entry, YAML files parse."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

from tests.system_tools import ROOT

SKIPPED = {".venv", ".venv-bench", ".venv-client", ".venv-external", "var", "build", "node_modules"}
DOCUMENTS = sorted(
    path.relative_to(ROOT) for path in ROOT.rglob("*.md") if SKIPPED.isdisjoint(path.relative_to(ROOT).parts)
)
YAML_FILES = [".pre-commit-config.yaml", *(str(p.relative_to(ROOT)) for p in (ROOT / ".github").rglob("*.yml"))]
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def headings(document: Path) -> set[str]:
    """Return the anchors of a document's headings, formed as GitHub does."""
    lines = FENCE.sub("", document.read_text()).splitlines()
    titles = [line.lstrip("#").strip() for line in lines if re.match(r"#{1,6} ", line)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_relative_link_resolves(document: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", (ROOT / document).read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / document).parent / name if name else ROOT / document
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(link)
    assert not broken


def test_the_index_names_every_document() -> None:
    index = (ROOT / "docs/README.md").read_text()
    folder = ROOT / "docs"
    documents = {str(path.relative_to(folder)) for path in folder.rglob("*.md")} - {"README.md"}
    assert documents - set(LINK.findall(index)) == set()


def test_the_latest_changelog_entry_is_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    found = re.search(r"^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found is not None and found[1] == version
    date.fromisoformat(found[2])


@pytest.mark.parametrize("name", YAML_FILES)
def test_repository_settings_are_valid_yaml(name: str) -> None:
    assert isinstance(yaml.safe_load((ROOT / name).read_text()), dict)


def test_ci_runs_what_a_contributor_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]


def test_the_architecture_document_has_the_layers_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    text = (ROOT / "docs/architecture/README.md").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("explain ←")]
    written = [re.sub("[{}]", "", part).replace(", ", " | ") for part in reversed(line.split(" ← "))]
    assert written == layers
    assert all(f"| `{package}/` |" in text for layer in layers for package in layer.split(" | "))
