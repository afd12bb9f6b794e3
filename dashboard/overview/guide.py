"""Steps from no project to the first verdict, done and next. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DONE, CURRENT, TODO = "done", "current", "todo"
PROJECT, ENDPOINT, KEY, TRIGGER, FINISH, VERDICT = "project", "endpoint", "key", "trigger", "finish", "verdict"
STEPS = (PROJECT, ENDPOINT, KEY, TRIGGER, FINISH, VERDICT)


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a project from the database.

    has_endpoint: a URL is set; answered: a sample came from it; has_key, key_used: of API keys that are not revoked;
    triggered, finished, judged: of its deployments.
    """

    has_project: bool = False
    has_endpoint: bool = False
    answered: bool = False
    has_key: bool = False
    key_used: bool = False
    triggered: bool = False
    finished: bool = False
    judged: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A step and its state."""

    name: str
    state: str


@dataclass(frozen=True, slots=True)
class Guide:
    """The steps for one project. project, environment: None where there is none yet; deployment: its latest;
    may_create: whether the user may take the first step, asked only where it is not taken yet."""

    facts: Facts
    project: Any = None
    environment: Any = None
    deployment: Any = None
    may_create: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        return steps_of(self.facts)

    @property
    def done(self) -> int:
        return sum(step.state == DONE for step in self.steps)

    @property
    def current(self) -> str:
        """Return the name of the next step; "" if all are done."""
        return next((step.name for step in self.steps if step.state == CURRENT), "")


def steps_of(facts: Facts) -> tuple[Step, ...]:
    """Return all steps: done ones, the next one, and later ones."""
    reached = {
        PROJECT: facts.has_project,
        ENDPOINT: facts.answered,
        KEY: facts.has_key or facts.triggered,
        TRIGGER: facts.triggered,
        FINISH: facts.finished,
        VERDICT: facts.judged,
    }
    current = next((name for name in STEPS if not reached[name]), "")
    return tuple(Step(name, DONE if reached[name] else CURRENT if name == current else TODO) for name in STEPS)
