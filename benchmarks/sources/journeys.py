"""How many broken pages that answer 200 journeys find, and how often they find what is none: 50 of each.

Pages of a real local site, asked by the real source; the real judge, with the time passed in.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings

from benchmarks.report import print_json, print_table

if TYPE_CHECKING:
    from analysis.judge.types import Verdict
    from metrics.tests.site import Asked, Page, Site

SEED = 14
CASES = 50
BASELINE, POST = 15, 5
LEAST_FOUND, MOST_FALSE_ALARMS = 0.95, 0.02
FINISH = datetime(2026, 2, 13, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RELEASE = {"version": "v2.0.1", "commit_sha": "0123456789abcdef"}
HTML, JSON = (("Content-Type", "text/html"),), (("Content-Type", "application/json"),)
SHOP = "<html><h1>Welcome to the shop</h1><ul><li>Lamp 12.50</li></ul><footer>v2.0.1</footer></html>"
ITEMS = {"items": [{"id": 7, "name": "Lamp", "price": 12.5}], "total": 1, "currency": "EUR"}
FORM = '<html><form><input name="csrf" value="t{}"></form></html>'
# What pages answer: text or JSON, headers, and after which time in s.
Body = str | Mapping[str, Any]
PAUSE_S = 0.002


@dataclass
class World:
    """The state of the site: whether it is after finish, the number of the sample, and chance."""

    after: bool = False
    sample: int = 0
    random: Random = field(default_factory=Random)


@dataclass(frozen=True)
class Case:
    """One deployment. faulty: whether a request meets what is broken; first: without a baseline before it."""

    name: str
    faults: Mapping[str, Body | None]
    faulty: Callable[[World], bool]
    first: bool = False
    slow_s: float = 0.0
    without_header: bool = False
    broken: bool = True


# --- the site -----------------------------------------------------------------------------------------------------

STEPS = [
    {"url": "/", "expect": {"text": ["Welcome", "</html>"], "absent": "went wrong", "version": {}}},
    {
        "url": "/api/items",
        "expect": {
            "json": [{"path": "$.items[0].name"}, {"path": "$.currency", "value": "EUR"}],
            "header": {"name": "Cache-Control"},
            "latency_ms": 1000,
        },
    },
    {"url": "/login", "capture": {"csrf": {"after": 'name="csrf" value="', "before": '"'}}},
    {
        "method": "POST",
        "url": "/login",
        "body": "csrf={csrf}&user=ann",
        "follow": True,
        "expect": {"text": "Hello ann"},
    },
]
HEALTHY: Mapping[str, Body] = {"/": SHOP, "/api/items": ITEMS, "/login": FORM, "/home": "Hello ann"}
ERROR = "<html><h1>Welcome</h1>Something went wrong</html>"
# What is broken and answers 200, by name: the pages that change, None: gone blank.
FAULTS: Mapping[str, Mapping[str, Body | None]] = {
    "missing text": {"/": SHOP.replace("Welcome to the shop", "")},
    "empty list": {"/api/items": {**ITEMS, "items": [], "total": 0}},
    "wrong JSON value": {"/api/items": {**ITEMS, "currency": None}},
    "error page with 200": {"/": ERROR},
    "wrong version": {"/": SHOP.replace("v2.0.1", "v2.0.0")},
    "truncated HTML": {"/": SHOP[:60]},
    "missing header": {},
    "slow step": {},
    "login without effect": {"/home": "<html>Sign in</html>"},
    "form without token": {"/login": "<html><form></form></html>"},
    "HTML instead of JSON": {"/api/items": "<html>Items</html>"},
    "blank page": {"/": None},
    "JSON error with 200": {"/api/items": {"error": "database is locked"}},
}


def page_of(case: Case, world: World, asked: "Asked") -> "Page":
    """Return what the site answers: a broken page where the case says so."""
    from metrics.tests.site import Page  # noqa: PLC0415  (models, which need the settings)

    path, random = asked.path, world.random
    faulty = case.faulty(world)
    pause_s = PAUSE_S * random.uniform(0.7, 1.6) + (case.slow_s if faulty and path == "/api/items" else 0.0)
    if asked.method == "POST":
        return Page(status=303, headers=(("Location", "/home"), ("Set-Cookie", "user=ann; Path=/")), pause_s=pause_s)
    body: Body | None = {**HEALTHY, **(case.faults if faulty else {})}[path]
    if not world.after and path == "/":
        body = str(body).replace("v2.0.1", "v2.0.0") if body is not None else None
    if isinstance(body, str | None):
        text = (body or "").format(random.randrange(10**6)) if path == "/login" else body or ""
        return Page(text.encode(), headers=HTML, pause_s=pause_s)
    headers = JSON if faulty and case.without_header else (*JSON, ("Cache-Control", "no-store"))
    return Page(json.dumps(body).encode(), headers=headers, pause_s=pause_s)


# --- the cases ----------------------------------------------------------------------------------------------------


def since_finish(share: float) -> Callable[[World], bool]:
    """Return a fault of this share of the answers since the deployment: of one of several instances."""
    return lambda world: world.after and world.random.random() < share


def always(share: float) -> Callable[[World], bool]:
    return lambda world: world.random.random() < share


def in_minutes(share: float) -> Callable[[World], bool]:
    """Return a fault of this share of the minutes, before and after, each as a whole."""
    return lambda world: Random(f"{SEED} {world.after} {world.sample}").random() < share


def broken_cases() -> Iterator[Case]:
    shares = ((1.0, False), (0.5, False), (1.0, True), (0.34, False))
    made = 0
    for share, first in shares:
        for name, faults in FAULTS.items():
            if made == CASES:
                return
            made += 1
            slow_s, bare = (0.15 if name == "slow step" else 0.0), name == "missing header"
            yield Case(name, faults, since_finish(share), first=first, slow_s=slow_s, without_header=bare)


def healthy_cases() -> Iterator[Case]:
    kinds: list[tuple[str, Callable[[World], bool]]] = [
        ("steady", lambda _world: False),
        *((f"flaky, {share:.0%} of answers", always(share)) for share in (0.02, 0.05, 0.1, 0.2, 0.4)),
        *((f"flaky, {share:.0%} of minutes", in_minutes(share)) for share in (0.05, 0.1, 0.2)),
        ("broken before and since", lambda _world: True),
        ("cold start", lambda world: world.after and world.sample == 0),
        ("one bad minute", lambda world: world.after and world.sample == 2),
    ]
    names = [name for name in FAULTS if name not in ("wrong version", "slow step")]
    for number in range(CASES):
        kind, faulty = kinds[number % len(kinds)]
        fault = names[number % len(names)]
        first = number % 5 == 4 and "minutes" not in kind
        yield Case(kind, FAULTS[fault], faulty, first=first, without_header=fault == "missing header", broken=False)


# --- running ------------------------------------------------------------------------------------------------------


async def sampled(site: "Site", case: Case, number: int) -> "Verdict":
    """Return the verdict on one deployment, from the samples of the real source."""
    from analysis.evidence import asdict_of  # noqa: PLC0415  (models, which need the settings)
    from analysis.judge import judge  # noqa: PLC0415
    from analysis.judge.types import Expectation, Sample, Window  # noqa: PLC0415
    from metrics.models import Phase  # noqa: PLC0415
    from metrics.sources import source_kind  # noqa: PLC0415
    from metrics.sources.base import Asking  # noqa: PLC0415
    from metrics.sources.http_endpoint import Endpoint  # noqa: PLC0415
    from outbound.addresses import AllowList  # noqa: PLC0415
    from outbound.fetcher import Fetcher  # noqa: PLC0415
    from projects.policy import policy_from_dict  # noqa: PLC0415

    kind = source_kind("check")
    assert kind is not None  # noqa: S101
    config = kind.parse({"base_url": site.url, "unsafe": True, "steps": STEPS})
    world = World(random=Random(SEED * 1000 + number))

    def answer(asked: "Asked") -> "Page":
        return page_of(case, world, asked)

    site.asked.clear()
    site.pages = dict.fromkeys(HEALTHY, answer)
    fetcher = Fetcher(AllowList.parse("127.0.0.0/8"))

    async def sample(phase: str, at: datetime, place: int) -> Sample:
        world.after, world.sample = phase == Phase.POST, place
        metrics = await kind.read(config, Asking(fetcher, at, at, Endpoint("", ""), phase=phase, release=RELEASE))
        origin = {Phase.PRE: "pre", Phase.BASELINE: "baseline", Phase.POST: "post"}[Phase(phase)]
        return Sample(
            at,
            latency_p95=metrics.latency_p95,
            error_rate=metrics.error_rate,
            origin=origin,  # type: ignore[arg-type]  # one of them
            custom=metrics.custom,
        )

    try:
        before = [] if case.first else range(-BASELINE, 0)
        pre = [await sample(Phase.BASELINE, FINISH + (place - 2) * MINUTE, place) for place in before]
        pre.append(await sample(Phase.PRE, FINISH - 2 * MINUTE, 0))
        post = [await sample(Phase.POST, FINISH + (place + 1) * MINUTE, place) for place in range(POST)]
    finally:
        await fetcher.aclose()
    window = Window(
        expected=POST,
        started_at=FINISH - 2 * MINUTE,
        finished_at=FINISH,
        evaluated_at=post[-1].collected_at + timedelta(seconds=2),
        expectations=tuple(Expectation(**asdict_of(one)) for one in kind.expectations(config)),
    )
    return judge(pre, post, policy_from_dict({}), window)


def measured() -> Iterator[tuple[Case, "Verdict"]]:
    from metrics.tests.site import serving  # noqa: PLC0415  (models, which need the settings)

    with serving() as site:
        for number, case in enumerate((*broken_cases(), *healthy_cases())):
            yield case, asyncio.run(sampled(site, case, number))


def main() -> int:
    """Print how many of each kind gave a verdict other than ok, and which; return 1 where a bound is missed."""
    with tempfile.TemporaryDirectory() as directory:
        if not settings.configured:
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seqpulse.settings")
            os.environ.setdefault("DEBUG", "on")
            os.environ.setdefault("SEQPULSE_DATA_DIR", directory)
        django.setup()
        # No time passes between the samples: none of them spreads what it asks.
        settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS = 0.0
        counted: dict[tuple[bool, str], dict[str, Any]] = {}
        for case, verdict in measured():
            row = counted.setdefault((case.broken, case.name), {"pages": case.name, "broken": case.broken, "cases": 0})
            row["cases"] += 1
            row[verdict.verdict] = row.get(verdict.verdict, 0) + 1
        rows = list(counted.values())
        print_table(rows)
        alarms = {
            broken: sum(row["cases"] - row.get("ok", 0) for row in rows if row["broken"] == broken)
            for broken in (True, False)
        }
        found, false_alarms = alarms[True] / CASES, alarms[False] / CASES
        print(f"found {found:.0%} of {CASES} broken deployments; false alarms: {false_alarms:.0%} of {CASES}")
        print_json("journeys", rows, found=found, false_alarms=false_alarms)
    return int(found < LEAST_FOUND or false_alarms > MOST_FALSE_ALARMS)


if __name__ == "__main__":
    sys.exit(main())
