"""The recipes of docs/ci/, run for real: by act, by gitlab-ci-local, and by a shell."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.client_module import variables
from tests.processes import Installation
from tests.system_tools import ROOT, missing, output_of, run

pytestmark = [pytest.mark.e2e, pytest.mark.external]

# Made by `make setup-external`.
TOOLS = ROOT / ".venv-external"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    """Return the fenced blocks of a page of docs/ci/."""
    return [text for _, text in FENCE.findall((ROOT / "docs/ci" / page).read_text())]


def tool(name: str) -> Path:
    """Return the path of a CI runner; without it, skip the test."""
    found = next(TOOLS.glob(f"**/bin/{name}"), None) or next(TOOLS.glob(f"**/.bin/{name}"), None)
    on_path = shutil.which(name)
    if found is None and on_path is None:
        missing(f"{name} is missing: make setup-external")
    return found or Path(str(on_path))


@pytest.fixture(scope="module")
def site(installation: Installation) -> dict[str, str]:
    """A server, a poller and an endpoint, with a project that has the environment prod."""
    made = installation.project("recipes")
    url = installation.start_web()
    installation.start_poller()
    endpoint = installation.start_endpoint()
    installation.rows("UPDATE projects_environment SET metrics_endpoint = %s", f"{endpoint}/good")
    return {"SEQPULSE_URL": url, "SEQPULSE_API_KEY": made["api_key"]}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of a user: a commit with a script that deploys."""
    made = tmp_path / "shop"
    made.mkdir()
    (made / "deploy.sh").write_text("#!/bin/sh\necho deployed the shop\n")
    (made / "deploy.sh").chmod(0o755)
    commit(made)
    return made


def commit(repository: Path) -> None:
    name = ["-c", "user.name=Ana", "-c", "user.email=ana@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*name, "commit", "-qm", "Cache prices"]):
        output_of("git", *command, cwd=repository)


def latest(installation: Installation) -> Any:
    return installation.rows(
        "SELECT state, pipeline_result, commit_sha, url FROM deployments ORDER BY id DESC LIMIT 1"
    )[0]


def act(repository: Path, workflow: dict[str, Any], home: Path, **secrets: str) -> subprocess.CompletedProcess[str]:
    """Push, as GitHub Actions would run it on this machine."""
    folder = repository / ".github/workflows"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "deploy.yml").write_text(yaml.safe_dump(workflow))
    commit(repository)
    given = [part for name, text in secrets.items() for part in ("-s", f"{name}={text}")]
    # act gives every run the id 1, which is part of the idempotency key.
    given += ["--env", f"GITHUB_RUN_ID={repository.parent.name}"]
    command = [
        tool("act"),
        "push",
        "-W",
        ".github/workflows/deploy.yml",
        "-P",
        "ubuntu-latest=-self-hosted",
        "--pull=false",
    ]
    return run(*command, *given, cwd=repository, env=variables(HOME=str(home), XDG_CACHE_HOME=str(home)), timeout=120)


def with_push(text: str) -> dict[str, Any]:
    """Parse a workflow; YAML 1.1 reads its `on` as true."""
    found: dict[Any, Any] = yaml.safe_load(text)
    found["on"] = found.pop(True, None)
    return found


