#!/usr/bin/env python3
"""Command line client of SeqPulse: reports deployments, and waits for the verdict.

    seqpulse.py run --env prod -- ./deploy.sh     trigger, run the command, finish with its result, wait
    seqpulse.py trigger | finish RESULT | wait    the same in parts
    seqpulse.py step --percent 25 --wait          a step of a rollout: whether to go on
    seqpulse.py push error_rate=0.01 queue=12     a sample, where the service is measured by what it sends
    seqpulse.py status | explain                  what is known of a deployment, what its verdict rests on

Needs Python 3.8 or newer and nothing else. Settings: SEQPULSE_URL, SEQPULSE_API_KEY, SEQPULSE_ENV.

Exit codes: 0 passed, 2 usage, 3 refused by the server, 10 warning (--fail-on warning), 20 rollback recommended,
30 no verdict (not in time, superseded, abandoned), 40 unreachable, 50 frozen; `run` ends with the status of its command
where that failed.
"""

from __future__ import annotations

import argparse
import calendar
import contextlib
import email.utils
import functools
import json
import os
import queue
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Tuple

VERSION = "1.0"
PASSED, USAGE, REFUSED, WARNING, ROLLBACK, NO_VERDICT, UNREACHABLE, FROZEN = 0, 2, 3, 10, 20, 30, 40, 50

HOLD_S = 60  # the longest that the server holds a call
PAUSE_S = 20  # between two calls while waiting, at least
ARRIVES_S = 1  # within which a call reaches the server
CALL_S = 30  # for one call, beside what the server holds it
# CI systems kill a cancelled job 10 s after the signal, some of them with a second signal in between.
COMMAND_S = 3  # after a signal, until the command is reported as cancelled although it goes on
FINISH_S = 4  # after a signal, for all calls of finish
FIRST_PAUSE_S = 1.0  # before a call is repeated
MAX_BODY = 8 * 1024 * 1024
METRICS = ("requests_per_sec", "latency_p95", "error_rate", "cpu_usage", "memory_usage")
# The server takes so many a call.
SAMPLES_AT_ONCE = 1000
ERRORS_SHOWN = 10
ON_UNREACHABLE, FAIL_ON = ("pass", "fail"), ("warning", "rollback", "never")
ID_FILE = ".seqpulse-deployment"
# In the file of the id: the trigger went on without SeqPulse.
NOTHING = "none"

Json = Dict[str, Any]


