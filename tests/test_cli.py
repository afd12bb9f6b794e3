"""The command line client, as pipelines run it: a subprocess, against real and hostile servers."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.client_module import variables
from tests.processes import Installation, wait_for
from tests.system_tools import ROOT, run

pytestmark = pytest.mark.e2e

CLIENT = ROOT / "clients" / "seqpulse.py"
ID = "5f0c2a3e-0000-4000-8000-000000000000"
KEY = "sp_of-the-test"


def settings(**values: str) -> dict[str, str]:
    return variables(**{"SEQPULSE_API_KEY": KEY, "SEQPULSE_ENV": "prod", **values})


def client(directory: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, CLIENT, *arguments, env=settings(**env), cwd=directory, timeout=60)


@pytest.fixture(scope="module")
def site(installation: Installation) -> dict[str, Any]:
    """A server, a poller and an endpoint, with a project that has the environments prod and other."""
    made = installation.project("cli")
    url = installation.start_web()
    installation.start_poller()
    endpoint = installation.start_endpoint()
    installation.rows("UPDATE projects_environment SET metrics_endpoint = %s", f"{endpoint}/good")
    return {"SEQPULSE_URL": url, "SEQPULSE_API_KEY": made["api_key"]}


def test_run_drives_a_deployment_to_its_verdict_and_steps_do_the_same(
    installation: Installation, site: dict[str, str], tmp_path: Path
) -> None:
    ci = {
        "CIRCLECI": "true",
        "CIRCLE_WORKFLOW_JOB_ID": "job-1",
        "CIRCLE_BRANCH": 'feature/"x"',
        "CIRCLE_BUILD_URL": "https://ci.example/1",
        **site,
    }
    with installation.late_expiry():
        done = client(
            tmp_path, "run", "--commit", "abcdef1", "--author", "Ana", "--", "sh", "-c", "echo deployed", **ci
        )
    assert done.returncode == 0, done.stderr
    assert "deployed\n" in done.stdout
    [(branch, key, sha, author, url, verdict)] = installation.rows(
        "SELECT branch, idempotency_key, commit_sha, author, url, verdict FROM deployments"
        " JOIN deployment_verdicts ON deployment_id = deployments.id"
    )
    assert (branch, key, sha, author, url) == ('feature/"x"', "job-1", "abcdef1", "Ana", "https://ci.example/1")
    assert f"SeqPulse: {verdict.upper()}" in done.stdout
    assert "error_rate" in done.stdout
    assert site["SEQPULSE_API_KEY"] not in done.stdout + done.stderr
    # The same key: the same deployment. What is finished stays as it is.
    again = client(tmp_path, "trigger", **ci)
    assert again.returncode == 0
    assert "is known already" in again.stderr
    assert client(tmp_path, "finish", "failed", **ci).returncode == 0
    waited = client(tmp_path, "wait", "--json", **ci)
    answer = json.loads(waited.stdout)
    assert (answer["verdict"], answer["exit_code"]) == (verdict, 0)
    # Without the file of the id the key of the run finds it.
    (tmp_path / ".seqpulse-deployment").unlink()
    assert json.loads(client(tmp_path, "wait", "--json", **ci).stdout)["deployment_id"] == answer["deployment_id"]
    assert f"verdict      {verdict}" in client(tmp_path, "status", **site).stdout
    explained = client(tmp_path, "explain", **site)
    assert explained.returncode == 0
    assert all(check["sentence"] in explained.stdout for check in answer["checks"])
    # Without a deployment.
    verified = client(tmp_path, "verify", "--reason", "flag on", "--wait", "--json", **site)
    assert (verified.returncode, json.loads(verified.stdout)["verdict"]) == (0, "ok"), verified.stderr
    assert "verification #2 begins in prod" in verified.stderr
    # Change the verdict of the same deployment.
    installation.rows("UPDATE deployment_verdicts SET verdict = 'rollback_recommended', conclusive = true")
    assert client(tmp_path, "wait", **ci).returncode == 20
    assert client(tmp_path, "wait", "--fail-on", "never", **ci).returncode == 0


def test_the_client_is_served_and_runs_from_a_pipe(
    installation: Installation, site: dict[str, str], tmp_path: Path
) -> None:
    served = requests.get(f"{site['SEQPULSE_URL']}/cli/seqpulse.py", timeout=10)
    assert served.content == CLIENT.read_bytes()
    assert served.headers["Content-Type"].startswith("text/x-python")
    etag = served.headers["ETag"]
    assert hashlib.sha256(served.content).hexdigest() in etag
    again = requests.get(served.url, headers={"If-None-Match": etag}, timeout=10)
    assert (again.status_code, again.content) == (304, b"")
    assert requests.head(served.url, timeout=10).status_code == 200
    piped = run(sys.executable, "-", "status", env=settings(**site), cwd=tmp_path, input=served.text)
    assert piped.returncode == 0, piped.stderr
    assert "in prod" in piped.stdout


def test_samples_are_pushed_once_each(installation: Installation, tmp_path: Path) -> None:
    made = installation.project("pushed by the client")
    site = {"SEQPULSE_URL": installation.site, "SEQPULSE_API_KEY": made["api_key"], "SEQPULSE_ENV": "prod"}
    at = f"{time.time() - 60:.0f}"
    sample = ("error_rate=0.01", "latency_p95=120", "checkouts=42")
    for known in ("1 of 1 samples are stored", "known already"):
        pushed = client(tmp_path, "push", "--time", at, *sample, **site)
        assert pushed.returncode == 0, pushed.stderr
        assert known in pushed.stderr
    lines = "\n".join(json.dumps({"at": time.time() - number, "error_rate": 0}) for number in range(1, 1201))
    (tmp_path / "samples.jsonl").write_text(lines)
    several = client(tmp_path, "push", "--file", "samples.jsonl", "--json", **site)
    assert several.returncode == 3, several.stderr
    answer = json.loads(several.stdout)
    assert 590 < answer["taken"] < 602
    assert "more than 10 minutes ago" in several.stderr
    for arguments, words in (
        ((), "NAME=VALUE"),
        (("error_rate",), "NAME=NUMBER"),
        (("error_rate=x",), "NAME=NUMBER"),
        (("--file", "samples.jsonl", "error_rate=1"), "NAME=VALUE"),
        (("--file", "nowhere"), "cannot be read"),
    ):
        wrong = client(tmp_path, "push", *arguments, **site)
        assert (wrong.returncode, words in wrong.stderr) == (2, True), wrong.stderr
    refused = client(tmp_path, "push", "error_rate=7", **site)
    assert (refused.returncode, "error_rate" in refused.stderr) == (3, True)


# --- what may go wrong


def test_a_failed_command_is_told_and_its_own_status_returned(
    installation: Installation, site: dict[str, str], tmp_path: Path
) -> None:
    failed = client(tmp_path, "run", "--json", "--", "sh", "-c", "echo out; exit 7", **site)
    assert failed.returncode == 7, failed.stderr
    assert json.loads(failed.stdout)["command_status"] == 7
    assert "out\n" in failed.stderr
    [(result,)] = installation.rows("SELECT pipeline_result FROM deployments ORDER BY id DESC LIMIT 1")
    assert result == "failed"
    assert client(tmp_path, "run", "--", "no-such-command-here", **site).returncode == 127


@pytest.mark.parametrize(("number", "handled"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_signals_reach_the_command_and_finish_is_sent(
    installation: Installation, site: dict[str, str], tmp_path: Path, number: int, handled: bool
) -> None:
    script = (
        "trap 'exit 3' INT TERM; touch ready; while :; do sleep 0.05; done" if handled else "touch ready; exec sleep 60"
    )
    with subprocess.Popen(
        [sys.executable, CLIENT, "run", "--", "sh", "-c", script],
        env=settings(**site),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for((tmp_path / "ready").exists, "the command")
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == (3 if handled else 128 + number), said
    assert "finish (cancelled)" in said
    [(result,)] = installation.rows("SELECT pipeline_result FROM deployments ORDER BY id DESC LIMIT 1")
    assert result == "cancelled"


def test_a_freeze_ends_with_50_and_force_with_a_reason_passes(
    installation: Installation, site: dict[str, str], tmp_path: Path
) -> None:
    installation.rows(
        "INSERT INTO projects_freeze (team_id, reason, time_zone) SELECT team_id, 'black friday', 'UTC'"
        " FROM projects_project WHERE name = 'cli'"
    )
    try:
        frozen = client(tmp_path, "run", "--", "touch", "ran", **site)
        assert frozen.returncode == 50
        assert "black friday" in frozen.stderr
        assert not (tmp_path / "ran").exists()
        forced = client(tmp_path, "trigger", "--force", "--reason", "hotfix", **site)
        assert forced.returncode == 0, forced.stderr
        joined = client(tmp_path, "trigger", "--control", "https://old.example/m", **site)
        assert "still running" in joined.stderr and "control group of this call is not taken" in joined.stderr
        assert client(tmp_path, "finish", "cancelled", **site).returncode == 0
    finally:
        installation.rows("DELETE FROM projects_freeze")


def test_what_the_server_refuses_ends_with_3_in_its_words(site: dict[str, str], tmp_path: Path) -> None:
    for arguments, words in (
        (("trigger", "--env", "nowhere"), "nowhere"),
        (("wait", "--deployment", ID), "HTTP 404"),
        (("finish", "success", "--deployment", ID), "no such deployment"),
        (("finish", "sideways", "--deployment", ID), "result"),
    ):
        done = client(tmp_path, *arguments, **site)
        assert done.returncode == 3, (arguments, done.stderr)
        assert words in done.stderr
    wrong = client(tmp_path, "trigger", **{**site, "SEQPULSE_API_KEY": "sp_wrong-key"})
    assert wrong.returncode == 3
    assert "API key" in wrong.stderr
    assert "sp_wrong-key" not in wrong.stderr


def test_a_stepwise_rollout_beside_a_control_group(
    installation: Installation, site: dict[str, str], tmp_path: Path
) -> None:
    [(endpoint,)] = installation.rows(
        "SELECT DISTINCT metrics_endpoint FROM projects_environment WHERE metrics_endpoint <> ''"
    )
    with installation.late_expiry():
        assert client(tmp_path, "trigger", "--control", endpoint, **site).returncode == 0
        begun = client(tmp_path, "step", "--percent", "25", "--seconds", "2", "--json", **site)
        assert (begun.returncode, json.loads(begun.stdout)["next"]) == (0, "wait")
        judged = client(tmp_path, "step", "--percent", "25", "--wait", **site)
        assert judged.returncode == 0, judged.stderr
        assert "step to 25 %: continue" in judged.stderr
        assert "SeqPulse:" in judged.stdout
        refused = client(tmp_path, "step", "--percent", "5", **site)
        assert refused.returncode == 3
        assert "has to rise" in refused.stderr
        done = client(tmp_path, "finish", "success", "--green", endpoint, **site)
    assert "is measured at" in done.stderr
    groups = installation.rows('SELECT phase, "group" FROM metric_samples WHERE phase = %s GROUP BY 1, 2', "step")
    problem = installation.rows("SELECT control_problem FROM deployments WHERE control_problem IS NOT NULL")
    assert sorted(group for _, group in groups) == ["control", "treatment"], problem
