"""Run three deployments through the public API, as a pipeline does, and print each step."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from demo.http import CallFailed, call

SETTLE_TIMEOUT_S = 30.0
# The service measures over two seconds, and the first sample comes a second after finish.
TAKES_OVER_S = 1.2
VERDICT_TIMEOUT_S = 60.0


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
    Act("broken", "1.6.0", "a release that fails four requests in ten", "rollback_recommended"),
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
    answer: dict[str, Any]

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


class Play:
    """Drives the deployments.

    Args:
        site, service: base URLs.
        look: called while waiting; raises if a process has ended.
    """

    def __init__(self, site: str, service: str, api_key: str, look: Callable[[], None]) -> None:
        self.site = site
        self.service = service
        self.api_key = api_key
        self.look = look
        self.progress = Progress()

    def run(self) -> list[Outcome]:
        """Run all acts.

        Raises: PlayFailed.
        """
        try:
            return [self.perform(number, act) for number, act in enumerate(ACTS, start=1)]
        except CallFailed as error:
            raise PlayFailed(str(error)) from error

    def perform(self, number: int, act: Act) -> Outcome:
        say = self.progress.say
        say(f"\nDeployment {number} of {len(ACTS)}: {act.title} (version {act.release})")
        self.switch_to("good")
        started = self.api(
            "POST",
            "/deployments/trigger",
            {
                "env": "prod",
                "branch": "main",
                "version": act.release,
                "author": "Demo",
                "idempotency_key": f"demo-{act.release}",
            },
        )
        say(f"  trigger   deployment #{started['number']} begins; SeqPulse measures the old version")
        self.wait_for_first_sample(started["deployment_id"])
        self.switch_to(act.version)
        finished = self.api(
            "POST", "/deployments/finish", {"deployment_id": started["deployment_id"], "result": "success"}
        )
        say(f"  finish    {finished['message']}")
        answer = self.verdict_of(started["deployment_id"])
        say(f"  verdict   {answer['verdict']}: {answer['summary']}")
        return Outcome(act, answer)

    def switch_to(self, version: str) -> None:
        """Switch the service to another version and wait until its measurements show it."""
        call("POST", f"{self.service}/deploy/{version}")
        started = time.monotonic()
        while True:
            level = call("GET", f"{self.service}/level")["metrics"]
            passed = time.monotonic() - started
            if passed >= TAKES_OVER_S and IN_PLACE[version](level):
                break
            if passed > SETTLE_TIMEOUT_S:
                raise PlayFailed(f"the service does not settle on the version {version!r}: {level}")
            self.look()
            time.sleep(0.2)
        self.progress.say(
            f"  service   {level['requests_per_sec']:.0f} requests/s, p95 {level['latency_p95']:.0f} ms,"
            f" {level['error_rate']:.0%} errors"
        )

    def wait_for_first_sample(self, deployment_id: str) -> None:
        """Wait for the PRE sample. A real deployment takes longer than that."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while not self.api("GET", f"/deployments/{deployment_id}/metrics")["samples"]:
            if time.monotonic() > deadline:
                raise PlayFailed("no sample came in from before the deployment: see the poller's log")
            self.look()
            time.sleep(0.1)

    def verdict_of(self, deployment_id: str) -> dict[str, Any]:
        """Wait for the verdict and print the number of samples meanwhile."""
        deadline = time.monotonic() + VERDICT_TIMEOUT_S
        while time.monotonic() < deadline:
            answer = self.api("GET", f"/deployments/{deployment_id}/verdict?wait=1")
            samples = answer["samples"]
            self.progress.update(f"  samples   {samples['collected']} of {samples['expected']} collected")
            if answer["verdict"] is not None:
                return answer
            self.look()
        raise PlayFailed(f"no verdict within {VERDICT_TIMEOUT_S:.0f} s")

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
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