def test_the_composite_action_deploys_and_waits(
    installation: Installation, site: dict[str, str], repository: Path, tmp_path: Path
) -> None:
    workflow = with_push(blocks("github-actions.md")[0])
    step = workflow["jobs"]["deploy"]["steps"][1]
    step["uses"] = "./seqpulse"
    step["with"]["url"] = site["SEQPULSE_URL"]
    (repository / "seqpulse/clients").mkdir(parents=True)
    shutil.copy(ROOT / "action.yml", repository / "seqpulse")
    shutil.copy(ROOT / "clients/seqpulse.py", repository / "seqpulse/clients")
    with installation.late_expiry():
        done = act(repository, workflow, tmp_path, SEQPULSE_API_KEY=site["SEQPULSE_API_KEY"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deployed the shop" in done.stdout
    assert "The verdict is ok." in done.stdout or "The verdict is warning." in done.stdout
    assert site["SEQPULSE_API_KEY"] not in done.stdout
    assert latest(installation)[:2] == ("analyzed", "success")


def test_the_reusable_workflow_deploys_and_fails_with_its_command(
    installation: Installation, site: dict[str, str], repository: Path, tmp_path: Path
) -> None:
    workflow = with_push(blocks("github-actions.md")[1])
    job = workflow["jobs"]["deploy"]
    job["uses"] = "./.github/workflows/deploy-with-verdict.yml"
    job["with"] |= {"url": site["SEQPULSE_URL"], "run": "./deploy.sh && exit 7"}
    (repository / ".github/workflows").mkdir(parents=True)
    shutil.copy(ROOT / ".github/workflows/deploy-with-verdict.yml", repository / ".github/workflows")
    done = act(repository, workflow, tmp_path, SEQPULSE_API_KEY=site["SEQPULSE_API_KEY"])
    assert done.returncode != 0
    assert "deployed the shop" in done.stdout
    assert latest(installation)[1] == "failed"


def test_the_gitlab_template_deploys_and_passes_the_verdict_on(
    installation: Installation, site: dict[str, str], repository: Path, tmp_path: Path
) -> None:
    node = tool("node").resolve().parent
    script = tool("gitlab-ci-local")
    (repository / ".gitlab-ci.yml").write_text(blocks("gitlab-ci.md")[0])
    shutil.copy(ROOT / "clients/gitlab/seqpulse.yml", repository / "seqpulse.yml")
    output_of("git", "remote", "add", "origin", "git@gitlab.example:shop/shop.git", cwd=repository)
    commit(repository)
    path = f"{node}{os.pathsep}{os.environ['PATH']}"
    given = [part for name, text in site.items() for part in ("--variable", f"{name}={text}")]
    with installation.late_expiry():
        done = run(
            script,
            "--force-shell-executor",
            *given,
            cwd=repository,
            timeout=120,
            env=variables(PATH=path, HOME=str(tmp_path)),
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deployed the shop" in done.stdout
    assert re.search(r"The verdict is (ok|warning)\.", done.stdout)
    assert latest(installation)[:2] == ("analyzed", "success")


def shell(text: str, directory: Path, **values: str) -> subprocess.CompletedProcess[str]:
    return run("bash", "-e", "-c", text, cwd=directory, env=variables(**values), timeout=120)


@pytest.mark.parametrize("number", [0, 1])
def test_the_shell_recipes_deploy_and_wait(
    installation: Installation, site: dict[str, str], repository: Path, number: int
) -> None:
    with installation.late_expiry():
        done = shell(blocks("shell.md")[number], repository, **site)
    assert done.returncode == 0, done.stdout + done.stderr
    assert latest(installation)[:2] == ("analyzed", "success")


def test_octopus_and_circleci_wait_by_the_client_and_by_the_gate(
    installation: Installation, site: dict[str, str], repository: Path
) -> None:
    values = {
        "SeqPulse.Url": site["SEQPULSE_URL"],
        "SeqPulse.ApiKey": site["SEQPULSE_API_KEY"],
        "Octopus.Environment.Name": "prod",
        "Octopus.Deployment.Id": "Deployments-7",
        "Octopus.Release.Number": "1.2.3",
    }
    # Octopus defines this function in every script.
    cases = "\n".join(f"  {json.dumps(name)}) echo {json.dumps(text)} ;;" for name, text in values.items())
    function = f'get_octopusvariable() {{ case "$1" in\n{cases}\nesac; }}\n'
    with installation.late_expiry():
        for text in blocks("octopus.md"):
            done = shell(function + text, repository)
            assert done.returncode == 0, done.stdout + done.stderr
        config, gate = blocks("circleci.md")
        steps = yaml.safe_load(config)["jobs"]["deploy"]["steps"]
        command = next(step["run"] for step in steps if isinstance(step, dict))
        ci = {"CIRCLECI": "true", "CIRCLE_WORKFLOW_JOB_ID": "job", "CIRCLE_SHA1": "fedcba9876543210"}
        for text in (command["command"], gate):
            done = shell(text, repository, **site, **ci, **command["environment"])
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("page", "revision"), [("argo-cd.md", "abcdef12"), ("flux.md", "7c1f2a0")])
def test_the_jobs_of_argo_cd_and_flux_trigger_and_wait(
    installation: Installation, site: dict[str, str], tmp_path: Path, page: str, revision: str
) -> None:
    jobs = [document for document in documents(page) if document["kind"] == "Job"]
    assert len(jobs) == 2
    with installation.late_expiry():
        for number, job in enumerate(jobs):
            [container] = job["spec"]["template"]["spec"]["containers"]
            # Each job has a container, and so a directory, of its own.
            own = tmp_path / str(number)
            own.mkdir()
            script = container["args"][0].replace("/tmp/", f"{own}/")  # noqa: S108  (the path in the document)
            # In the recipe for Argo CD a template does this.
            given = {"REVISION": revision} | {each["name"]: each["value"] for each in container.get("env", [])}
            done = run(*container["command"], script, cwd=own, env=variables(**given, **site), timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr
    assert latest(installation)[:3] == ("analyzed", "success", revision)


def documents(page: str) -> list[Any]:
    """Return the YAML documents of a page."""
    return [document for text in blocks(page) for document in yaml.safe_load_all(text)]


# Custom resources, by the packages that have their schemas (make setup-external).
MODELS = {"argoproj.io": "argo-rollouts", "kustomize.toolkit.fluxcd.io": "flux-cd"}
VALIDATE = """
const [path, text] = process.argv.slice(1);
const document = JSON.parse(text);
const models = await import(path);
new models[document.kind](document).validate();
"""


@pytest.mark.parametrize("page", ["argo-cd.md", "flux.md", "argo-rollouts.md"])
def test_manifests_follow_the_schemas_of_their_resources(page: str, tmp_path: Path) -> None:
    found = documents(page)
    assert found
    for document in found:
        group, _, version = document["apiVersion"].rpartition("/")
        if group in MODELS:
            package = TOOLS / "node_modules/@kubernetes-models" / MODELS[group]
            path = package / group / version / "index.js"
            command = [tool("node"), "--input-type=module", "-e", VALIDATE, path, json.dumps(document)]
        else:
            manifest = tmp_path / "manifest.json"
            manifest.write_text(json.dumps(document))
            command = [tool("kubernetes-validate"), "--version", "1.30", "--strict", manifest]
        output_of(*command)


PARSE = """
import sys
from groovy_parser.parser import parse_groovy_content
parse_groovy_content(sys.stdin.read())
"""


def test_the_jenkinsfile_is_groovy_with_the_sections_of_a_declarative_pipeline() -> None:
    [text] = blocks("jenkins.md")
    python = tool("check-jsonschema").parent / "python"
    assert run(python, "-c", PARSE, input=text).returncode == 0
    assert run(python, "-c", PARSE, input=text.replace("{", "{ {", 1)).returncode != 0
    outline = re.sub(r"'[^']*'", "''", text)
    assert re.fullmatch(
        r"pipeline \{ agent any environment \{( \w+ = (''|credentials\(''\)))+ \}"
        r" stages \{( stage\(''\) \{ steps \{( sh '')+ \} \})+ \} \}",
        " ".join(outline.split()),
    )


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.github-actions", "action.yml"),
        ("vendor.github-workflows", ".github/workflows/deploy-with-verdict.yml"),
        ("vendor.github-workflows", ("github-actions.md", 0)),
        ("vendor.github-workflows", ("github-actions.md", 1)),
        ("vendor.gitlab-ci", "clients/gitlab/seqpulse.yml"),
        ("vendor.gitlab-ci", ("gitlab-ci.md", 0)),
        ("vendor.circle-ci", ("circleci.md", 0)),
        ("vendor.bitbucket-pipelines", ("bitbucket.md", 0)),
    ],
)
def test_recipes_follow_the_published_schemas(schema: str, file: str | tuple[str, int], tmp_path: Path) -> None:
    path = ROOT / file if isinstance(file, str) else tmp_path / "recipe.yml"
    if not isinstance(file, str):
        path.write_text(blocks(file[0])[file[1]])
    output_of(tool("check-jsonschema"), "--builtin-schema", schema, path)
