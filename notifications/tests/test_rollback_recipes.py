"""docs/rollback.md, run for real: receiver and commands as processes, the tools as recorders on PATH."""

import base64
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from django.conf import settings
from django.test import override_settings

from deployments.models import Deployment
from notifications.channels.webhook import signature
from notifications.models import RollbackAttempt
from notifications.rollbacks.attempts import approve
from notifications.rollbacks.policies import send_test, set_policy
from notifications.tests.test_rollbacks import SECRET, prepared
from projects.models import Environment
from scheduler.tests.kinds import wait_until
from scheduler.tests.pollers import running_poller
from tests.client_module import load
from tests.processes import free_port

pytestmark = pytest.mark.django_db(transaction=True)

TOOLS = ("gh", "curl", "kubectl", "helm", "argocd", "seqpulse.py")
HOSTILE = '-x\'"; touch "$(id)" `id` $HOME && @/etc/passwd\n--help é'
RUN = "https://github.com/owner/shop/actions/runs/4711"
# Records its arguments; the client then runs the command after --.
RECORDER = """#!{python}
import json, os, sys
with open({log!r}, "a") as log:
    log.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if "--" in sys.argv:
    command = sys.argv[sys.argv.index("--") + 1 :]
    os.execvp(command[0], command)
"""


class Scene:
    """A directory with the receiver, the command, and the tools."""

    def __init__(self, home: Path) -> None:
        text = (Path(settings.BASE_DIR) / "docs/rollback.md").read_text()
        [receiver] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        self.recipes = {name_of(one): one for one in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)}
        self.home, self.log = home, home / "log"
        self.port = free_port()
        (home / "receiver.py").write_text(receiver)
        (home / "bin").mkdir()
        for tool in TOOLS:
            self.script(f"bin/{tool}", RECORDER.format(python=sys.executable, log=str(self.log)))
        variables = {
            **os.environ,
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "ROLLBACK_SECRET": SECRET,
            "ROLLBACK_COMMAND": str(home / "roll_back"),
            "TRIGGER_TOKEN": "t0ken",
            "PORT": str(self.port),
        }
        self.process = subprocess.Popen(
            [sys.executable, "receiver.py"], cwd=home, env=variables, stderr=subprocess.PIPE, text=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def script(self, name: str, text: str) -> None:
        path = self.home / name
        # A shell reads on in its script until the end: that of the recipe before must not read this one.
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def use(self, recipe: str) -> None:
        """Install a command of the documents, by the tool that it calls."""
        wrapped = recipe in ("kubectl", "helm", "argocd")
        self.script("steps" if wrapped else "roll_back", self.recipes[recipe])
        if wrapped:
            self.script("roll_back", self.recipes["seqpulse.py"])
        self.log.write_text("")

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def wait_for_calls(self, count: int) -> None:
        wait_until(lambda: len(self.calls()) >= count)


def name_of(recipe: str) -> str:
    return next(tool for tool in TOOLS if re.search(rf"^(exec )?{re.escape(tool)} ", recipe, re.MULTILINE))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    try:
        wait_until(lambda: reachable(made.url))
        with override_settings(SEQPULSE_OUTBOUND_ALLOW="127.0.0.0/8"):
            yield made
    finally:
        made.process.terminate()
        made.process.communicate(timeout=10)


def reachable(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).status_code == 501
    except requests.ConnectionError:
        return False


def expected(environment: str, commit: str) -> dict[str, list[list[str]]]:
    """Return the calls of each recipe."""
    inside = f"--namespace={environment}"
    pipeline = "https://gitlab.example.com/api/v4/projects/42/trigger/pipeline"
    forms = [f"--form-string={one}" for one in ("token=t0ken", "ref=main", f"variables[ROLL_BACK_TO]={commit}")]
    curl = ["curl", "--fail", "--request", "POST", *(part for one in forms for part in one.split("=", 1)), pipeline]
    return {
        "gh": [["gh", "run", "rerun", "4711", "--repo", "owner/shop"]],
        "curl": [curl],
        "kubectl": [
            ["kubectl", "rollout", "undo", "deployment/shop", inside],
            ["kubectl", "rollout", "status", "deployment/shop", inside, "--timeout=5m"],
        ],
        "helm": [["helm", "rollback", "shop", inside, "--wait", "--timeout=5m"]],
        "argocd": [
            ["argocd", "app", "sync", "shop", f"--revision={commit}"],
            ["argocd", "app", "wait", "shop", "--health", "--timeout=300"],
        ],
    }


def roll_back(bad: Deployment) -> None:
    approve(bad, who="ana", via="page")
    wait_until(lambda: RollbackAttempt.objects.get(deployment=bad).state == "sent")


def test_each_command_of_the_documents_is_called_as_its_tool_expects(scene: Scene) -> None:
    client = load().parser()
    assert set(scene.recipes) == set(TOOLS)
    with running_poller():
        for recipe, calls in expected(HOSTILE, HOSTILE).items():
            scene.use(recipe)
            bad = prepared("ask", scene.url)
            Deployment.objects.filter(environment=bad.environment, number=1).update(
                commit_sha=HOSTILE, url=f"{RUN}/attempts/2"
            )
            Environment.objects.filter(pk=bad.environment_id).update(name=HOSTILE)
            roll_back(bad)
            wrapped = recipe not in ("gh", "curl")
            scene.wait_for_calls(len(calls) + wrapped)
            found = scene.calls()
            if wrapped:
                given = client.parse_args(found.pop(0)[1:])
                assert (given.command, given.kind, given.env) == ("run", "rollback", HOSTILE)
                assert given.commit_sha == HOSTILE
            assert found == calls, recipe
    assert sorted(path.name for path in scene.home.iterdir()) == [
        *("bin", "log", "receiver.py", "roll_back", "rolled-back", "steps")
    ]


def test_commands_without_what_they_need_do_nothing(scene: Scene) -> None:
    variables = {**os.environ, "PATH": f"{scene.home / 'bin'}:{os.environ['PATH']}", "TRIGGER_TOKEN": "t"}
    for recipe, url in (("gh", ""), ("gh", f"{RUN}x"), ("gh", "https://ci.example/-R"), ("curl", RUN), ("argocd", RUN)):
        scene.use(recipe)
        path = scene.home / ("steps" if recipe == "argocd" else "roll_back")
        done = subprocess.run([path, "prod", "", url], env=variables, capture_output=True, check=False)
        assert done.returncode != 0 and not scene.calls(), recipe


def test_the_receiver_takes_what_we_sign_and_starts_nothing_twice(scene: Scene) -> None:
    scene.use("helm")
    bad = prepared("ask", scene.url)
    assert send_test(bad.environment).sent.status == 204
    set_policy(bad.environment, mode="ask", secret="whsec_" + base64.b64encode(b"another").decode())
    assert send_test(bad.environment).sent.status == 401

    def answer(body: bytes, age_s: int = 0, secret: str = SECRET, **changed: str) -> Any:
        headers = {"webhook-id": "one", **signature(secret, "one", body, int(time.time()) - age_s)} | {
            name.replace("_", "-"): value for name, value in changed.items()
        }
        return requests.post(scene.url, data=body, headers=headers, timeout=5).status_code

    request = {"type": "rollback.requested", "deployment": {"id": str(uuid4())}, "environment": {"name": "prod"}}
    body = json.dumps({**request, "return_to": None}).encode()
    forged = [
        {"age_s": 301},
        {"age_s": -310},
        {"secret": "whsec_AAAA"},
        *({"webhook_signature": value} for value in ("", "v1,", "v1,é".encode().decode("latin-1"), "v2,x")),
        *({"webhook_timestamp": value} for value in ("", "NaN", "9" * 40)),
        {"webhook_id": "two"},
    ]
    assert {answer(body, **change) for change in forged} == {401}  # type: ignore[arg-type]
    assert not list((scene.home / "rolled-back").iterdir()) and not scene.calls()
    assert [answer(body) for _ in range(3)] == [202, 200, 200]
    scene.wait_for_calls(2)  # the client, and helm
    assert scene.process.poll() is None
