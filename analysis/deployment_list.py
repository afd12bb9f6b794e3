"""Read a list of deployments, such as git prints of tags or commits. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils.dateparse import parse_datetime

from explain.errors import ExplainedError
from explain.facts import Fact

# How far back a list may go, and how long past deployments are kept.
OLDEST = timedelta(days=90)
# Lines of a list, and past deployments of an environment.
MOST = 1000
LONGEST_LINE = 1000
# Prints such a list; %(*objectname) is the commit of an annotated tag.
GIT = (
    "git for-each-ref refs/tags --format='%(refname:short)"
    " %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end) %(creatordate:iso-strict)'"
)

SHA = re.compile(r"[0-9a-f]{7,64}", re.IGNORECASE)
MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}")
SEPARATORS = re.compile(r"[,;\"]")
SECONDS = re.compile(r"[0-9]{9,11}")
DAY, CLOCK, ZONE = re.compile(r"\d{4}-\d{2}-\d{2}"), re.compile(r"\d{2}:\d{2}(:\d{2})?"), re.compile(r"[+-]\d{4}|Z")


class NoList(ValueError):
    """Lines that say no deployment. problems: by their numbers, from 1."""

    def __init__(self, problems: Mapping[int, Fact]) -> None:
        super().__init__(", ".join(f"line {number}: {fact.code}" for number, fact in problems.items()))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Listed:
    """A deployment of a list."""

    name: str
    commit_sha: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DeploymentList:
    """listed: oldest first; too_old: how many lines were left out as older than OLDEST."""

    listed: Sequence[Listed]
    too_old: int = 0


def read_list(text: str, now: datetime) -> DeploymentList:
    """Return the deployments of a list: a line has a time, and a name or a commit or both, in any order.

    Times are ISO 8601 with their offset, as git writes them (%cI, %ci), or seconds since 1970. Raises NoList.
    """
    found: dict[tuple[str, datetime], Listed] = {}
    problems: dict[int, Fact] = {}
    old: dict[int, Listed] = {}
    lines = text.removeprefix("\ufeff").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            one = read_line(line, now)
        except ExplainedError as error:
            problems[number] = error.fact
            continue
        if one.at < now - OLDEST:
            old[number] = one
        else:
            found[one.name, one.at] = one
    if not problems and not found:
        facts = {number: Fact("list_line_old", {"days": OLDEST.days}) for number in old}
        problems = facts or {1: Fact("list_empty")}
    if len(found) > MOST:
        problems = {len(lines): Fact("list_long", {"n": len(found), "most": MOST})}
    if problems:
        raise NoList(problems)
    return DeploymentList(sorted(found.values(), key=lambda one: one.at), len(old))


class WrongLine(ExplainedError):
    """A line says no deployment."""


def read_line(line: str, now: datetime) -> Listed:
    """Return the deployment of a line. Raises WrongLine."""
    if len(line) > LONGEST_LINE:
        raise WrongLine("list_line_long", most=LONGEST_LINE)
    if not line.isprintable() and not line.replace("\t", " ").isprintable():
        raise WrongLine("list_line_unprintable")
    at, words = taken_time(SEPARATORS.sub(" ", line).split())
    if at is None:
        raise WrongLine("list_line_time")
    if at.tzinfo is None:
        raise WrongLine("list_line_zone", time=at.isoformat(sep=" "))
    if at > now:
        raise WrongLine("list_line_future", time=at.isoformat())
    # Of several the longest: a tag may look like a short one.
    sha = max((word for word in words if SHA.fullmatch(word) and not word.isdecimal()), key=len, default="")
    name = " ".join(word for word in words if word != sha)[:255]
    if not name and not sha:
        raise WrongLine("list_line_name")
    return Listed(name or sha[:8], sha.lower(), at.astimezone(UTC))


def taken_time(words: Sequence[str]) -> tuple[datetime | None, list[str]]:
    """Return the time among the words of a line, and the others. Of git's %ci three words are the time.

    Of several the first in ISO 8601 with its offset: a tag may be a number such as 2026113001, or look like a time.
    """
    found: list[tuple[int, datetime, list[str]]] = []
    for place, word in enumerate(words):
        taken = 1
        if DAY.fullmatch(word) and place + 1 < len(words) and CLOCK.fullmatch(words[place + 1]):
            taken = 3 if place + 2 < len(words) and ZONE.fullmatch(words[place + 2]) else 2
        text = "".join((word, "T" if taken > 1 else "", *words[place + 1 : place + taken]))
        at = time_of(text)
        if at is not None:
            rank = 0 if SECONDS.fullmatch(text) else 1 if at.tzinfo is None else 2
            found.append((rank, at, [*words[:place], *words[place + taken :]]))
    if not found:
        return None, list(words)
    _, at, others = max(found, key=lambda one: one[0])
    return at, others


def time_of(text: str) -> datetime | None:
    if SECONDS.fullmatch(text):
        return datetime.fromtimestamp(int(text), UTC)
    if not MOMENT.match(text):
        return None
    try:
        return parse_datetime(text)
    except ValueError:
        return None
