"""The first line of a message: where, and what a person needs to know. What is not known is left out. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime
from string import Formatter
from typing import Any

from django.utils.dateparse import parse_datetime

from analysis.judge.types import ALERTS, EXPECTATION, JOURNEYS
from explain.catalogue import TEMPLATES
from explain.facts import Fact, NotAFact, Param
from explain.rendering import render
from notifications.plain import line

Said = Mapping[str, Any]

NAME, AUTHOR, TITLE, REASON = 60, 40, 80, 200
COMMIT = 8


def headline_of(kind: str, said: Said, occurred_at: datetime, language: str) -> str:
    """Return the first line. said: the parameters of the event."""
    what = WHAT[kind](said, occurred_at) if kind in WHAT else happened(kind, said)
    place = where(said)
    if place is None:
        return line(as_sentence(render(what, language)), MOST)
    return line(render(Fact("event.line", {"where": place, "what": what}), language), MOST)


MOST = 1000


def as_sentence(text: str) -> str:
    """Return the text with a capital first letter, unless it begins with a name such as p95."""
    return text if text[1:2].isdigit() else text[:1].upper() + text[1:]


def happened(kind: str, said: Said) -> Fact:
    """What an event says by the text of its kind; by its short one where not everything of the text is known."""
    code, params = f"event.{kind}", plain_params(said)
    template = str(TEMPLATES.get(code, ""))
    needed = {name for _, name, _, _ in Formatter().parse(template) if name}
    short = f"{code}.short"
    is_known = all(params.get(name) not in (None, "") for name in needed)
    return Fact(code if is_known or short not in TEMPLATES else short, params)


def part(said: Said, name: str) -> Said:
    """Return a parameter that has several values; an empty one where there is none."""
    found = said.get(name)
    return found if isinstance(found, Mapping) else {}


def parts(said: Said, name: str) -> list[Said]:
    """Return a parameter that has several parts; none where it has another form."""
    found = said.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list | tuple) else []


def where(said: Said) -> Fact | None:
    """Return the fact that names the deployment, else the environment, the project or the team; None: nothing known."""
    names = {name: line(said[name], NAME) for name in ("project", "environment", "team") if said.get(name)}
    deployment = part(said, "deployment")
    if deployment.get("number") and {"project", "environment"} <= names.keys():
        place = Fact("place.deployment", {**names, "number": deployment["number"]})
        about = change(deployment)
        return Fact("place.change", {"place": place, "about": about}) if about else place
    if {"project", "environment"} <= names.keys():
        return Fact("place.environment", names)
    for name in ("project", "team"):
        if name in names:
            return Fact("place.word", {"text": names[name]})
    return None


def change(deployment: Said) -> list[Fact]:
    """Return what is known of the change: commit, author, title."""
    commit = line(deployment.get("commit") or "", 64)[:COMMIT]
    version = line(deployment.get("version") or "", AUTHOR)
    author = line(deployment.get("author") or "", AUTHOR)
    title = line(deployment.get("title") or "", TITLE)
    words = [Fact("place.word", {"text": text}) for text in (commit or version, author) if text]
    return [*words, Fact("place.title", {"title": title})] if title else words


def plain_params(said: Said) -> dict[str, Param]:
    """Return those of the parameters that a text can be filled with: numbers, facts, and texts as one line each."""
    filled: dict[str, Param] = {}
    for name, value in said.items():
        if isinstance(value, str):
            filled[name] = line(value, REASON)
        elif value is None or isinstance(value, int | float):
            filled[name] = value
        elif (fact := fact_of(value)) is not None:
            filled[name] = fact
    return filled


def facts_of(said: Said, name: str) -> list[Fact]:
    """Read a list of stored facts, without what is none."""
    return [fact for one in parts(said, name) if (fact := fact_of(one)) is not None]


def fact_of(stored: Any) -> Fact | None:
    """Read a stored fact; None where it is none."""
    try:
        return Fact.from_json(stored)
    except NotAFact:
        return None


# --- verdicts -------------------------------------------------------------------------------------------------------


def verdict(said: Said, occurred_at: datetime) -> Fact:
    """What a verdict says; of a final one after an early one, what changed."""
    found = part(said, "verdict")
    what = finding(found, part(said, "deployment"))
    early = part(said, "early").get("verdict")
    if part(said, "was"):
        return with_more(Fact(*revised_from(part(said, "was"), found, what)), said)
    if early is None:
        return with_more(what, said)
    if early == found.get("verdict"):
        return with_all(Fact("says.unchanged", {"verdict": early}), doubts_of(found) + pipeline_of(said))
    return with_more(Fact("says.changed", {"verdict": found.get("verdict"), "early": early, "what": what}), said)


def revised_from(was: Said, found: Said, what: Fact) -> tuple[str, dict[str, Param]]:
    """Return code and parameters of what a later analysis says."""
    name = was.get("verdict")
    if name is None or name == found.get("verdict"):
        return "says.revised", {"what": what}
    return "says.revised_from", {"was": str(name), "what": what}


def verdict_revised(said: Said, occurred_at: datetime) -> Fact:
    """What a later analysis says, or a person's mark."""
    mark = part(said, "mark")
    if not mark:
        return verdict(said, occurred_at)
    who = line(said.get("who") or "", AUTHOR) or Fact("says.somebody")
    names = {"about": str(said.get("about") or ""), "deserved": str(mark.get("should_have_been") or "")}
    if mark.get("right"):
        return Fact("says.marked_right", {"who": who, **names})
    return Fact("says.marked_deserved" if names["deserved"] else "says.marked_wrong", {"who": who, **names})


