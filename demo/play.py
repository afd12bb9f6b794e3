"""Run three deployments through the public API, as a pipeline does, and print each step."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from demo.http import CallFailed, call

Answer = dict[str, Any]
READY_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 30.0
VERDICT_TIMEOUT_S = 60.0
# With the PRE sample as many as the judge needs to know the level of a service (analysis/evidence.py).
BASELINE_SAMPLES = 5


class PlayFailed(Exception):
    """The demo cannot continue; the text says why."""


@dataclass(frozen=True, slots=True)
class Act:
    """One deployment: the version that is deployed, and the expected verdict."""

    version: str
    release: str
    title: str
    expected: str


ACTS = (
    Act("good", "1.4.0", "a good release", "ok"),
    Act("slow", "1.5.0", "a release that answers at half the speed", "warning"),
    Act("broken", "1.6.0", "a release that fails four requests in five", "rollback_recommended"),
)

# Conditions on the service's own measurements that show which version is active.
IN_PLACE: dict[str, Callable[[dict[str, float]], bool]] = {
    "good": lambda now: now["requests_per_sec"] > 35 and now["error_rate"] == 0 and 0 < now["latency_p95"] < 250,
    "slow": lambda now: now["latency_p95"] > 320,
    "broken": lambda now: now["error_rate"] > 0.3,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """An act and the answer of the gate."""

    act: Act
    answer: Answer

    @property
    def as_expected(self) -> bool:
        return bool(self.answer["verdict"] == self.act.expected)


class Progress:
    """Lines on standard output. On a terminal a changing line is rewritten in place."""

    def __init__(self) -> None:
        self.rewrites = sys.stdout.isatty()
        self.last = ""

    def say(self, text: str = "") -> None:
        if self.last:
            self.last = ""
            if self.rewrites:
                print()
        print(text, flush=True)

    def update(self, text: str) -> None:
        if text == self.last:
            return
        self.last = text
        print(f"\r{text}" if self.rewrites else text, end="" if self.rewrites else "\n", flush=True)


@dataclass
class Play:
    """Drives the deployments.

    Args:
        site, service: base URLs.
        look: called while waiting; raises if a process has ended.
        baseline: returns the number of baseline samples so far; None: the source knows the time before.
        takes_over_s: until the service's metrics are of its new version alone.
    """

    site: str
    service: str
    api_key: str
    look: Callable[[], None]
    baseline: Callable[[], int] | None
    takes_over_s: float
    progress: Progress = field(default_factory=Progress)

    def run(self) -> list[Outcome]:
        """Run all acts.

        Raises: PlayFailed, CallFailed.
        """
        return [self.perform(number, act) for number, act in enumerate(ACTS, start=1)]

    def wait(
        self, read: Callable[[], Answer], until: Callable[[Answer], bool], *, timeout_s: float, failure: str
    ) -> Answer:
        """Return the first answer of `read` that fulfils `until`.

        Raises: PlayFailed with `failure` if that takes too long.
        """
        deadline = time.monotonic() + timeout_s
        while not until(answer := read()):
            if time.monotonic() > deadline:
                raise PlayFailed(f"{failure} within {timeout_s:.0f} s: {answer}")
            self.look()
            time.sleep(0.1)
        return answer

    def wait_until_ready(self) -> None:
        """Wait until the site answers and a poller works."""

        def health() -> Answer:
            try:
                return call("GET", f"{self.site}/health")
            except CallFailed as error:
                return {"status": str(error)}

        failure = "SeqPulse is not ready"
        self.wait(health, lambda answer: answer["status"] == "ok", timeout_s=READY_TIMEOUT_S, failure=failure)

    def perform(self, number: int, act: Act) -> Outcome:
        say = self.progress.say
        say(f"\nDeployment {number} of {len(ACTS)}: {act.title} (version {act.release})")
        self.switch_to("good")
        self.sample_baseline()
        deployment = {"env": "prod", "branch": "main", "version": act.release, "author": "Demo"}
        started = self.api("POST", "/deployments/trigger", {**deployment, "idempotency_key": f"demo-{act.release}"})
        deployment_id = started["deployment_id"]
        say(f"  trigger   deployment #{started['number']} begins; SeqPulse measures the old version")
        self.wait(
            lambda: self.api("GET", f"/deployments/{deployment_id}/metrics"),
            lambda answer: bool(answer["samples"]),
            timeout_s=SETTLE_TIMEOUT_S,
            failure="no sample came in from before the deployment (see the poller's log)",
        )
        self.switch_to(act.version)
        finished = self.api("POST", "/deployments/finish", {"deployment_id": deployment_id, "result": "success"})
        say(f"  finish    {finished['message']}")
        answer = self.wait(
            lambda: self.verdict_so_far(deployment_id),
            lambda answer: answer["verdict"] is not None,
            timeout_s=VERDICT_TIMEOUT_S,
            failure="no verdict",
        )
        say(f"  verdict   {answer['verdict']}: {answer['summary']}")
        return Outcome(act, answer)

    def switch_to(self, version: str) -> None:
        """Switch the service to another version and wait until its measurements show it."""
        call("POST", f"{self.service}/deploy/{version}")
        started = time.monotonic()
        level = self.wait(
            lambda: dict(call("GET", f"{self.service}/level")["metrics"]),
            lambda level: time.monotonic() - started >= self.takes_over_s and IN_PLACE[version](level),
            timeout_s=SETTLE_TIMEOUT_S,
            failure=f"the service does not settle on the version {version!r}",
        )
        self.progress.say(
            f"  service   {level['requests_per_sec']:.0f} requests/s, p95 {level['latency_p95']:.0f} ms,"
            f" {level['error_rate']:.0%} errors"
        )

    def sample_baseline(self) -> None:
        """Wait until SeqPulse knows the usual level of the service from samples between the deployments."""
        count = self.baseline
        if count is None:
            return
        enough = count() + BASELINE_SAMPLES
        self.wait(
            lambda: {"samples": count()},
            lambda answer: answer["samples"] >= enough,
            timeout_s=SETTLE_TIMEOUT_S,
            failure="no baseline is sampled (see the poller's log)",
        )
        self.progress.say(f"  baseline  {count()} samples of the service between deployments")

    def verdict_so_far(self, deployment_id: str) -> Answer:
        """Wait a second for the verdict, and print the number of samples."""
        answer = self.api("GET", f"/deployments/{deployment_id}/verdict?wait=1")
        samples = answer["samples"]
        self.progress.update(f"  samples   {samples['collected']} of {samples['expected']} collected")
        return answer

    def api(self, method: str, path: str, body: Answer | None = None) -> Answer:
        return call(method, self.site + path, body, api_key=self.api_key)


def table(outcomes: list[Outcome]) -> str:
    """Return a text table of the verdicts, their confidence and first hint."""
    rows = [("", "version", "release", "verdict", "confidence", "top hint")]
    for number, outcome in enumerate(outcomes, start=1):
        hints = outcome.answer["hints"]
        confidence = f"{outcome.answer['confidence']:.0%}"
        top = f"{hints[0]['title']} ({hints[0]['severity']})" if hints else "none"
        rows.append((str(number), outcome.act.version, outcome.act.release, outcome.answer["verdict"], confidence, top))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(len(line) for line in lines), *lines[1:]])
