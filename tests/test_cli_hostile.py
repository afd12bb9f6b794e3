"""The command line client against servers that are away, busy, slow or not SeqPulse at all, in one process."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.tests.endpoints import Quiet, running
from tests.client_module import FOREIGN, load, variables
from tests.processes import closed_port, wait_for
from tests.system_tools import ROOT

pytestmark = pytest.mark.integration

ID = "5f0c2a3e-0000-4000-8000-000000000000"
KEY = "sp_of-the-test"
PAUSE_S = 0.3
VERDICT: dict[str, Any] = {
    "verdict": "ok",
    "gate": "pass",
    "conclusive": True,
    "confidence": 0.9,
    "summary": "Nothing changed.",
    "checks": [{"metric": "error_rate", "rule": "level", "outcome": "ok", "baseline": 0.0, "observed": 0.01}],
    "hints": [{"title": "A title", "cause": "a cause", "actions": ["Do this"]}],
}
PENDING: dict[str, Any] = {
    "gate": "pending",
    "state": "finished",
    "samples": {"collected": 1, "expected": 5},
    "verdict": None,
    "levels": {"error_rate": {"before": 0.0, "after": 0.25}},
}
BUSY = {"error": {"message": "Too many calls"}, "gate": "pending"}
Reply = tuple[int, dict[str, str], bytes]


def reply(status: int, body: Any, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return status, {"Content-Type": "application/json", **named}, content


PASS = reply(200, VERDICT)
PAGE = reply(200, b"<!doctype html><title>Sign in</title>", Content_Type="text/html")
DROPPED: Reply = (0, {}, b"")
# Answered with 202 after as many seconds as the call waits.
HELD: Reply = (-3, {}, b"")
# Sent byte by byte, and never all of it.
DRIP: Reply = (-1, {}, b"")
HEADER_DRIP: Reply = (-2, {}, b"")


class Server:
    """Answers in this order, the last one for ever. seen: method, path and key of each call; at: when it arrived."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.seen: list[tuple[str, str, str | None]] = []
        self.at: list[float] = []
        self.bodies: list[Any] = []
        self.over = threading.Event()
        self.url = ""

    def answer(self, *replies: Reply) -> None:
        self.replies, self.seen, self.at, self.bodies = list(replies), [], [], []

    def serve(self, request: Any) -> None:
        self.at.append(time.monotonic())
        self.bodies.append(json.loads(request.rfile.read(int(request.headers.get("Content-Length") or 0)) or b"null"))
        self.seen.append((request.command, request.path, request.headers.get("X-API-Key")))
        status, headers, body = self.replies[min(len(self.seen), len(self.replies)) - 1]
        request.close_connection = True
        if status == 0:
            return
        if status == HELD[0]:
            self.over.wait(float(request.path.partition("wait=")[2]))
            status, headers, body = reply(202, PENDING)
        if status < 0:
            self.drip(request, b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 999\r\n\r\n" if status == -1 else b"X-A: "))
            return
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def drip(self, request: Any, head: bytes) -> None:
        try:
            request.wfile.write(head)
            while not self.over.wait(0.1):
                request.wfile.write(b"1")
        except OSError:
            return


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()

    class Handler(Quiet):
        def do_GET(self) -> None:  # noqa: N802  (the name that http.server calls)
            made.serve(self)

        do_POST = do_GET  # noqa: N815  (as above)

    with running(Handler) as url:
        made.url = url
        yield made
        made.over.set()


@pytest.fixture
def call(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run the client here, with shorter pauses: its exit code, standard output and standard error."""
    module = load()
    monkeypatch.setattr(module, "PAUSE_S", PAUSE_S)
    monkeypatch.setattr(module, "CALL_S", 0.5)
    monkeypatch.setattr(module, "HOLD_S", 1)
    monkeypatch.chdir(tmp_path)
    for name in [*module.os.environ]:
        if name.startswith(("SEQPULSE_", "http", "HTTP", *FOREIGN)):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SEQPULSE_API_KEY", KEY)
    monkeypatch.setenv("SEQPULSE_URL", server.url)
    monkeypatch.setenv("SEQPULSE_ENV", "prod")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = module.main(list(arguments))
        except SystemExit as end:
            code = int(end.code or 0)
        shown = capfd.readouterr()
        assert KEY not in shown.out + shown.err
        return code, shown.out, shown.err

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


WAIT = ("wait", "--deployment", ID, "--retry-for", "2")


def test_the_gate_waits_through_trouble_and_never_spins(server: Server, call: Any) -> None:
    server.answer(
        *(reply(429, BUSY, Retry_After="1"), DROPPED, reply(202, PENDING, Retry_After="0"), reply(503, b"<html>")),
        *(HELD, reply(202, PENDING), PASS),
    )
    code, out, err = call(*WAIT)
    assert code == 0, err
    assert "SeqPulse: OK (90 % confidence)" in out
    assert "Too many calls; asking again in 1 s" in err
    assert "1 of 5 samples; so far error_rate 25 % (before 0 %); gives up in" in err
    # As they arrive, those for what is shown meanwhile included.
    assert len(server.at) == 7
    gaps = [later - earlier for earlier, later in zip(server.at, server.at[1:], strict=False)]
    assert min(gaps) >= PAUSE_S
    assert gaps[0] >= 1


@pytest.mark.parametrize(
    ("replies", "code", "words", "calls"),
    [
        ([reply(409, {"error": {"message": "It was superseded"}, "gate": "none"})], 30, "It was superseded", 1),
        ([reply(202, PENDING, Retry_After="3600")], 30, "1 of 5 samples", 1),
        ([reply(429, BUSY, Retry_After="3600")], 30, "Too many calls", 1),
        ([PAGE], 40, "instead of SeqPulse's JSON", 1),
        ([reply(200, [1, 2])], 40, "instead of SeqPulse's JSON", 1),
        ([reply(200, b'{"gate": "maybe"}')], 40, "instead of SeqPulse's JSON", 1),
        ([reply(200, b"[" * 100_000)], 40, "instead of SeqPulse's JSON", 1),
        ([reply(200, b"\xff\xfe")], 40, "instead of SeqPulse's JSON", 1),
        ([reply(200, b'"' + b"x" * 9_000_000 + b'"')], 40, "larger than 8 MiB", 1),
        ([reply(302, b"", Location="https://evil.example/")], 40, "redirects to https://evil.example/", 1),
        ([reply(404, b"<html>", Content_Type="text/html")], 3, "not from SeqPulse", 1),
        ([reply(401, {"error": {"message": "This API key is not known"}})], 3, "This API key is not known", 1),
        ([DRIP], 40, "no complete answer within", 1),
        ([HEADER_DRIP], 40, "no complete answer within", 1),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
def test_an_answer_that_is_no_verdict_ends_in_clear_words(
    server: Server, call: Any, replies: list[Reply], code: int, words: str, calls: int
) -> None:
    server.answer(*replies)
    found, out, err = call("wait", "--deployment", ID, "--retry-for", "0.1", "--timeout", "5")
    assert (found, len(server.seen)) == (code, calls), err
    assert words in err
    assert "Traceback" not in err
    assert out == ""


def test_unreachable_fails_unless_it_may_pass(call: Any, tmp_path: Path) -> None:
    with closed_port() as port:
        away = ("--url", f"http://127.0.0.1:{port}", "--retry-for", "0")
        assert call("wait", "--deployment", ID, *away)[0] == 40
        assert call("run", *away, "--", "touch", "ran")[0] == 40
        assert not (tmp_path / "ran").exists()
        lenient = (*away, "--on-unreachable", "pass")
        assert call("wait", "--deployment", ID, *lenient)[0] == 0
        assert call("run", *lenient, "--", "touch", "ran")[0] == 0
        assert (tmp_path / "ran").exists()
        assert call("run", *lenient, "--", "sh", "-c", "exit 5")[0] == 5
        # The steps after a trigger that went on without SeqPulse have nothing to do.
        assert call("trigger", *lenient)[0] == 0
    for step in (("finish", "success"), ("wait",), ("status",), ("explain",)):
        code, _, err = call(*step)
        assert code == 0
        assert "nothing to do" in err


def test_a_proxy_that_does_not_answer_is_named_without_its_password(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as port:
        monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "127.0.0.2")
        code, _, err = call("status", "--url", "http://seqpulse.example", "--retry-for", "0")
        assert code == 40
        assert f"Connection refused (through the proxy 127.0.0.1:{port})" in err
        assert "secret" not in err
        assert "proxy" not in call("status", "--url", f"http://127.0.0.2:{port}", "--retry-for", "0")[2]


def test_the_server_is_asked_for_the_deployment_of_the_key(server: Server, call: Any) -> None:
    server.answer(reply(200, {"results": [{"deployment_id": ID}]}), PASS)
    assert call("wait", "--key", "run-1")[0] == 0
    assert [path for _, path, _ in server.seen] == [
        "/deployments?idempotency_key=run-1&limit=1&environment=prod",
        f"/deployments/{ID}/verdict?wait={PAUSE_S:.0f}",
    ]
    server.answer(reply(200, {"results": []}), reply(200, {"results": [{"deployment_id": ID}]}), reply(200, {}))
    code, _, err = call("wait", "--key", "run-2")
    assert (code, len(server.seen)) == (30, 1)
    assert "key, run-2: call trigger first, or pass --deployment" in err
    # To look at: the latest one.
    server.answer(reply(200, {"results": []}), reply(200, {"results": [{"deployment_id": ID}]}), reply(200, {}))
    assert call("status", "--key", "run-2")[0] == 0
    assert server.seen[1][1] == "/deployments?limit=1&environment=prod"


def test_a_trigger_is_repeated_with_the_same_key(server: Server, call: Any, tmp_path: Path) -> None:
    server.answer(reply(503, b"", Retry_After="1"), reply(200, {"deployment_id": ID, "status": "created", "number": 7}))
    code, _, err = call("trigger")
    assert code == 0, err
    assert [(method, path, key) for method, path, key in server.seen] == 2 * [("POST", "/deployments/trigger", KEY)]
    assert (tmp_path / ".seqpulse-deployment").read_text().strip() == ID
    for nonsense in ({"deployment_id": "../x"}, {}, {"deployment_id": {"a": 1}}):
        server.answer(reply(200, nonsense))
        assert call("trigger")[0] == 40


def test_lost_output_changes_neither_the_exit_code_nor_what_is_done(server: Server, tmp_path: Path) -> None:
    given = variables(SEQPULSE_URL=server.url, SEQPULSE_API_KEY=KEY, SEQPULSE_ENV="prod")
    bad = reply(200, {**VERDICT, "verdict": "rollback_recommended", "gate": "fail"})

    def code_of(redirection: str, *arguments: str) -> int:
        words = ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, str(ROOT / "clients" / "seqpulse.py")]
        return subprocess.run(
            [*words, *arguments], env=given, cwd=tmp_path, stdout=writer, stderr=writer, timeout=30, check=False
        ).returncode

    reader, writer = os.pipe()
    os.close(reader)
    try:
        server.answer(bad)
        for redirection in ("", ">/dev/full", ">&- 2>&-"):
            assert code_of(redirection, *WAIT) == 20, redirection
        server.answer(reply(200, {"deployment_id": ID}), reply(200, {"status": "accepted"}), bad)
        assert code_of("", "run", "--", "touch", "ran") == 20
    finally:
        os.close(writer)
    assert (tmp_path / "ran").exists()


def test_options_are_the_fields_of_the_call(server: Server, call: Any, tmp_path: Path) -> None:
    (tmp_path / "seqpulse.toml").write_text("[policy]\n")
    given = {
        "--key": ("idempotency_key", "run-1"),
        "--branch": ("branch", "main"),
        "--commit": ("commit_sha", "abcdef1"),
        "--message": ("commit_message", "Cache prices"),
        "--author": ("author", "Ana"),
        "--committed-at": ("committed_at", "2026-11-30T12:00:00Z"),
        "--build-url": ("url", "https://ci.example/1"),
        "--version": ("version", "1.2"),
        "--kind": ("kind", "rollback"),
        "--settle": ("settle_seconds", 30),
        "--endpoint": ("metrics_endpoint", "https://shop.example/metrics"),
        "--reason": ("reason", "hotfix"),
        "--env": ("env", "other"),
    }
    server.answer(reply(200, {"deployment_id": ID}))
    options = [word for option, (_, value) in given.items() for word in (option, str(value))]
    code, _, err = call("trigger", *options, "--force", "--policy", "seqpulse.toml")
    assert code == 0, err
    expected = {**dict(given.values()), "force": True, "policy": "[policy]\n", "wait_for_pre": True}
    assert server.bodies == [expected]


def test_who_started_the_run_is_the_author_of_a_commit_of_which_nothing_else_is_known(
    server: Server, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"CIRCLECI": "true", "CIRCLE_WORKFLOW_JOB_ID": "job", "CIRCLE_USERNAME": "bo"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    server.answer(reply(200, {"deployment_id": ID}))
    assert call("trigger")[0] == call("trigger", "--author", "Ana")[0] == 0
    assert [body["author"] for body in server.bodies] == ["bo", "Ana"]


def test_a_trigger_that_is_interrupted_is_finished_by_its_key(server: Server, tmp_path: Path) -> None:
    server.answer(DRIP, reply(200, {"status": "accepted", "deployment_id": ID}))
    given = variables(SEQPULSE_URL=server.url, SEQPULSE_API_KEY=KEY, SEQPULSE_ENV="prod")
    with subprocess.Popen(
        [sys.executable, ROOT / "clients" / "seqpulse.py", "run", "--json", "--key", "run-1", "--", "touch", "ran"],
        env=given,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: server.seen, "the trigger")
        process.terminate()
        answer, said = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert json.loads(answer) == {"error": {"message": "stopped by SIGTERM"}, "exit_code": 143}
    assert server.bodies[1:] == [{"result": "cancelled", "env": "prod", "idempotency_key": "run-1"}]
    assert not (tmp_path / "ran").exists()


# The client with short periods, as a process of its own.
SHORT = f"""
import sys
sys.path.insert(0, {str(ROOT / "clients")!r})
import seqpulse
seqpulse.COMMAND_S, seqpulse.FINISH_S = 0.3, 1.5
sys.exit(seqpulse.main())
"""


@pytest.mark.parametrize(
    ("script", "finish", "said"),
    [
        # It ends long after it was reported.
        ("trap '' TERM; touch ready; sleep 1; touch ended", reply(200, {"status": "accepted"}), "finish (cancelled)"),
        ("touch ready; exec sleep 60", DRIP, "finish (cancelled) did not succeed within 1.5 s of the signal"),
        ("touch ready; exec sleep 60", reply(503, BUSY, Retry_After="60"), "did not succeed"),
    ],
    ids=["a command that goes on", "a server that drips", "a server that is busy"],
)
def test_finish_is_tried_soon_after_a_signal(
    server: Server, tmp_path: Path, script: str, finish: Reply, said: str
) -> None:
    server.answer(reply(200, {"deployment_id": ID}), finish)
    with subprocess.Popen(
        [sys.executable, "-c", SHORT, "run", "--", "sh", "-c", script],
        env=variables(SEQPULSE_URL=server.url, SEQPULSE_API_KEY=KEY, SEQPULSE_ENV="prod"),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for((tmp_path / "ready").exists, "the command")
        process.terminate()
        wait_for(lambda: len(server.bodies) > 1, "finish")
        assert server.bodies[1] == {"deployment_id": ID, "result": "cancelled"}
        assert not (tmp_path / "ended").exists()
        _, text = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM, text
    assert "SIGTERM: the command has 0.3 s to end" in text
    assert said in text
    assert len(server.bodies) == 2


STRANGE: list[dict[str, Any]] = [
    {"checks": "x", "hints": 7, "summary": {"a": 1}, "confidence": "high", "policy": None},
    {
        "checks": [1, None, {"metric": None, "observed": "x", "baseline": True, "limit": 1e999}],
        "hints": [{"actions": 5}],
    },
    {"health": [], "basis": "x", "quality": {"issues": {}}, "verdict": ["ok"], "confidence": float("inf")},
    {
        "summary": "\ud800 \x1b[2J\n:::error::x ###vso[x]",
        "checks": [{"sentence": "##vso[task.complete]"}],
        "shadow": "yes",
    },
]


def test_a_verdict_of_strange_values_is_shown_all_the_same(server: Server, call: Any) -> None:
    for strange in STRANGE:
        server.answer(reply(200, {**VERDICT, **strange}))
        for command in ("wait", "explain"):
            code, out, err = call(command, "--deployment", ID)
            assert code == 0, err
            assert "\x1b" not in out
            assert "\n::error" not in out
            assert "##vso" not in out
        server.answer(reply(200, {**VERDICT, **strange}))
        assert json.loads(call("wait", "--json", "--deployment", ID)[1])["exit_code"] == 0
    server.answer(reply(200, {"number": [], "commit_message": 5, "samples": 3}))
    assert call("status", "--deployment", ID)[0] == 0


def test_wrong_usage_ends_with_2_and_names_the_setting(
    call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong: list[tuple[tuple[str, ...], dict[str, str], str]] = [
        ((), {}, "COMMAND"),
        (("walk",), {}, "walk"),
        (("wait", "--fail-on", "ok"), {}, "--fail-on"),
        (("wait", "--timeout", "-1"), {}, "--timeout"),
        (("wait", "--deployment", "7"), {}, "not the id"),
        (("run",), {}, "COMMAND"),
        (("trigger",), {"SEQPULSE_ENV": ""}, "SEQPULSE_ENV"),
        (("wait",), {"SEQPULSE_URL": ""}, "SEQPULSE_URL"),
        (("wait",), {"SEQPULSE_URL": "seqpulse.example"}, "SEQPULSE_URL is seqpulse.example, but"),
        (("wait",), {"SEQPULSE_URL": "http://sé.example"}, "SEQPULSE_URL"),
        (("wait",), {"SEQPULSE_URL": "file:///etc/passwd"}, "SEQPULSE_URL"),
        (("wait",), {"SEQPULSE_URL": "https://user:pass@seqpulse.example"}, "SEQPULSE_URL"),
        (("wait",), {"SEQPULSE_URL": "https://[::1"}, "SEQPULSE_URL"),
        (("wait",), {"SEQPULSE_API_KEY": ""}, "SEQPULSE_API_KEY"),
        (("wait",), {"SEQPULSE_API_KEY": "sp_x\r\nHost: y"}, "SEQPULSE_API_KEY"),
        (("wait",), {"SEQPULSE_FAIL_ON": "sometimes"}, "SEQPULSE_FAIL_ON"),
        (("wait", "--key-file", "missing"), {}, "--key-file"),
        (("wait", "--key-file", "empty"), {}, "empty is empty"),
        (("wait", "--key-file", "utf-16"), {}, "no text in UTF-8"),
        (("trigger", "--policy", "missing"), {}, "--policy"),
        (("finish",), {}, "RESULT"),
    ]
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "utf-16").write_text(KEY, encoding="utf-16")
    for arguments, env, words in wrong:
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            code, _, err = call(*arguments)
        assert code == 2, (arguments, env, err)
        assert words in err, (arguments, env, err)
        assert "Traceback" not in err


def test_a_key_file_that_others_can_read_is_warned_of(server: Server, call: Any, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sp_from-the-file\r\n", encoding="utf-8-sig")
    for mode, warned in ((0o644, True), (0o600, False)):
        path.chmod(mode)
        server.answer(PASS)
        code, out, err = call(*WAIT, "--key-file", str(path))
        assert code == 0
        assert ("chmod 600" in err) is warned
        assert server.seen[0][2] == "sp_from-the-file"
        assert "sp_from-the-file" not in out + err


def test_ci_systems_get_annotations_summaries_and_outputs(
    server: Server, call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bad = {**VERDICT, "verdict": "rollback_recommended", "gate": "fail", "summary": "25 % fail\n::warning::x <b>"}
    summary, outputs, dotenv = (tmp_path / name for name in ("summary", "outputs", "dotenv"))
    with monkeypatch.context() as patch:
        for name, value in {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": summary, "GITHUB_OUTPUT": outputs}.items():
            patch.setenv(name, str(value))
        server.answer(reply(200, bad))
        code, out, err = call(*WAIT, "--json", "--dotenv", str(dotenv))
    assert code == 20
    assert json.loads(out)["exit_code"] == 20
    [annotation] = [line for line in err.splitlines() if line.startswith("::")]
    assert annotation.startswith("::error title=SeqPulse::ROLLBACK RECOMMENDED (90 %25")
    assert "| error\\_rate | 0 % | 1 % | – | ok |" in summary.read_text()
    assert "<b>" not in summary.read_text()
    assert f"deployment_id={ID}\n" in outputs.read_text()
    assert "verdict=rollback_recommended\n" in outputs.read_text()
    assert "SEQPULSE_GATE=fail\n" in dotenv.read_text()
    with monkeypatch.context() as patch:
        patch.setenv("TF_BUILD", "True")
        patch.setenv("AGENT_TEMPDIRECTORY", str(tmp_path))
        server.answer(reply(200, bad))
        code, out, err = call(*WAIT)
    assert "##vso[task.logissue type=error]SeqPulse: ROLLBACK" in err
    [uploaded] = [line.partition("]")[2] for line in err.splitlines() if line.startswith("##vso[task.uploadsummary]")]
    assert Path(uploaded).read_text() == summary.read_text()
    agent = tmp_path / "buildkite-agent"
    agent.write_text(f'#!/bin/sh\n{{ echo "$@"; [ "$1" = meta-data ] || cat; }} >>{tmp_path}/agent.log\n')
    agent.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("BUILDKITE", "true")
        patch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        server.answer(reply(200, bad))
        assert call(*WAIT)[0] == 20
    said = (tmp_path / "agent.log").read_text()
    assert "annotate --style error --context seqpulse" in said
    assert summary.read_text() in said