def finding(found: Said, deployment: Said) -> Fact:
    """The one thing that matters most: of a failed verdict its most severe check."""
    checks = parts(found, "checks")
    conclusive = found.get("conclusive", True)
    if found.get("verdict") == "ok" and conclusive:
        return ok_says(found, deployment)
    if checks:
        what = check_says(checks[0])
        what = what if found.get("verdict") == "rollback_recommended" else Fact("says.warning", {"what": what})
        return with_all(what, doubts_of(found))
    if not conclusive:
        doubts = facts_of(found, "doubts")
        return Fact("says.inconclusive", {"doubts": doubts}) if doubts else Fact("says.inconclusive_short")
    summary = fact_of(found.get("summary"))
    return Fact("says.summary", {"summary": summary}) if summary else Fact("says.nothing")


def ok_says(found: Said, deployment: Said) -> Fact:
    """What an ok means: of a pipeline that failed nobody knows what runs now."""
    pipeline, healthy = deployment.get("pipeline"), found.get("healthy") != "no"
    if pipeline in BROKEN:
        return Fact(f"says.{pipeline}_but_ok" if healthy else f"says.{pipeline}_and_unhealthy")
    rollback = "_rollback" if deployment.get("kind") == "rollback" else ""
    if not healthy:
        return Fact(f"says{rollback}.ok_but_unhealthy")
    return Fact(f"says{rollback}.ok_uncompared" if found.get("samples_before") == 0 else f"says{rollback}.ok")


# How pipelines end that did not deploy what they were to deploy.
BROKEN = frozenset({"failed", "cancelled"})


def check_says(check: Said) -> Fact:
    """What one failed check means to people, in numbers."""
    levels = {"observed": check.get("observed"), "baseline": check.get("baseline")}
    metric = str(check.get("metric"))
    if check.get("rule") in SENTENCES_OF_RULES:
        return Fact(SENTENCES_OF_RULES[str(check["rule"])])
    if levels["observed"] is None or metric not in METRICS_THAT_SAY or check.get("rule") in SAY_THEMSELVES:
        fact = fact_of(check.get("fact"))
        return Fact("says.check", {"check": fact}) if fact else Fact("says.nothing")
    if levels["baseline"] is None or same(levels["observed"], levels["baseline"]):
        return Fact(f"says.{metric}", levels)
    return Fact(f"says.{metric}_was", levels)


METRICS_THAT_SAY = frozenset({"error_rate", "latency_p95", "requests_per_sec", "cpu_usage", "memory_usage"})
# Journeys and alerts are about what is not every request of the service.
SAY_THEMSELVES = frozenset({JOURNEYS, EXPECTATION, ALERTS})
SENTENCES_OF_RULES = {"endpoint_stopped_answering": "says.unreachable", "too_good": "says.too_good"}


def same(one: float, other: float) -> bool:
    """Whether two levels would be written alike, so that "was" says nothing."""
    return abs(one - other) <= 0.005 * max(abs(one), abs(other))


def with_more(what: Fact, said: Said) -> Fact:
    """Add what else decides what to do: what failed besides, what was deployed since, where one can go back to."""
    found, deployment = part(said, "verdict"), part(said, "deployment")
    more: list[Fact] = []
    if found.get("verdict") != "ok" or not found.get("conclusive", True):
        more += pipeline_of(said)
        if deployment.get("kind") == "rollback":
            more.append(Fact("says.is_rollback"))
        more += replaced_or_good(said)
    if found.get("shadow"):
        more.append(Fact("says.shadow"))
    return with_all(what, more)


