"""The lines after the first one: findings, hints, next steps, health. Facts in, lines in a language out."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from analysis.texts.hints import HintFacts, facts_of
from common.links import public_link
from explain.facts import Fact, Param
from explain.rendering import render
from notifications.headlines import NAME, Said, as_sentence, fact_of, part, parts
from notifications.headlines import facts_of as facts_said
from notifications.plain import line

MOST_LINES, MOST_CHARACTERS = 20, 400
MOST_STEPS = 3


def details_of(said: Said, language: str) -> tuple[str, ...]:
    """Return the lines."""
    lines = (line(render(fact, language), MOST_CHARACTERS) for fact in details(said))
    return tuple(as_sentence(text) for text in lines if text)[:MOST_LINES]


def details(said: Said) -> Iterator[Fact]:
    """Yield the facts of the lines."""
    found = part(said, "verdict")
    if found:
        yield from about_verdict(found)
    hints = [hint for one in parts(said, "hints") if (hint := hint_of(one)) is not None]
    for hint in hints:
        yield Fact("detail.hint", {"title": hint.title})
    if hints:
        for step in hints[0].actions[:MOST_STEPS]:
            yield Fact("detail.step", {"step": step})
    yield from about_week(part(said, "week"))
    deployment = part(said, "deployment")
    for name in ("branch", "version", "url"):
        if value := line(deployment.get(name) or "", MOST_CHARACTERS):
            yield Fact(f"detail.{name}", {"value": value})


def about_week(week: Said) -> Iterator[Fact]:
    """Yield the lines of a weekly report: what there was."""
    if not week:
        return
    yield Fact("weekly.deployed", {name: week.get(name) for name in ("deployed", "rollbacks")})
    for name, code in (("rate", "failed"), ("restore", "restore"), ("lead", "lead")):
        if week.get(name) is not None:
            yield Fact(f"weekly.{code}", {name: week[name]})
    if week.get("wrong"):
        yield Fact("weekly.wrong", {"wrong": week["wrong"]})
    for one in parts(week, "noisy"):
        names = {name: line(one.get(name) or "", NAME) for name in ("project", "environment")}
        yield Fact("weekly.noisy", {"place": Fact("place.environment", names), "count": one.get("count")})
    for project in parts(week, "projects"):
        name = line(project.get("name") or "", NAME)
        page = project_page(project.get("id"))
        params: dict[str, Param] = {"project": name, "figures": list(figures_of_project(project)), "link": page}
        yield Fact("weekly.project_link" if page else "weekly.project", params)
    if week.get("more_projects"):
        yield Fact("weekly.more_projects", {"n": week["more_projects"]})


def project_page(stored: Any) -> str:
    """Return the address of a project's page; "" where it has none."""
    try:
        return public_link("dashboard:project", UUID(str(stored)))
    except ValueError:
        return ""


def figures_of_project(project: Said) -> Iterator[Fact]:
    """Yield what there was of one project."""
    yield Fact("weekly.of_deployed", {"deployed": project.get("deployed")})
    if project.get("rollbacks"):
        yield Fact("weekly.of_rollbacks", {"rollbacks": project["rollbacks"]})
    if project.get("judged"):
        yield Fact("weekly.of_failed", {name: project.get(name) for name in ("failed", "judged")})
    for name in ("restore", "lead"):
        if project.get(name) is not None:
            yield Fact(f"weekly.of_{name}", {name: project[name]})
    if project.get("wrong"):
        yield Fact("weekly.of_wrong", {"wrong": project["wrong"]})
    for one in parts(project, "noisy"):
        environment = line(one.get("environment") or "", NAME)
        yield Fact("weekly.of_noisy", {"environment": environment, "count": one.get("count")})


def about_verdict(found: Said) -> Iterator[Fact]:
    params = {name: found.get(name) for name in ("confidence", "samples")}
    code = "detail.verdict" if params["samples"] is None else "detail.verdict_on"
    code = code if found.get("conclusive", True) else "detail.verdict_inconclusive"
    yield Fact(code, {"verdict": str(found.get("verdict")), **params})
    if found.get("early"):
        yield Fact("detail.early")
    for check in parts(found, "checks"):
        if fact := fact_of(check.get("fact")):
            yield Fact("detail.sentence", {"sentence": fact})
    doubts = facts_said(found, "doubts")
    if doubts:
        yield Fact("detail.doubts", {"doubts": doubts})
    reasons = facts_said(found, "reasons")
    healthy = str(found.get("healthy"))
    if healthy == "no" and reasons:
        yield Fact("detail.unhealthy_because", {"reasons": reasons})
    elif healthy in ("yes", "no"):
        yield Fact(f"detail.healthy_{healthy}")


def hint_of(stored: Any) -> HintFacts | None:
    """Read a hint of an event; None where this version does not know it."""
    try:
        filled = fact_of({"code": stored["text_key"], "params": stored["params"]})
        if filled is None:
            return None
        return facts_of(filled.code, filled.params, evidence=(), roll_back=bool(stored.get("roll_back")))
    except (KeyError, TypeError):
        return None