class Failed(Exception):
    """The command ends with this exit code. answer: of the server, for --json."""

    def __init__(self, code: int, message: str, answer: Optional[Json] = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.answer = answer


class Stopped(BaseException):
    """A signal asked the client to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


# --- values of an answer: nothing is taken for granted


def clean(value: Any, limit: int = 2000) -> str:
    """Return a text of the server as one harmless line: no control characters, no commands to a CI's log."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)
    text = "".join(c if c.isprintable() else " " for c in text[: 4 * limit])
    text = " ".join(text.split())[:limit]
    return re.sub(r"([#:])(?=\1)", r"\1 ", text)


def items(answer: Json, name: str) -> List[Json]:
    """Return the objects of a list."""
    found = answer.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def part(answer: Json, name: str) -> Json:
    """Return an object inside an answer."""
    found = answer.get(name)
    return found if isinstance(found, dict) else {}


def texts(answer: Json, name: str) -> List[str]:
    """Return the texts of a list, each as one harmless line."""
    found = answer.get(name)
    return [clean(one) for one in found] if isinstance(found, list) else []


def number(value: Any) -> Optional[float]:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
        return None
    return float(value)


# --- the screen


def write(text: str, stream: Any, end: str = "\n") -> None:
    """Print at once. What cannot be printed is dropped, so that it changes neither what is done nor the exit code."""
    if stream is None:  # closed by whoever started the client
        return
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError:
        # The reader has gone, or the disk is full. Else the interpreter would fail at its end, with the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


class Screen:
    """Prints results on standard output, and everything else on standard error. Colours only on a terminal."""

    CODES = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.live = is_terminal(sys.stderr)
        self.line = ""
        self.printed = ""
        self.colours = is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")

    def colour(self, name: str, text: str) -> str:
        return f"\033[{self.CODES[name]}m{text}\033[0m" if self.colours and name else text

    def note(self, text: str) -> None:
        """Print a line for people."""
        self.clear()
        write(f"seqpulse: {text}", sys.stderr)

    def show(self, text: str = "") -> None:
        """Print a line of the result, which --json replaces."""
        self.clear()
        if not self.as_json:
            write(text, sys.stdout)

    def progress(self, text: str, stable: str) -> None:
        """Show the state of waiting: in place on a terminal, else as a line whenever `stable` changes."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            write("\r\033[K" + text[:width], sys.stderr, end="")
            self.line = text
        elif stable != self.printed:
            self.printed = stable
            write(f"seqpulse: {text}", sys.stderr)

    def clear(self) -> None:
        if self.line:
            write("\r\033[K", sys.stderr, end="")
            self.line = ""

    def json(self, answer: Json, code: int) -> None:
        if self.as_json:
            # Azure reads a command anywhere in a line.
            write(json.dumps({**answer, "exit_code": code}, indent=2).replace("##", "#\\u0023"), sys.stdout)


# --- calls


class Answer(NamedTuple):
    """What came: the status, the JSON object (None where the body is none), and Retry-After in seconds."""

    status: int
    body: Optional[Json]
    retry_after: Optional[float]
    what: str


class NoAnswer(Exception):
    """No usable answer came. final: another call will not change that."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


# What to do about errors of TLS.
HINTS = (
    ("CERTIFICATE_VERIFY_FAILED", "; for an authority of your own set SSL_CERT_FILE to the file of its certificate"),
    ("WRONG_VERSION_NUMBER", "; does the server speak https at this port?"),
)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the key would go wherever an answer says."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Server:
    """The server, called with the key; one connection per call."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key
        self.opener = urllib.request.build_opener(NoRedirect)
        self.until: Optional[float] = None

    def page(self, deployment: str) -> str:
        return f"{self.url}/dashboard/deployments/{deployment}/"

    def hurry(self) -> None:
        """Have all calls end soon, those in progress as well: the client is about to be killed."""
        self.until = time.monotonic() + FINISH_S

    def rest(self, pause_s: float) -> None:
        """Sleep before another try, which comes at once in a hurry. In steps: a signal does not end a sleep."""
        ends, until = time.monotonic() + pause_s, self.until
        while time.monotonic() < ends and self.until == until:
            time.sleep(max(0.01, min(0.2, ends - time.monotonic())))

    def within(self, deadline: float) -> float:
        """Return the deadline, or the earlier one of a client in a hurry."""
        return deadline if self.until is None else min(deadline, self.until)

    def call(
        self, path: str, body: Optional[Json] = None, hold_s: float = 0, tick: Optional[Callable[[], None]] = None
    ) -> Answer:
        """Call once. Raises NoAnswer.

        The call runs in a thread: no timeout of a socket bounds a name that is not resolved or an answer that drips.
        tick: called about every second meanwhile.
        """
        done: queue.Queue[Any] = queue.Queue()
        begun = time.monotonic()
        deadline = begun + hold_s + CALL_S

        def work() -> None:
            try:
                done.put(self._call(path, body, self.within(deadline)))
            except NoAnswer as error:
                done.put(error)
            except Exception as error:  # whatever a library raises about an answer
                done.put(NoAnswer(self.words(error)))

        threading.Thread(target=work, daemon=True).start()
        while True:
            ends = self.within(deadline)
            try:
                found = done.get(timeout=max(0.01, min(1.0, ends - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= ends:
                    raise NoAnswer(f"no complete answer within {ends - begun:.0f} s") from None
                if tick is not None:
                    tick()
                continue
            if isinstance(found, NoAnswer):
                raise found
            return found  # type: ignore[no-any-return]  # of any JSON

    def words(self, error: Exception) -> str:
        """Return an error of a library in words. It never holds the key, which is only in a header."""
        reason = getattr(error, "reason", None) or error
        text = re.sub(r"^\[Errno -?\d+\] | \(_ssl\.c:\d+\)$", "", str(reason).replace(self.key, "***"))
        text = clean(text) or type(error).__name__
        text += next((hint for mark, hint in HINTS if mark in text), "")
        return f"{text} (through the proxy {self.proxy})" if self.proxy else text

    @property
    def proxy(self) -> str:
        """The proxy of the environment for this server, without its password; "" where there is none."""
        parts = urllib.parse.urlsplit(self.url)
        proxy = urllib.request.getproxies().get(parts.scheme, "")
        if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
            return ""
        return clean(proxy.rpartition("@")[2], 200)

    def _call(self, path: str, body: Optional[Json], deadline: float) -> Answer:
        headers = {"X-API-Key": self.key, "Accept": "application/json", "User-Agent": f"seqpulse-cli/{VERSION}"}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(self.url + path, data=data, headers=headers)
        try:
            response = self.opener.open(request, timeout=max(1.0, deadline - time.monotonic()))
        except urllib.error.HTTPError as error:
            response = error
        with response:
            status, head = response.code, response.headers
            if 300 <= status < 400:
                target = clean(head.get("Location"), 200) or "another address"
                advice = f"if that is SeqPulse, set SEQPULSE_URL to {target}"
                if not re.match("(?i)https?://", target):
                    advice = "SEQPULSE_URL is the address of SeqPulse without the path of a page"
                raise NoAnswer(f"it redirects to {target}: {advice}", final=True)
            raw = self._read(response, deadline)
        what = clean(head.get("Content-Type"), 60) or "no content type"
        return Answer(status, parsed(raw), retry_after_of(head.get("Retry-After")), what)

    def _read(self, response: Any, deadline: float) -> bytes:
        pieces: List[bytes] = []
        size = 0
        while True:
            piece = response.read1(65536)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY:
                raise NoAnswer(f"the answer is larger than {MAX_BODY // 1024 // 1024} MiB", final=True)
            if time.monotonic() > deadline:
                raise NoAnswer("the answer came too slowly")


def parsed(raw: bytes) -> Optional[Json]:
    """Return the JSON object of a body, None where it is none."""
    try:
        found = json.loads(raw.decode("utf-8"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def retry_after_of(text: Any) -> Optional[float]:
    """Return Retry-After in seconds: a number or a date."""
    text = str(text or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def said(answer: Answer) -> str:
    """Return the server's words of a refusal."""
    body = answer.body or {}
    return clean(part(body, "error").get("message") or body.get("detail") or body.get("message"))


def trouble(answer: Answer) -> str:
    """Return why to ask again, in words."""
    return f"HTTP {answer.status}: {said(answer) or answer.what}"


def refused(answer: Answer) -> Failed:
    """Return the end of the command for an answer with 4xx."""
    body = answer.body
    if body is None:
        return Failed(REFUSED, f"HTTP {answer.status} with {answer.what}, not from SeqPulse: is SEQPULSE_URL right?")
    if answer.status == 423:
        until = clean(part(part(body, "error"), "fields").get("until"), 60)
        advice = " (here: --force --reason TEXT)"
        return Failed(FROZEN, f"{said(answer) or 'deployments are frozen ' + until}{advice}", body)
    return Failed(REFUSED, f"refused with HTTP {answer.status}: {said(answer) or 'no reason given'}", body)


def foreign(answer: Answer) -> NoAnswer:
    return NoAnswer(
        f"HTTP {answer.status} with {answer.what} instead of SeqPulse's JSON: is SEQPULSE_URL right, "
        "or does a proxy answer?",
        final=True,
    )


def found_in(answer: Answer) -> Optional[Json]:
    """Return the body of an answer with 200, None where to ask again (408, 429, 5xx). Raises Failed, NoAnswer."""
    if answer.status == 200 and answer.body is not None:
        return answer.body
    if answer.status < 400:
        raise foreign(answer)
    if answer.status < 500 and answer.status not in (408, 429):
        raise refused(answer)
    return None


def verdict_in(answer: Answer) -> Optional[Json]:
    """Return the verdict of an answer, None where to ask again: it is pending, or as `found_in`."""
    body = answer.body
    if answer.status == 202 and body is not None:
        return None
    if answer.status == 409 and body is not None:
        raise Failed(NO_VERDICT, f"there will be no verdict: {said(answer)}", body)
    found = found_in(answer)
    if found is not None and found.get("gate") not in ("pass", "fail"):
        raise foreign(answer)
    return found


def step_in(answer: Answer) -> Optional[Json]:
    """Return the judged step of an answer, None where to ask again."""
    if answer.status == 202 and answer.body is not None:
        return None
    found = found_in(answer)
    if found is not None and found.get("next") not in ("continue", "rollback"):
        raise foreign(answer)
    return found


def begun_in(answer: Answer) -> Optional[Json]:
    """Return the step of an answer, whether it is judged or not; None where to ask again."""
    return answer.body if answer.status == 202 and answer.body is not None else step_in(answer)


def ask(
    server: Server,
    path: str,
    patience_s: float,
    body: Optional[Json] = None,
    *,
    read: Callable[[Answer], Optional[Json]] = found_in,
) -> Json:
    """Call until `read` returns something; where it returns None, and where no answer came, again. Raises Failed.

    Whatever is called this way may be repeated: a trigger has a key, a second finish is ignored.
    """
    deadline = time.monotonic() + patience_s
    pause = FIRST_PAUSE_S
    while True:
        wanted = 0.0
        try:
            answer = server.call(path, body)
            found = read(answer)
            if found is not None:
                return found
            problem = trouble(answer)
            wanted, code = answer.retry_after or 0.0, REFUSED if answer.status == 429 else UNREACHABLE
        except NoAnswer as error:
            problem, code = str(error), UNREACHABLE
            if error.final:
                raise Failed(UNREACHABLE, f"{server.url} cannot be used: {error}") from None
        pause = max(wanted, pause)
        if time.monotonic() + pause > server.within(deadline):
            text = "refused" if code == REFUSED else f"{server.url} cannot be reached"
            raise Failed(code, f"{text}: {problem}")
        # Longer each time, for a server that starts or is overloaded.
        server.rest(pause)
        pause = min(pause * 2, 20.0)


# --- what the CI system says


class Build(NamedTuple):
    """A run of a pipeline: which CI system, and the fields of trigger that it knows.

    started_by: who started it, the author of a commit of which nothing says who wrote it.
    """

    system: str
    fields: Dict[str, str]
    started_by: str = ""


def joined(*parts: Optional[str]) -> str:
    """Join the parts of a key; "" where the first one is missing."""
    return "-".join(one for one in parts if one) if parts and parts[0] else ""


def branch_of(ref: str) -> str:
    return re.sub(r"^refs/(heads|tags)/|^origin/", "", ref)


# Each reads what the documentation describes, named above it. "started_by": see Build.


# https://docs.github.com/en/actions/reference/workflows-and-actions/variables
def github(env: Dict[str, str]) -> Dict[str, str]:
    commit: Json = {}
    # Without the file git says what the commit is.
    with contextlib.suppress(OSError), open(env.get("GITHUB_EVENT_PATH") or "", "rb") as file:
        commit = part(parsed(file.read(MAX_BODY)) or {}, "head_commit")
    if commit.get("id") != env.get("GITHUB_SHA"):
        commit = {}
    run, attempt = env.get("GITHUB_RUN_ID", ""), env.get("GITHUB_RUN_ATTEMPT") or "1"
    site = f"{env.get('GITHUB_SERVER_URL', '')}/{env.get('GITHUB_REPOSITORY', '')}"
    return {
        "idempotency_key": joined(run, attempt),
        "branch": env.get("GITHUB_HEAD_REF") or env.get("GITHUB_REF_NAME", ""),
        "commit_sha": env.get("GITHUB_SHA", ""),
        "commit_message": str(commit.get("message") or ""),
        "author": str(part(commit, "author").get("name") or ""),
        "committed_at": str(commit.get("timestamp") or ""),
        "started_by": env.get("GITHUB_TRIGGERING_ACTOR") or env.get("GITHUB_ACTOR", ""),
        "url": f"{site}/actions/runs/{run}/attempts/{attempt}" if run else "",
    }


# https://docs.gitlab.com/ci/variables/predefined_variables/
def gitlab(env: Dict[str, str]) -> Dict[str, str]:
    return {
        "idempotency_key": env.get("CI_JOB_ID", ""),
        "branch": env.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME") or env.get("CI_COMMIT_REF_NAME", ""),
        "commit_sha": env.get("CI_COMMIT_SHA", ""),
        "commit_message": env.get("CI_COMMIT_MESSAGE") or env.get("CI_COMMIT_TITLE", ""),
        "author": re.sub(r"\s*<[^>]*>\s*$", "", env.get("CI_COMMIT_AUTHOR", "")),
        "started_by": env.get("GITLAB_USER_NAME") or env.get("GITLAB_USER_LOGIN", ""),
        "committed_at": env.get("CI_COMMIT_TIMESTAMP", ""),
        "url": env.get("CI_JOB_URL") or env.get("CI_PIPELINE_URL", ""),
    }


# https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables and /env-vars.html of each Jenkins;
# GIT_… are of the git plugin, CHANGE_… of multibranch projects, RUN_DISPLAY_URL of the display URL plugin
def jenkins(env: Dict[str, str]) -> Dict[str, str]:
    return {
        "idempotency_key": env.get("BUILD_TAG") or env.get("BUILD_URL", ""),
        "branch": env.get("CHANGE_BRANCH") or env.get("BRANCH_NAME") or env.get("GIT_BRANCH", ""),
        "commit_sha": env.get("GIT_COMMIT", ""),
        "author": env.get("CHANGE_AUTHOR_DISPLAY_NAME") or env.get("CHANGE_AUTHOR", ""),
        "url": env.get("RUN_DISPLAY_URL") or env.get("BUILD_URL", ""),
    }


# https://circleci.com/docs/reference/variables/
def circleci(env: Dict[str, str]) -> Dict[str, str]:
    fallback = joined(env.get("CIRCLE_WORKFLOW_ID"), env.get("CIRCLE_BUILD_NUM"))
    return {
        "idempotency_key": env.get("CIRCLE_WORKFLOW_JOB_ID") or fallback,
        "branch": env.get("CIRCLE_BRANCH") or env.get("CIRCLE_TAG", ""),
        "commit_sha": env.get("CIRCLE_SHA1", ""),
        "started_by": env.get("CIRCLE_USERNAME", ""),
        "url": env.get("CIRCLE_BUILD_URL", ""),
    }


# https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets/
def bitbucket(env: Dict[str, str]) -> Dict[str, str]:
    origin = env.get("BITBUCKET_GIT_HTTP_ORIGIN", "")
    if not re.match(r"https?://", origin):
        origin = f"https://bitbucket.org/{env.get('BITBUCKET_REPO_FULL_NAME', '')}"
    build = env.get("BITBUCKET_BUILD_NUMBER", "")
    run = env.get("BITBUCKET_PIPELINE_UUID", "").strip("{}") or build
    return {
        "idempotency_key": joined(run, env.get("BITBUCKET_STEP_RUN_NUMBER") or "1"),
        "branch": env.get("BITBUCKET_BRANCH") or env.get("BITBUCKET_TAG", ""),
        "commit_sha": env.get("BITBUCKET_COMMIT", ""),
        "url": f"{origin}/pipelines/results/{build}" if build else "",
    }


# https://learn.microsoft.com/azure/devops/pipelines/build/variables; of classic releases, whose BUILD_… are those of an
# artifact: https://learn.microsoft.com/azure/devops/pipelines/release/variables. Neither has BUILD_SOURCEVERSIONAUTHOR,
# but Microsoft's own tasks read it (github.com/microsoft/azure-pipelines-tasks)
def azure(env: Dict[str, str]) -> Dict[str, str]:
    site = env.get("SYSTEM_COLLECTIONURI") or env.get("SYSTEM_TEAMFOUNDATIONCOLLECTIONURI", "")
    project, build = urllib.parse.quote(env.get("SYSTEM_TEAMPROJECT", "")), env.get("BUILD_BUILDID", "")
    attempt = f"{env.get('SYSTEM_STAGEATTEMPT') or '1'}.{env.get('SYSTEM_JOBATTEMPT') or '1'}"
    key, page = joined(build, attempt), f"{site.rstrip('/')}/{project}/_build/results?buildId={build}"
    if env.get("RELEASE_RELEASEID"):
        # A stage that is deployed again has the same release, and another attempt.
        key = joined(f"release-{env['RELEASE_RELEASEID']}", env.get("RELEASE_ATTEMPTNUMBER") or "1")
        page = env.get("RELEASE_RELEASEWEBURL", "")
    return {
        "idempotency_key": key,
        "branch": env.get("SYSTEM_PULLREQUEST_SOURCEBRANCH") or env.get("BUILD_SOURCEBRANCH", ""),
        "commit_sha": env.get("BUILD_SOURCEVERSION", ""),
        "commit_message": env.get("BUILD_SOURCEVERSIONMESSAGE", ""),
        "author": env.get("BUILD_SOURCEVERSIONAUTHOR", ""),
        "started_by": env.get("RELEASE_DEPLOYMENT_REQUESTEDFOR") or env.get("BUILD_REQUESTEDFOR", ""),
        "url": page if page.startswith("http") else "",
    }


# https://buildkite.com/docs/pipelines/configure/environment-variables
def buildkite(env: Dict[str, str]) -> Dict[str, str]:
    commit, job = env.get("BUILDKITE_COMMIT", ""), env.get("BUILDKITE_JOB_ID", "")
    page = env.get("BUILDKITE_BUILD_URL", "")
    return {
        "idempotency_key": joined(env.get("BUILDKITE_BUILD_ID"), env.get("BUILDKITE_RETRY_COUNT") or "0"),
        "branch": env.get("BUILDKITE_BRANCH", ""),
        "commit_sha": "" if commit == "HEAD" else commit,
        "commit_message": env.get("BUILDKITE_MESSAGE", ""),
        "author": env.get("BUILDKITE_BUILD_AUTHOR", ""),
        "started_by": env.get("BUILDKITE_BUILD_CREATOR", ""),
        "url": f"{page}#{job}" if page and job else page,
    }


# https://docs.drone.io/pipeline/environment/reference/
def drone(env: Dict[str, str]) -> Dict[str, str]:
    # A restarted build gets a number of its own.
    return {
        "idempotency_key": joined(env.get("DRONE_BUILD_NUMBER"), env.get("DRONE_REPO")),
        "branch": env.get("DRONE_SOURCE_BRANCH") or env.get("DRONE_COMMIT_BRANCH") or env.get("DRONE_BRANCH", ""),
        "commit_sha": env.get("DRONE_COMMIT_SHA") or env.get("DRONE_COMMIT", ""),
        "commit_message": env.get("DRONE_COMMIT_MESSAGE", ""),
        "author": env.get("DRONE_COMMIT_AUTHOR_NAME") or env.get("DRONE_COMMIT_AUTHOR", ""),
        "url": env.get("DRONE_BUILD_LINK", ""),
    }


# The variables that identify a CI system, and the words of its job's result, which finish takes without RESULT.
SYSTEMS: Tuple[Tuple[str, Tuple[str, ...], Callable[[Dict[str, str]], Dict[str, str]], str], ...] = (
    ("github", ("GITHUB_ACTIONS",), github, ""),
    ("gitlab", ("GITLAB_CI",), gitlab, "CI_JOB_STATUS"),
    ("circleci", ("CIRCLECI",), circleci, ""),
    ("bitbucket", ("BITBUCKET_BUILD_NUMBER",), bitbucket, "BITBUCKET_EXIT_CODE"),
    ("azure", ("TF_BUILD",), azure, "AGENT_JOBSTATUS"),
    ("buildkite", ("BUILDKITE",), buildkite, "BUILDKITE_COMMAND_EXIT_STATUS"),
    ("drone", ("DRONE",), drone, "DRONE_BUILD_STATUS"),
    # JENKINS_URL is there only where an administrator has set it.
    ("jenkins", ("JENKINS_URL", "JENKINS_HOME"), jenkins, ""),
)


def detect(env: Dict[str, str]) -> Build:
    """Return what the variables of the CI system say. Pure but for GitHub's file of the event."""
    for name, marks, read, _ in SYSTEMS:
        if any(env.get(mark, "").lower() not in ("", "false", "0") for mark in marks):
            found = read(env)
            found["branch"] = branch_of(found.get("branch", ""))
            started_by = found.pop("started_by", "")
            return Build(name, {field: text for field, text in found.items() if text}, started_by)
    return Build("", {})


def result_of(env: Dict[str, str]) -> str:
    """Return the result of the job as the CI system says it after the job; "" where it does not."""
    variable = next((result for name, _, _, result in SYSTEMS if name == detect(env).system), "")
    text = env.get(variable, "") if variable else ""
    if text.isdigit():
        return "success" if text == "0" else "failed"
    return "" if text == "running" else text


def git(*arguments: str) -> str:
    """Return the output of git; "" where there is none."""
    try:
        done = subprocess.run(
            ["git", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").strip("\n") if done.returncode == 0 else ""


def commit_fields(known: Dict[str, str]) -> Dict[str, str]:
    """Return `known` with what git says of the commit, where the CI system does not."""
    wanted = ("commit_sha", "commit_message", "author", "committed_at")
    if all(known.get(name) for name in wanted):
        return known
    sha = known.get("commit_sha", "")
    if sha and not re.fullmatch(r"[0-9a-fA-F]{4,64}", sha):
        return known
    shown = git("log", "-1", "--format=%H%x00%B%x00%an%x00%cI", *([sha] if sha else []), "--").split("\0")
    found = dict(zip(wanted, (one.strip() for one in shown))) if len(shown) == len(wanted) else {}
    if not known.get("branch") and found:
        branch = git("rev-parse", "--abbrev-ref", "HEAD")
        found["branch"] = "" if branch == "HEAD" else branch
    return {**{name: text for name, text in found.items() if text}, **known}


# --- the verdict


def outcome(answer: Json) -> str:
    """Return ok, warning or rollback. What is not conclusive is a warning."""
    verdict = answer.get("verdict")
    if answer.get("conclusive") is False:
        return "warning"
    return {"ok": "ok", "rollback_recommended": "rollback"}.get(str(verdict), "warning")


def exit_code(answer: Json, fail_on: str) -> int:
    """Return the exit code of a verdict. In shadow mode it never fails."""
    found = outcome(answer)
    if answer.get("shadow") is True or fail_on == "never" or found == "ok":
        return PASSED
    if found == "rollback":
        return ROLLBACK
    return WARNING if fail_on == "warning" else PASSED


def level(value: Any, metric: Any) -> str:
    """Return a level of a metric with its unit."""
    found = number(value)
    if found is None:
        return "–"
    if metric in ("error_rate", "cpu_usage", "memory_usage"):
        return f"{found * 100:.3g} %"
    return f"{found:.4g}{' ms' if metric == 'latency_p95' else '/s' if metric == 'requests_per_sec' else ''}"


METRICS = ("requests_per_sec", "latency_p95", "error_rate", "cpu_usage", "memory_usage")


def standing_out(levels: Json) -> str:
    """Return the metrics whose mean is far from that before the deployment: levels only, the server judges."""
    found = []
    for metric in METRICS:
        was, now = (number(part(levels, metric).get(name)) for name in ("before", "after"))
        if was is None or now is None:
            continue
        least = 0.01 if metric == "error_rate" else 0.0
        worse = now < was / 2 if metric == "requests_per_sec" else now > 1.5 * was + least
        if worse:
            found.append(f"{metric} {level(now, metric)} (before {level(was, metric)})")
    return ", ".join(found) or ("nothing stands out" if levels else "")


def count(value: Any) -> str:
    """Return a count, which may be an estimate, as a whole number."""
    found = number(value)
    return "–" if found is None else f"{max(round(found), 1) if found > 0 else 0:,}"


HEADERS = ("check", "before", "after", "limit", "result")


def rows_of(answer: Json) -> List[Tuple[str, ...]]:
    """Return the table of checks: metric, before, after, limit, outcome. Several of a metric are told apart by rule."""
    metrics = [check.get("metric") for check in items(answer, "checks")]
    return [
        (
            clean(check.get("metric"), 40)
            + (f" ({clean(check.get('rule'), 40)})" if metrics.count(check.get("metric")) > 1 else ""),
            level(check.get("baseline"), check.get("metric")),
            level(check.get("observed"), check.get("metric")),
            level(check.get("limit"), check.get("metric")),
            clean(check.get("outcome"), 20),
        )
        for check in items(answer, "checks")
    ]


TITLES = {"ok": "OK", "warning": "WARNING", "rollback": "ROLLBACK RECOMMENDED"}
COLOURS = {"ok": "green", "warning": "yellow", "rollback": "red", "critical": "red", "skipped": "dim"}


def title_of(answer: Json) -> str:
    """Return the first words of a verdict."""
    confidence = number(answer.get("confidence"))
    samples = number(part(answer, "evidence").get("post_samples"))
    on = "" if samples is None else f" on {count(samples)} sample{'' if samples == 1 else 's'}"
    more = [] if confidence is None else [f"{confidence * 100:.0f} % confidence{on}"]
    more += ["not conclusive"] if answer.get("conclusive") is False else []
    more += ["early: before the window ended"] if answer.get("early") is True else []
    more += ["shadow mode: never fails a pipeline"] if answer.get("shadow") is True else []
    return TITLES[outcome(answer)] + (f" ({', '.join(more)})" if more else "")


def show_verdict(screen: Screen, answer: Json, page: str) -> None:
    """Print the verdict, its checks and what probably happened."""
    found = outcome(answer)
    screen.show()
    screen.show(screen.colour(COLOURS[found], f"SeqPulse: {title_of(answer)}"))
    if answer.get("summary"):
        screen.show(f"  {clean(answer.get('summary'))}")
    show_table(screen, answer)
    for hint in items(answer, "hints"):
        screen.show(f"  * {clean(hint.get('title'))}: {clean(hint.get('cause'))}")
    screen.show(f"  {page}")
    screen.show()


def show_table(screen: Screen, answer: Json) -> None:
    rows = rows_of(answer)
    if not rows:
        return
    widths = [max(len(row[i]) for row in [HEADERS, *rows]) for i in range(len(HEADERS))]
    screen.show()
    for row in [HEADERS, *rows]:
        cells = [row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3))]
        last = screen.colour("bold" if row is HEADERS else COLOURS.get(row[4], ""), row[4])
        screen.show("  " + "  ".join([*cells, last]))
    screen.show()


def explain(screen: Screen, answer: Json, page: str) -> None:
    """Print everything that a verdict rests on: checks, hints with actions, health, doubts, quality."""
    show_verdict(screen, {**answer, "hints": []}, page)
    for check in items(answer, "checks"):
        mark = clean(check.get("outcome"), 20)
        name = f"{clean(check.get('metric'), 40)} ({clean(check.get('rule'), 40)})"
        screen.show(f"  {screen.colour(COLOURS.get(mark, ''), mark):8} {name}: {clean(check.get('sentence'))}")
    for hint in items(answer, "hints"):
        screen.show()
        screen.show(screen.colour("bold", f"  {clean(hint.get('title'))} ({clean(hint.get('severity'), 20)})"))
        for name in ("cause", "impact"):
            if hint.get(name):
                screen.show(f"    {name}: {clean(hint.get(name))}")
        for name, mark in (("evidence", "-"), ("actions", "→")):
            for one in texts(hint, name):
                screen.show(f"    {mark} {one}")
    basis, health, quality = (part(answer, name) for name in ("basis", "health", "quality"))
    counted = [basis.get(name) for name in ("requests", "requests_before")]
    judged = f"{count(counted[0])} after, {count(counted[1])} before"
    lines = [f"requests judged: {judged if counted != [None, None] else 'not measured'}"]
    lines += [f"healthy now: {clean(health.get('healthy'))}"]
    lines += [f"  {clean(one.get('reason'))}" for one in items(health, "reasons")]
    lines += [f"doubt: {clean(one.get('reason'))}" for one in items(basis, "doubts")]
    lines += [f"data: {clean(one.get('message'))}" for one in items(quality, "issues")]
    screen.show()
    for line in lines:
        screen.show(f"  {line}")


# --- annotations and summaries of CI systems


def markdown(text: str) -> str:
    """Escape a text for Markdown and HTML."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#@])", r"\\\1", text)


def summary_of(answer: Json, page: str) -> str:
    """Return the verdict as Markdown."""
    lines = [f"### SeqPulse: {markdown(title_of(answer))}", "", markdown(clean(answer.get("summary"))), ""]
    rows = rows_of(answer)
    if rows:
        lines += ["| " + " | ".join(HEADERS) + " |", "|---|---:|---:|---:|---|"]
        lines += ["| " + " | ".join(markdown(cell) for cell in row) + " |" for row in rows]
        lines += [""]
    for hint in items(answer, "hints"):
        lines.append(f"- **{markdown(clean(hint.get('title')))}** {markdown(clean(hint.get('cause')))}")
        lines += [f"  - {markdown(one)}" for one in texts(hint, "actions")]
    return "\n".join([*lines, "", f"[Deployment]({page})", ""])


def append(path: Optional[str], text: str) -> None:
    """Append to a file that the CI system names; a verdict does not fail for want of it."""
    if path:
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            write(f"seqpulse: {clean(path)} cannot be written: {error.strerror}", sys.stderr)


def keep(system: str, values: Dict[str, str], dotenv: Optional[str]) -> None:
    """Hand values to later steps: outputs of GitHub and Azure, a dotenv file, Buildkite's meta-data."""
    lines = {name: clean(text, 500) for name, text in values.items()}
    env = os.environ
    if system == "github":
        append(env.get("GITHUB_OUTPUT"), "".join(f"{name}={text}\n" for name, text in lines.items()))
    if system == "azure":
        for name, text in lines.items():
            write(f"##vso[task.setvariable variable=SEQPULSE_{name.upper()};isOutput=true]{text}", sys.stderr)
    if system == "buildkite" and "deployment_id" in lines:
        agent("meta-data", "set", "seqpulse-deployment-id", lines["deployment_id"])
    append(dotenv, "".join(f"SEQPULSE_{name.upper()}={text}\n" for name, text in lines.items()))


def agent(*arguments: str, text: str = "") -> None:
    """Call Buildkite's agent, where it is there."""
    if shutil.which("buildkite-agent"):
        try:  # what Buildkite shows of a verdict does not decide on it
            subprocess.run(
                ["buildkite-agent", *arguments],
                input=text.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=20,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            pass


def annotate(system: str, answer: Json, page: str) -> None:
    """Write the verdict where the CI system shows it."""
    found, env = outcome(answer), os.environ
    text = f"{title_of(answer)}. {clean(answer.get('summary'))} {page}"
    if system == "github":
        kind = {"ok": "notice", "warning": "warning", "rollback": "error"}[found]
        escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        # On standard error: the runner reads both, and --json has standard output for itself.
        write(f"::{kind} title=SeqPulse::{escaped}", sys.stderr)
        append(env.get("GITHUB_STEP_SUMMARY"), summary_of(answer, page))
    if system == "azure":
        if found != "ok":
            kind = "error" if found == "rollback" else "warning"
            write(f"##vso[task.logissue type={kind}]SeqPulse: {text}", sys.stderr)
        directory = env.get("AGENT_TEMPDIRECTORY") or tempfile.gettempdir()
        path = os.path.join(directory, f"seqpulse-{uuid.uuid4().hex}.md")
        append(path, summary_of(answer, page))
        write(f"##vso[task.uploadsummary]{path}", sys.stderr)
    if system == "buildkite":
        style = {"ok": "success", "warning": "warning", "rollback": "error"}[found]
        agent("annotate", "--style", style, "--context", "seqpulse", text=summary_of(answer, page))


# --- commands


class Client:
    """The commands, with their options."""

    def __init__(self, options: argparse.Namespace, screen: Screen, server: Server) -> None:
        self.options, self.screen, self.server = options, screen, server
        self.env = dict(os.environ)
        self.build = detect(self.env)

    # the id between the steps of a pipeline

    def key(self) -> Optional[str]:
        """Return the idempotency key of this pipeline: given, else as the CI system says."""
        return self.options.key or self.build.fields.get("idempotency_key")

    def remember(self, deployment: str) -> None:
        try:
            with open(self.options.id_file, "w", encoding="ascii") as file:
                file.write(deployment + "\n")
        except OSError as error:
            self.screen.note(f"{self.options.id_file} cannot be written ({error.strerror}): pass --deployment")

    def remembered(self) -> str:
        """Return the id of the deployment of this pipeline, NOTHING or ""."""
        given = self.options.deployment or self.env.get("SEQPULSE_DEPLOYMENT_ID", "")
        if not given:
            try:
                with open(self.options.id_file, encoding="ascii") as file:
                    given = file.read(200).strip()
            except (OSError, ValueError):
                return ""  # it is found by the pipeline's key
        if given == NOTHING:
            return given
        try:
            return str(uuid.UUID(given))
        except ValueError:
            raise Failed(USAGE, f"{clean(given, 60)!r} is not the id of a deployment") from None

    def find(self) -> str:
        """Return the id of the deployment: given, of this pipeline, else by the pipeline's key, else the latest."""
        found = self.remembered()
        if found:
            return found
        key = self.key()
        found = self.latest(idempotency_key=key) if key else ""
        if key and not found and self.options.command in ("wait", "step"):
            raise Failed(
                NO_VERDICT,
                f"no deployment was begun with this pipeline's key, {clean(key, 60)}: call trigger first, "
                "or pass --deployment (an earlier attempt has another key)",
            )
        found = found or self.latest()
        if not found:
            where = f" in {clean(self.options.env, 100)}; is the name right?" if self.options.env else ""
            raise Failed(NO_VERDICT, f"there is no deployment yet{where}")
        return found

    def latest(self, **query: str) -> str:
        """Return the id of the latest deployment, of the environment if one is named; "" where there is none."""
        query.update({"limit": "1", **({"environment": self.options.env} if self.options.env else {})})
        answer = ask(self.server, "/deployments?" + urllib.parse.urlencode(query), self.options.retry_for)
        try:
            return str(uuid.UUID(str(items(answer, "results")[0].get("deployment_id"))))
        except (IndexError, ValueError):
            return ""

    # trigger

    def body(self) -> Json:
        """Return the body of trigger: options, then what the CI system says, then git."""
        options = self.options
        if not options.env:
            raise Failed(USAGE, "the environment is missing: set SEQPULSE_ENV or pass --env")
        names = ("branch", "commit_sha", "commit_message", "author", "committed_at", "version", "kind")
        given = {name: getattr(options, name) for name in names if getattr(options, name)}
        if options.build_url:
            given["url"] = options.build_url
        fields = commit_fields({**self.build.fields, **given})
        if self.build.started_by:
            fields.setdefault("author", self.build.started_by)
        # Without a CI system each call is an attempt of its own, and its repetition the same one.
        options.key = self.key() or f"local-{uuid.uuid4()}"
        body: Json = {**fields, "env": options.env, "idempotency_key": options.key, "wait_for_pre": True}
        if options.force:
            body["force"] = True
        for name in ("reason", "settle_seconds", "metrics_endpoint", "control"):
            if getattr(options, name) is not None:
                body[name] = getattr(options, name)
        if options.policy:
            body["policy"] = read_file(options.policy, "--policy")
        return body

    def trigger(self) -> Tuple[str, Json]:
        """Begin a deployment; return its id and the answer."""
        return self.begin("/deployments/trigger", self.body(), "deployment")

    def begin(self, path: str, body: Json, name: str) -> Tuple[str, Json]:
        """Begin what is verified then; return its id and the answer. name: what it is called."""
        forget(self.options.id_file)
        try:
            answer = ask(self.server, path, self.options.retry_for, body)
        except Failed as error:
            if error.code == UNREACHABLE and self.options.on_unreachable == "pass":
                self.remember(NOTHING)
            raise
        try:
            deployment = str(uuid.UUID(str(answer.get("deployment_id"))))
        except ValueError:
            raise Failed(
                UNREACHABLE, f"{self.server.url} did not answer with a deployment_id: is it SeqPulse?"
            ) from None
        self.remember(deployment)
        what = "begins" if answer.get("status") == "created" else "is known already"
        self.screen.note(f"{name} #{clean(answer.get('number'), 20)} {what} in {clean(body['env'])}")
        if answer.get("message"):
            self.screen.note(clean(answer.get("message")))
        pre = part(answer, "pre")
        if pre.get("status") in ("failed", "pending"):
            self.screen.note(f"no sample of the old version: {clean(pre.get('message') or pre.get('status'))}")
        self.screen.note(self.server.page(deployment))
        keep(
            self.build.system,
            {
                "deployment_id": deployment,
                "number": clean(answer.get("number"), 20),
                # Not "url": SEQPULSE_URL is the address of the server.
                "deployment_url": self.server.page(deployment),
            },
            self.options.dotenv,
        )
        return deployment, answer

    def do_trigger(self) -> int:
        self.screen.json(self.trigger()[1], PASSED)
        return PASSED

    # verify

    def do_verify(self) -> int:
        options = self.options
        if not options.env:
            raise Failed(USAGE, "the environment is missing: set SEQPULSE_ENV or pass --env")
        options.key = options.key or f"verify-{uuid.uuid4()}"
        body: Json = {"env": options.env, "idempotency_key": options.key}
        body.update({name: getattr(options, name) for name in ("reason", "version") if getattr(options, name)})
        deployment, answer = self.begin("/verifications", body, "verification")
        if options.wait:
            return self.wait(deployment)
        self.screen.json(answer, PASSED)
        return PASSED

    # finish

    def finish(self, deployment: str, result: str, patience_s: float) -> Json:
        """Report that the deployment is complete. deployment: "" finds it by the pipeline's key."""
        body: Json = {"result": result}
        if deployment:
            body["deployment_id"] = deployment
        else:
            key = self.key()
            if not self.options.env:
                raise Failed(USAGE, "which deployment? Pass --deployment, or --env to find it there")
            body.update({"env": self.options.env, **({"idempotency_key": key} if key else {})})
        if self.options.green:
            body["green"] = self.options.green
        answer = ask(self.server, "/deployments/finish", patience_s, body)
        self.screen.note(f"finish ({clean(result, 40)}): {clean(answer.get('message') or answer.get('status'))}")
        if answer.get("status") == "not_found":
            raise Failed(REFUSED, "this project has no such deployment", answer)
        return answer

    def do_finish(self) -> int:
        result = self.options.result or result_of(self.env)
        if not result:
            raise Failed(USAGE, "RESULT is missing: success, failed, cancelled or the word of your CI system")
        deployment = self.remembered()
        if deployment == NOTHING:
            return self.skipped()
        answer = self.finish(deployment, result, self.options.retry_for)
        if not deployment and answer.get("deployment_id"):
            self.remember(clean(answer["deployment_id"], 40))
        self.screen.json(answer, PASSED)
        return PASSED

    def skipped(self) -> int:
        self.screen.note("trigger could not reach SeqPulse, so there is no deployment: nothing to do")
        self.screen.json({"deployment_id": None}, PASSED)
        return PASSED

    # wait

    def wait(self, deployment: str) -> int:
        """Wait for the verdict and show it; return the exit code."""
        page = self.server.page(deployment)
        try:
            answer = self.gate(f"/deployments/{deployment}/verdict")
        except Stopped:
            self.screen.note(f"the verdict is still to come: {page}")
            raise
        code = exit_code(answer, self.options.fail_on)
        show_verdict(self.screen, answer, page)
        if answer.get("message"):
            self.screen.note(clean(answer.get("message")))
        annotate(self.build.system, answer, page)
        values = {name: clean(answer.get(name), 60) for name in ("verdict", "gate", "confidence")}
        keep(self.build.system, {"deployment_id": deployment, **values, "exit_code": str(code)}, self.options.dotenv)
        self.screen.json(answer, code)
        return code

    def gate(
        self, path: str, body: Optional[Json] = None, *, read: Callable[[Answer], Optional[Json]] = verdict_in
    ) -> Json:
        """Return the verdict. Raises Failed: none in time, none ever, unreachable for --retry-for seconds.

        path, body: of the call that is repeated until `read` finds one in the answer.
        """
        deadline = time.monotonic() + self.options.timeout
        trouble_since: Optional[float] = None
        seen: Json = {}
        while True:
            begun = time.monotonic()
            # The first call is short, to have something to show.
            hold_s = int(max(0, min(HOLD_S if seen else PAUSE_S, deadline - begun)))
            wanted, problem, reachable = 0.0, "", False
            try:
                answer = self.server.call(
                    f"{path}?wait={hold_s}",
                    body,
                    hold_s=hold_s,
                    tick=functools.partial(self.progress, seen, deadline),
                )
                found = read(answer)
                if found is not None:
                    return found
                wanted = answer.retry_after or 0.0
                reachable = answer.status in (202, 429)
                if answer.status == 202:
                    seen = answer.body or seen
                else:
                    problem = trouble(answer)
            except NoAnswer as error:
                problem = str(error)
                if error.final:
                    raise Failed(UNREACHABLE, f"{self.server.url} cannot be used: {error}") from None
            now = time.monotonic()
            trouble_since = None if reachable else trouble_since or begun
            # Between arrivals at the server, which do not take equally long.
            pause = max(wanted, PAUSE_S - max(0.0, now - begun - ARRIVES_S), 0.0)
            if trouble_since is not None and now + pause - trouble_since > self.options.retry_for:
                raise Failed(UNREACHABLE, f"{self.server.url} cannot be reached: {problem}")
            if problem:
                self.screen.note(f"{problem}; asking again in {pause:.0f} s")
            if now + pause >= deadline:
                why = problem or "pending: " + self.counted(seen)
                raise Failed(NO_VERDICT, f"no verdict within {self.options.timeout:g} s ({why})", seen)
            self.pause(now + pause, seen, deadline)

    def pause(self, until: float, seen: Json, deadline: float) -> None:
        """Sleep until then, in steps, for the progress that is shown."""
        while time.monotonic() < until:
            self.progress(seen, deadline)
            time.sleep(min(1.0, max(0.01, until - time.monotonic())))

    @staticmethod
    def counted(seen: Json) -> str:
        if "percent" in seen:
            return f"the step to {clean(seen.get('percent'), 10)} % is measured"
        samples = part(seen, "samples")
        if seen.get("state") == "running":
            return "not finished yet: the window begins with finish"
        return f"{clean(samples.get('collected'), 10) or '?'} of {clean(samples.get('expected'), 10) or '?'} samples"

    def progress(self, seen: Json, deadline: float) -> None:
        """Show the number of samples, what stands out so far and the time that is left."""
        text = self.counted(seen) if seen else "waiting for the verdict"
        found = standing_out(part(seen, "levels"))
        if found:
            text += f"; so far {found}"
        due = seen.get("verdict_due_at")
        left = seconds_until(due) if isinstance(due, str) else None
        if left is not None:
            shown = f"{text}; {minutes(left)} left"
        else:
            shown = f"{text}; gives up in {minutes(deadline - time.monotonic())}"
        self.screen.progress(shown, text)

    def do_wait(self) -> int:
        deployment = self.find()
        return self.skipped() if deployment == NOTHING else self.wait(deployment)

    # step

    def do_step(self) -> int:
        """Begin a step of the rollout, or ask for it again; with --wait return the exit code of its verdict."""
        deployment = self.find()
        if deployment == NOTHING:
            return self.skipped()
        path = f"/deployments/{deployment}/step"
        body: Json = {"percent": self.options.percent}
        if self.options.seconds is not None:
            body["seconds"] = self.options.seconds
        page = self.server.page(deployment)
        if not self.options.wait:
            answer = ask(self.server, path, self.options.retry_for, body, read=begun_in)
            self.screen.note(f"step to {self.options.percent} %: {clean(answer.get('next'))}")
            self.screen.json(answer, PASSED)
            return PASSED
        try:
            answer = self.gate(path, body, read=step_in)
        except Stopped:
            self.screen.note(f"the verdict of the step is still to come: {page}")
            raise
        code = exit_code(answer, self.options.fail_on)
        if answer.get("next") == "rollback" and self.options.fail_on != "never":
            code = ROLLBACK
        self.screen.note(f"step to {self.options.percent} %: {clean(answer.get('next'))}")
        show_verdict(self.screen, answer, page)
        values = {name: clean(answer.get(name), 60) for name in ("verdict", "next", "confidence")}
        keep(self.build.system, {"deployment_id": deployment, **values, "exit_code": str(code)}, self.options.dotenv)
        self.screen.json(answer, code)
        return code

    # run

    def do_run(self) -> int:
        command = self.options.argv
        if command[:1] == ["--"]:
            command = command[1:]
        if not command:
            raise Failed(USAGE, "the command is missing: run [options] -- COMMAND [ARGUMENT …]")
        child = Child(command, self.server, self.screen)
        try:
            return self.run(child)
        except Stopped as stopped:
            if child.process is None:
                # The trigger may have arrived.
                self.screen.note(f"{name_of(stopped.number)} before the command began: reported as cancelled")
                self.report("", "cancelled")
            raise

    def run(self, child: Child) -> int:
        """Trigger, run the command, finish, wait; return the exit code. A failed command's own status comes first."""
        deployment = ""
        try:
            deployment = self.trigger()[0]
        except Failed as error:
            if error.code != UNREACHABLE or self.options.on_unreachable != "pass":
                raise
            self.screen.note(f"{error.message}: the command runs without SeqPulse")
        with child.signals_passed_on():
            status = child.run()
            result = "success" if status == 0 else "cancelled" if child.stopped_by else "failed"
            if deployment and child.stopped_by:
                self.report(deployment, result)
            elif deployment:
                try:
                    self.finish(deployment, result, self.options.retry_for)
                except Failed as error:
                    if not status and not child.stopped_by:
                        raise
                    self.screen.note(error.message)
            if status is None:
                status = child.wait()
            code = status or child.stopped_status
        if deployment and code == PASSED:
            return self.wait(deployment)
        self.screen.json({"deployment_id": deployment or None, "result": result, "command_status": status}, code)
        return code

    def report(self, deployment: str, result: str) -> None:
        """Finish after a signal: soon, since whoever sent it kills the client next. What fails is only told."""
        self.server.hurry()
        try:
            self.finish(deployment, result, FINISH_S)
        except Failed as error:
            self.screen.note(f"finish ({result}) did not succeed within {FINISH_S} s of the signal: {error.message}")

    # reading

    def do_status(self) -> int:
        deployment = self.find()
        if deployment == NOTHING:
            return self.skipped()
        answer = ask(self.server, f"/deployments/{deployment}", self.options.retry_for)
        show = self.screen.show
        show(f"deployment #{clean(answer.get('number'), 20)} in {clean(answer.get('environment'))}")
        message = (str(answer.get("commit_message") or "").splitlines() or [""])[0]
        rows = [
            ("state", answer.get("state")),
            ("verdict", answer.get("verdict") or "none yet"),
            ("samples", self.counted(answer).replace(" samples", "")),
            ("commit", f"{answer.get('commit_sha') or ''} {message}".strip()),
            ("branch", answer.get("branch")),
            ("author", answer.get("author")),
            ("started", answer.get("started_at")),
            ("finished", answer.get("finished_at")),
            ("healthy now", answer.get("healthy")),
        ]
        for name, value in rows:
            if value:
                show(f"  {name:12} {clean(value, 200)}")
        show(f"  {self.server.page(deployment)}")
        self.screen.json(answer, PASSED)
        return PASSED

    def do_explain(self) -> int:
        deployment = self.find()
        if deployment == NOTHING:
            return self.skipped()
        path = f"/deployments/{deployment}/verdict"
        answer = ask(self.server, path, self.options.retry_for, read=self.standing)
        explain(self.screen, answer, self.server.page(deployment))
        self.screen.json(answer, PASSED)
        return PASSED

    # samples

    def do_push(self) -> int:
        """Send samples. What is sent again has the same times, and is one sample there."""
        if not self.options.env:
            raise Failed(USAGE, "which environment? Pass --env or set SEQPULSE_ENV")
        samples = self.samples()
        taken, repeated, problems = 0, 0, []
        answer: Json = {}
        for begin in range(0, len(samples), SAMPLES_AT_ONCE):
            body = {"env": self.options.env, "samples": samples[begin : begin + SAMPLES_AT_ONCE]}
            answer = ask(self.server, "/samples", self.options.retry_for, body)
            taken += int(number(answer.get("taken")) or 0)
            repeated += int(number(answer.get("repeated")) or 0)
            errors = part(answer, "errors")
            problems += [f"{clean(path, 80)}: {' '.join(texts(errors, path))}" for path in errors]
            if answer.get("message"):
                self.screen.note(clean(answer["message"]))
        known = f", {repeated} of them known already" if repeated else ""
        self.screen.note(f"{taken + repeated} of {len(samples)} samples are stored{known}")
        for problem in problems[:ERRORS_SHOWN]:
            self.screen.note(problem)
        code = REFUSED if problems else PASSED
        self.screen.json({**answer, "taken": taken, "repeated": repeated}, code)
        return code

    def samples(self) -> List[Json]:
        """Return the samples of the command line. Raises Failed."""
        options = self.options
        if bool(options.file) == bool(options.values):
            raise Failed(USAGE, "give NAME=VALUE … for one sample, or --file for several")
        if options.file:
            return samples_in(sys.stdin.read() if options.file == "-" else read_file(options.file, "--file"))
        given = options.time
        with contextlib.suppress(TypeError, ValueError):  # a text in ISO 8601, or none
            given = float(given)
        sample: Json = {"at": given or time.time()}
        if options.instance:
            sample["instance"] = options.instance
        for text in options.values:
            name, _, value = text.partition("=")
            try:
                place = sample if name in METRICS else sample.setdefault("custom", {})
                place[name] = float(value)
            except ValueError:
                raise Failed(USAGE, f"{clean(text, 80)}: a metric is NAME=NUMBER, such as error_rate=0.01") from None
        return [sample]

    def standing(self, answer: Answer) -> Optional[Json]:
        """Return the verdict, None where to ask again. Raises Failed, also for a pending one, and NoAnswer."""
        if answer.status == 202 and answer.body is not None:
            raise Failed(NO_VERDICT, f"no verdict yet: {self.counted(answer.body)}", answer.body)
        return verdict_in(answer)


def samples_in(text: str) -> List[Json]:
    """Return the samples of a file: a JSON list, an object with samples, or an object a line. Raises Failed."""
    try:
        try:
            found = json.loads(text)
        except ValueError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise Failed(USAGE, f"--file: it is no JSON: {error}") from None
    if isinstance(found, dict):
        found = found.get("samples", [found])
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        raise Failed(USAGE, '--file: this has to be a list of samples, such as [{"at": …, "error_rate": 0.01}]')
    # Of the same time in every attempt.
    now = time.time()
    return [one if "at" in one else {**one, "at": now} for one in found]


class Child:
    """The command of `run`. Signals that ask to stop are passed on to it. stopped_by: the first of them."""

    def __init__(self, command: List[str], server: Server, screen: Screen) -> None:
        self.command, self.server, self.screen = command, server, screen
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.stopped_by = 0
        # True: the command has ended; False: a signal came. A handler may put, and must not print.
        self.events: queue.SimpleQueue[bool] = queue.SimpleQueue()

    @property
    def stopped_status(self) -> int:
        """The exit status for the signal that asked to stop; 0 if there was none."""
        return 128 + self.stopped_by if self.stopped_by else 0

    @contextlib.contextmanager
    def signals_passed_on(self) -> Iterator[None]:
        """Pass signals on to the command. One that comes later is noted, so that finish is sent; the next one stops."""
        before = handle(("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"), self.pass_on)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def run(self) -> Optional[int]:
        """Run the command; return its exit status as a shell does, None if it goes on for COMMAND_S after a signal."""
        try:
            # With --json standard output is for the answer alone.
            self.process = subprocess.Popen(self.command, stdout=sys.stderr if self.screen.as_json else None)
        except (OSError, ValueError) as error:
            write(f"seqpulse: {clean(self.command[0], 200)}: {getattr(error, 'strerror', error)}", sys.stderr)
            return 127 if isinstance(error, FileNotFoundError) else 126
        threading.Thread(target=self.watch, args=(self.process,), daemon=True).start()
        if self.stopped_by:
            self.process.send_signal(self.stopped_by)
        elif self.events.get():
            return self.status
        name = name_of(self.stopped_by)
        self.screen.note(f"{name}: the command has {COMMAND_S} s to end, then it is reported as cancelled")
        ends = time.monotonic() + COMMAND_S
        try:
            while not self.events.get(timeout=max(0.0, ends - time.monotonic())):
                pass
        except queue.Empty:
            self.screen.note(f"the command goes on after {name}")
            return None
        return self.status

    def watch(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self.events.put(True)

    def wait(self) -> int:
        """Wait for a command that goes on; return its exit status."""
        while not self.events.get():
            pass
        return self.status

    @property
    def status(self) -> int:
        """The exit status of the command that has ended, as a shell says it."""
        status: int = self.process.returncode if self.process is not None else 0
        return 128 - status if status < 0 else status

    def pass_on(self, number: int, _frame: Any) -> None:
        ended = self.process is not None and self.process.returncode is not None
        if ended and self.stopped_by:
            raise Stopped(number)
        self.stopped_by = self.stopped_by or number
        self.events.put(False)
        if ended:
            self.server.hurry()
        elif self.process is not None and not self.from_terminal(number):
            try:
                self.process.send_signal(number)
            except OSError:
                pass  # ended meanwhile

    @staticmethod
    def from_terminal(number: int) -> bool:
        """Return whether the terminal has sent the signal to the command as well: Ctrl-C goes to all in front."""
        if number != signal.SIGINT:
            return False
        try:
            return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
        except (OSError, AttributeError):
            return False


def seconds_until(text: str) -> Optional[float]:
    try:
        at = time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return None
    return max(0.0, calendar.timegm(at) - time.time())


def minutes(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d} min"


def forget(path: str) -> None:
    with contextlib.suppress(OSError):  # mostly there is none; what cannot be removed is told when it is written
        os.remove(path)


def read_file(path: str, option: str) -> str:
    """Return the text of a file. Raises Failed."""
    try:
        # With or without the byte order mark that editors on Windows write.
        with open(path, encoding="utf-8-sig") as file:
            return file.read(1024 * 1024)
    except OSError as error:
        raise Failed(USAGE, f"{option}: {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise Failed(USAGE, f"{option}: {path} is no text in UTF-8") from None


# --- options


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"seqpulse: {message}\n")


def seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86400 * 7:
        raise ValueError
    return value


def add_verify(commands: Any, parents: List[argparse.ArgumentParser]) -> None:
    verify = commands.add_parser(
        "verify", parents=parents, help="the service from now on: a feature flag, an incident that is over"
    )
    verify.add_argument("--reason", metavar="TEXT", help="what is verified; the title on pages and in messages")
    verify.add_argument("--version", metavar="TEXT", help="what runs there now")
    verify.add_argument("--wait", action="store_true", help="for the verdict, as wait does")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line. Options stand after the command."""
    env = os.environ
    common = Parser(add_help=False)
    common.add_argument("--url", default=env.get("SEQPULSE_URL"), help="address of SeqPulse (SEQPULSE_URL)")
    common.add_argument("--key-file", metavar="FILE", help="file with the API key (else SEQPULSE_API_KEY)")
    common.add_argument("--env", default=env.get("SEQPULSE_ENV"), help="name of the environment (SEQPULSE_ENV)")
    common.add_argument("--key", help="idempotency key; by default the run and its attempt, as the CI system says")
    common.add_argument("--id-file", default=env.get("SEQPULSE_ID_FILE") or ID_FILE, help="keeps the id between steps")
    common.add_argument("--dotenv", metavar="FILE", help="file to append SEQPULSE_… values to, for later jobs")
    common.add_argument("--json", action="store_true", help="print the server's answer instead of text")
    common.add_argument(
        "--on-unreachable",
        choices=ON_UNREACHABLE,
        default=env.get("SEQPULSE_ON_UNREACHABLE") or "fail",
        help="whether the pipeline goes on without SeqPulse",
    )
    common.add_argument(
        "--retry-for", type=seconds, default=60.0, metavar="SECONDS", help="how long to try to reach it (60)"
    )
    deploy = Parser(add_help=False)
    found = "by default as the CI system or git says"
    for option, name, value, text in (
        ("--branch", "branch", "NAME", found),
        ("--commit", "commit_sha", "SHA", found),
        ("--message", "commit_message", "TEXT", found),
        ("--author", "author", "NAME", found),
        ("--committed-at", "committed_at", "TIME", f"ISO 8601; {found}"),
        ("--build-url", "build_url", "URL", "page of this run; by default as the CI system says"),
        ("--version", "version", "TEXT", "what is deployed, such as 1.4.2"),
        ("--endpoint", "metrics_endpoint", "URL", "metrics endpoint, if the environment has none"),
        ("--control", "control", "URL|LABELS", "the old version that runs beside the new one"),
    ):
        deploy.add_argument(option, dest=name, metavar=value, help=text)
    deploy.add_argument(
        "--kind", choices=("deployment", "rollback", "verification"), help="what it is, if not a deployment"
    )
    deploy.add_argument(
        "--settle",
        type=int,
        dest="settle_seconds",
        metavar="SECONDS",
        help="between finish and the window; by default as the environment is set",
    )
    deploy.add_argument("--policy", metavar="FILE", help="a seqpulse.toml")
    deploy.add_argument("--force", action="store_true", help="supersede a running deployment; pass a freeze (--reason)")
    deploy.add_argument("--reason", help="why --force; it is recorded")
    green = Parser(add_help=False)
    green.add_argument("--green", metavar="URL", help="blue/green: where this deployment is measured")
    gate = Parser(add_help=False)
    gate.add_argument(
        "--fail-on",
        choices=FAIL_ON,
        default=env.get("SEQPULSE_FAIL_ON") or "rollback",
        help="from which verdict on the exit code is not 0",
    )
    gate.add_argument(
        "--timeout", type=seconds, default=3600.0, metavar="SECONDS", help="how long to wait for the verdict (3600)"
    )
    one = Parser(add_help=False)
    one.add_argument("--deployment", metavar="ID", help="by default the one of this pipeline")

    description = (__doc__ or "").strip()
    raw = argparse.RawDescriptionHelpFormatter
    top = Parser(prog="seqpulse", description=description, formatter_class=raw)
    top.add_argument("--version", action="version", version=f"seqpulse {VERSION}", help="print the version")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("trigger", parents=[common, deploy], help="a deployment begins")
    finish = commands.add_parser("finish", parents=[common, one, green], help="it is complete")
    finish.add_argument("result", nargs="?", metavar="RESULT", help="success, failed, cancelled or your CI's word")
    commands.add_parser("wait", parents=[common, gate, one], help="wait for the verdict")
    add_verify(commands, [common, gate])
    step = commands.add_parser("step", parents=[common, gate, one], help="so much traffic goes to the new version now")
    step.add_argument("--percent", type=int, required=True, metavar="N", help="of the traffic, 1 to 100; it rises")
    step.add_argument("--seconds", type=seconds, metavar="SECONDS", help="how long it is measured")
    step.add_argument("--wait", action="store_true", help="for its verdict; the exit code says whether to go on")
    run = commands.add_parser(
        "run",
        parents=[common, deploy, green, gate],
        help="all of it around a command",
        usage="seqpulse run [options] -- COMMAND",
    )
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    commands.add_parser("status", parents=[common, one], help="what is known of a deployment")
    push = commands.add_parser(
        "push", parents=[common], help="send a sample", usage="seqpulse push [options] NAME=VALUE … | --file FILE"
    )
    push.add_argument("values", nargs="*", metavar="NAME=VALUE", help="error_rate=0.01 latency_p95=120 checkouts=42")
    push.add_argument("--time", metavar="TIME", help="of the sample: ISO 8601 or seconds since 1970; now")
    push.add_argument("--instance", metavar="NAME", help="which of several instances sends it")
    push.add_argument("--file", metavar="FILE", help="samples as JSON, a list or one a line; -: from standard input")
    commands.add_parser("explain", parents=[common, one], help="what its verdict rests on")
    return top


def server_of(options: argparse.Namespace, screen: Screen) -> Server:
    """Return the server with its key. Raises Failed: settings are missing or wrong."""
    url = (options.url or "").strip().rstrip("/")
    if not url:
        raise Failed(USAGE, "the address of SeqPulse is missing: set SEQPULSE_URL or pass --url")
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urllib.parse.urlsplit("")
    if "@" in url:  # before any message that shows it
        raise Failed(USAGE, "SEQPULSE_URL must not contain a user name or password")
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.query
        or parts.fragment
        or not re.fullmatch(r"[!-~]+", url)
    ):
        given = f"SEQPULSE_URL is {clean(url, 100)}, but has to be an address like https://seqpulse.example.com"
        raise Failed(USAGE, given + ("" if "://" in url else ": with https:// or http://"))
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        screen.note("the address begins with http://, so the API key travels unencrypted")
    authorities = os.environ.get("SSL_CERT_FILE", "")
    if authorities and not os.path.exists(authorities):
        screen.note(f"SSL_CERT_FILE does not exist: {clean(authorities, 200)}")
    return Server(url, key_of(options, screen))


def key_of(options: argparse.Namespace, screen: Screen) -> str:
    """Return the API key. Raises Failed, without the key in its words."""
    key, where = os.environ.get("SEQPULSE_API_KEY", ""), "SEQPULSE_API_KEY"
    if options.key_file:
        key, where = read_file(options.key_file, "--key-file"), options.key_file
        mode = os.stat(options.key_file).st_mode
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            screen.note(f"{where} can be read by others: chmod 600 {where}")
    key = key.strip()
    if not key:
        missing = f"{where} is empty" if options.key_file else "the API key is missing"
        raise Failed(USAGE, f"{missing}: set SEQPULSE_API_KEY in the secrets of your CI, or pass --key-file")
    if not re.fullmatch(r"[!-~]{1,500}", key):
        raise Failed(USAGE, f"{where} does not hold an API key: one line of letters and digits that begins with sp_")
    return key


def stop(number: int, _frame: Any) -> None:
    raise Stopped(number)


def handle(names: Tuple[str, ...], handler: Any) -> Dict[int, Any]:
    """Handle the signals of these names; return the handlers before. Not SIGHUP where it is ignored, as by nohup."""
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    hang_up = getattr(signal, "SIGHUP", None)
    wanted = [number for number in numbers if number != hang_up or signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in wanted}


def name_of(number: int) -> str:
    return signal.Signals(number).name


def main(arguments: Optional[List[str]] = None) -> int:
    """Run a command; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    options = parser().parse_args(arguments)
    # argparse checks options, not what variables set as their defaults.
    for name, allowed in (("on_unreachable", ON_UNREACHABLE), ("fail_on", FAIL_ON)):
        if getattr(options, name, allowed[0]) not in allowed:
            write(f"seqpulse: SEQPULSE_{name.upper()} has to be one of {', '.join(allowed)}", sys.stderr)
            return USAGE
    screen = Screen(options.json)
    handle(("SIGINT", "SIGTERM", "SIGHUP"), stop)
    try:
        client = Client(options, screen, server_of(options, screen))
        return int(getattr(client, f"do_{options.command}")())
    except Failed as error:
        code = error.code
        if code == UNREACHABLE and options.on_unreachable == "pass":
            code = PASSED
        screen.note(error.message + (" (going on: --on-unreachable pass)" if code != error.code else ""))
        screen.json(error.answer or {"error": {"message": error.message}}, code)
        return code
    except Stopped as stopped:
        message = f"stopped by {name_of(stopped.number)}"
        screen.note(message)
        screen.json({"error": {"message": message}}, 128 + stopped.number)
        return 128 + stopped.number


if __name__ == "__main__":
    sys.exit(main())