def with_all(what: Fact, more: list[Fact]) -> Fact:
    """Return the fact with these sentences after it."""
    for fact in more:
        what = Fact("says.and", {"what": what, "more": fact})
    return what


def doubts_of(found: Said) -> list[Fact]:
    return [] if found.get("conclusive", True) else [Fact("says.not_conclusive")]


def pipeline_of(said: Said) -> list[Fact]:
    """Return how the pipeline ended, where it did not deploy what it was to deploy."""
    pipeline = part(said, "deployment").get("pipeline")
    return [Fact(f"says.pipeline_{pipeline}")] if pipeline in BROKEN else []


def replaced_or_good(said: Said) -> list[Fact]:
    """Return what was deployed since a bad deployment; else the one to go back to, or that there is none."""
    replaced_by, good = part(said, "replaced_by").get("number"), part(said, "last_good").get("number")
    if replaced_by:
        return [Fact("says.replaced", {"number": replaced_by})]
    if good:
        return [Fact("says.last_good", {"number": good})]
    recommended = part(said, "verdict").get("verdict") == "rollback_recommended"
    return [Fact("says.no_last_good")] if recommended and "last_good" in said else []


def recovered(said: Said, occurred_at: datetime) -> Fact:
    since = part(said, "bad_since")
    seconds = seconds_since(since.get("at"), occurred_at)
    code = "says_rollback.recovered" if part(said, "deployment").get("kind") == "rollback" else "says.recovered"
    if since.get("number") and seconds is not None:
        return Fact(f"{code}_since", {"number": since["number"], "after": seconds})
    return Fact(code)


# --- what else happens ----------------------------------------------------------------------------------------------


def endpoint_answers(said: Said, occurred_at: datetime) -> Fact:
    seconds = seconds_since(said.get("since"), occurred_at)
    return Fact("says.answers_after", {"after": seconds}) if seconds is not None else Fact("says.answers")


def endpoint_silent(said: Said, occurred_at: datetime) -> Fact:
    params = {"times": said.get("times"), "reason": str(said.get("reason") or "")}
    return Fact("says.silent" if all(params.values()) else "says.silent_short", params)


def rolled_back(said: Said, occurred_at: datetime) -> Fact:
    number = part(said, "rolls_back_to").get("number")
    return Fact("says.rolls_back_to", {"number": number}) if number else Fact("says.rolls_back")


def acknowledged(said: Said, occurred_at: datetime) -> Fact:
    who = line(said.get("who") or "", AUTHOR) or Fact("says.somebody")
    reason = line(said.get("reason") or "", REASON)
    code = f"says.{said['what']}" if said.get("what") in ACKNOWLEDGED else "says.acknowledged"
    return Fact(f"{code}_because" if reason else code, {"who": who, "reason": reason})


ACKNOWLEDGED = frozenset({"on_it", "rolled_back", "ignored"})


def key_made(said: Said, occurred_at: datetime) -> Fact:
    params: dict[str, Param] = {
        "who": line(said.get("who") or "", AUTHOR) or Fact("says.somebody"),
        "name": line(said.get("name") or "", NAME),
        "prefix": line(said.get("prefix") or "", 20),
    }
    return Fact("says.key_made" if params["name"] else "says.key_made_short", params)


def member_invited(said: Said, occurred_at: datetime) -> Fact:
    params: dict[str, Param] = {
        "who": line(said.get("who") or "", AUTHOR) or Fact("says.somebody"),
        "email": line(said.get("email") or "", 254),
        "role": line(said.get("role") or "", NAME),
    }
    return Fact("says.invited" if params["email"] and params["role"] else "says.invited_short", params)


def seconds_since(text: Any, now: datetime) -> float | None:
    """Return the seconds from a stored time until now; None where it cannot be read."""
    try:
        at = parse_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, (now - at).total_seconds()) if at is not None and at.tzinfo else None


def weekly_report(said: Said, occurred_at: datetime) -> Fact:
    week = part(said, "week")
    if not week:
        return Fact("event.weekly_report.short")
    return Fact("event.weekly_report", {name: week.get(name) for name in ("deployed", "failed", "judged")})


WHAT: Mapping[str, Callable[[Said, datetime], Fact]] = {
    "verdict_issued": verdict,
    "early_rollback": verdict,
    "verdict_revised": verdict_revised,
    "recovered": recovered,
    "endpoint_silent": endpoint_silent,
    "endpoint_answers": endpoint_answers,
    "rolled_back": rolled_back,
    "acknowledged": acknowledged,
    "key_made": key_made,
    "member_invited": member_invited,
    "weekly_report": weekly_report,
}
