"""Take the steps of a journey, several times, and count what was not as expected.

Bounded: at most two journeys at once, a time limit for each request and for all, and for the size of each answer.
Cookies and captured values live as long as one journey.
"""

import asyncio
import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.cookiejar import CookieJar
from time import monotonic
from typing import Any
from urllib.parse import quote, quote_plus, urljoin
from urllib.request import Request

from django.conf import settings

from common.strict_json import InvalidJSON, read_json
from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.answers import first_lines
from metrics.models import Phase
from metrics.payload import ERROR_ASKS, Metrics
from metrics.sources.base import Asking
from metrics.sources.check_config import (
    SAFE,
    Capture,
    Check,
    CheckConfig,
    Step,
    VersionExpected,
    checks_of,
    filled,
    placeholders,
)
from metrics.sources.http_endpoint import USER_AGENT
from metrics.sources.json_path import Missing, parse_path, value_at
from outbound.endpoints import EndpointError, Origin, origin_of
from outbound.fetcher import OutboundError, Response
from scheduler.registry import JobError

AT_ONCE = 2
MOST_BYTES = 1024 * 1024
MOST_REDIRECTS = 5
# For all journeys of a sample. Right before a deployment they have to end before it changes anything. Where a person
# tries a journey and waits, it is taken once.
DEADLINE_S = 25.0
DEADLINE_BEFORE_S = 8.0
# Of what is the only thing to compare with, more is asked.
TIMES_BEFORE = 4
MOST_BEFORE = 20
# Journeys of one sample are spread over this share of the interval, and at most so long.
SPREAD_SHARE = 0.08
LONGEST_SPREAD_S = 5.0
LEAST_LEFT_S = 0.05
LONGEST_CAPTURED = 4096
LONGEST_HEADERS = 16 * 1024
# Larger answers are looked through beside the event loop.
LARGE = 64 * 1024
SHORTEST_SHA = 7
# Failures that are about the configuration or about us: no user sees them.
NOT_OF_SERVICE = frozenset({"blocked", "other"})
CHARSET = re.compile(r"charset=\s*[\"']?([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
MOST_TOLD = 5


class NotAsked(ExplainedError):
    """A step cannot be asked: what it needs was not captured, or no request can contain it."""


@dataclass(slots=True)
class Counts:
    """What journeys gave. custom: see Expectation; totals_ms: of journeys whose every step answered."""

    custom: Counter[str] = field(default_factory=Counter)
    statuses: dict[str, float] = field(default_factory=dict)
    totals_ms: list[float] = field(default_factory=list)
    asks: int = 0
    failed: int = 0
    told: list[Fact] = field(default_factory=list)

    def tell(self, fact: Fact) -> None:
        if fact not in self.told and len(self.told) < MOST_TOLD:
            self.told.append(fact)


async def ask_journey(config: CheckConfig, asking: Asking) -> Metrics:
    """Return p95 of the journeys' durations, the share of journeys with a failed step, and the counts by expectation.

    Raises: JobError, OutboundError, where not one journey could be asked.
    """
    before, trial = asking.phase == Phase.PRE, not asking.phase
    times = 1 if trial else min(MOST_BEFORE, TIMES_BEFORE * config.times) if before else config.times
    deadline = monotonic() + (DEADLINE_BEFORE_S if before or trial else DEADLINE_S)
    spread = not (before or trial)
    gap_s = min(LONGEST_SPREAD_S, SPREAD_SHARE * settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS) / times if spread else 0.0
    counts, places = Counts(), asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        await asyncio.sleep(number * gap_s)
        async with places:
            if deadline - monotonic() > LEAST_LEFT_S:
                await Journey(config, asking, counts, deadline).take()

    tasks = [asyncio.ensure_future(one(number)) for number in range(times)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    asking.told.extend(counts.told)
    if not counts.asks:
        raise JobError("nothing_measured")
    custom = {name: float(count) for name, count in counts.custom.items()}
    custom |= {**counts.statuses, ERROR_ASKS: float(counts.asks)}
    latency = p95(counts.totals_ms) if counts.totals_ms else None
    return Metrics(latency_p95=latency, error_rate=counts.failed / counts.asks, custom=custom)


def p95(values: list[float]) -> float:
    """Return the 95th percentile, interpolated between the two values around it."""
    ordered = sorted(values)
    place = 0.95 * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


class Journey:
    """One user who takes the steps one after the other."""

    def __init__(self, config: CheckConfig, asking: Asking, counts: Counts, deadline: float) -> None:
        self.config, self.asking, self.counts, self.deadline = config, asking, counts, deadline
        self.cookies = CookieJar()
        self.captured: dict[str, str] = {}

    async def take(self) -> None:
        total_ms, failed, whole, asked = 0.0, False, True, False
        for step in self.config.steps:
            if self.deadline - monotonic() <= LEAST_LEFT_S:
                whole = False
                break
            checks = [check for check in checks_of(self.config, step) if self.can_be_seen(check)]
            answers: list[Response] | OutboundError
            try:
                answers = await self.answers(step)
            except NotAsked as error:
                self.tell(step, error.fact)
                whole = False
                continue
            except OutboundError as error:
                if error.code in NOT_OF_SERVICE:
                    raise
                if self.deadline - monotonic() <= LEAST_LEFT_S:  # cut off by the time limit for all
                    whole = False
                    break
                answers = error
            asked = True
            found = await self.failures(step, answers, checks)
            # That the old version answers is judged for itself: before the deployment it did, too.
            failed = failed or any(not check.about.after_only for check in found)
            if isinstance(answers, list):
                total_ms += sum(answer.elapsed_ms for answer in answers)
            else:
                whole = False
        if asked:
            self.counts.asks += 1
            self.counts.failed += failed
            if whole:
                self.counts.totals_ms.append(total_ms)

    def can_be_seen(self, check: Check) -> bool:
        """Return whether it is no check of the new release, or that one is there, and known by this name."""
        if not check.about.after_only:
            return True
        release = self.asking.release
        return self.asking.phase == Phase.POST and all(release.get(name) for name in placeholders(check.wanted.text))

    # ------------------------------------------------------------------------------------------------------- asking

    async def answers(self, step: Step) -> list[Response]:
        """Return the answer of a step, after those of the redirects that led to it.

        Raises: OutboundError, NotAsked.
        """
        try:
            url = self.config.address(step, lambda name: quote(self.value(name), safe=""))
            home = origin_of(url)
            method, body = step.method, self.body(step)
            found: list[Response] = []
            while True:
                answer = await self.send(step, url, home=home, method=method, body=body)
                found.append(answer)
                location = answer.headers.get("Location")
                if not step.follow or location is None or answer.status not in (301, 302, 303, 307, 308):
                    return found
                url = joined(url, location)
                if origin_of(url) not in self.config.origins or len(found) > MOST_REDIRECTS:
                    code = "journey.too_many_redirects" if len(found) > MOST_REDIRECTS else "journey.redirect_elsewhere"
                    raise OutboundError("protocol", host=home.host, problem=Fact(code))
                if answer.status == 303 or (answer.status in (301, 302) and method not in SAFE):
                    method, body = "GET", b""
        except EndpointError as error:
            raise OutboundError("protocol", host=self.config.origin.host, problem=error.fact) from None

    async def send(self, step: Step, url: str, *, home: Origin, method: str, body: bytes) -> Response:
        headers = self.headers(step, url, home=home, body=body)
        left_s = min(self.config.timeout_s, self.deadline - monotonic())
        if left_s <= LEAST_LEFT_S:
            raise NotAsked("journey.no_time")
        answer = await self.asking.fetcher.get(
            url,
            headers,
            timeout_s=left_s,
            max_bytes=MOST_BYTES,
            method=method,
            body=body,
            gzip=True,
            ca_pem=self.config.ca_pem,
        )
        note_cookies(self.cookies, url, answer)
        return answer

    def headers(self, step: Step, url: str, *, home: Origin, body: bytes) -> dict[str, str]:
        """Return the headers of a request: credentials only for the origins that they are configured for."""
        found = {"User-Agent": USER_AGENT, "Accept": "text/html, application/json, */*;q=0.5"}
        origin = origin_of(url)
        if origin == self.config.origin:
            found |= self.config.request_headers
        if origin == home:
            found |= {name: filled(value, self.value) for name, value in step.headers.items()}
        if body and "content-type" not in {name.lower() for name in found}:
            form = body.lstrip()[:1] not in (b"{", b"[")
            found["Content-Type"] = "application/x-www-form-urlencoded" if form else "application/json"
        if (cookie := cookies_for(self.cookies, url)) is not None and "cookie" not in {one.lower() for one in found}:
            found["Cookie"] = cookie
        unique = {name.lower(): (name, value) for name, value in found.items()}
        lines = dict(unique.values())
        text = "".join(lines.values())
        if not (text.isascii() and text.isprintable()) or len(text) > LONGEST_HEADERS:
            raise NotAsked("journey.header")
        return lines

    def body(self, step: Step) -> bytes:
        if not step.body:
            return b""
        given = next((value for name, value in step.headers.items() if name.lower() == "content-type"), "")
        if "json" in given or (not given and step.body.lstrip()[:1] in ("{", "[")):
            text = filled(step.body, lambda name: json.dumps(self.value(name))[1:-1])
        elif "urlencoded" in given or not given:
            text = filled(step.body, lambda name: quote_plus(self.value(name)))
        else:
            text = filled(step.body, self.value)
        return text.encode("utf-8", "replace")

    def value(self, name: str) -> str:
        if name not in self.captured:
            raise NotAsked("journey.not_captured", name=name)
        return self.captured[name]

    # ------------------------------------------------------------------------------------------------------ looking

    async def failures(self, step: Step, answers: list[Response] | OutboundError, checks: list[Check]) -> list[Check]:
        """Count what was not as expected of a step, and return it."""
        about = checks[0].about
        self.counts.custom[about.asked] += 1
        for check in checks:
            self.counts.custom[check.about.name] += 0
        if isinstance(answers, OutboundError):
            self.tell(step, answers.fact)
            found, status = checks[:1], 0
        else:
            answer = answers[-1]
            page = Page(answer)
            looked = page.looked if len(answer.body) <= LARGE else page.looked_apart
            found, status = await looked(self, step, checks, sum(one.elapsed_ms for one in answers)), answer.status
            for check in found[:1]:
                failed = Fact(check.about.fact.code, {**check.about.fact.params, "status": status})
                code, text = "journey.not_as_expected", first_lines(answer)
                self.counts.tell(Fact(f"{code}_answered" if text else code, {"failed": failed, "text": text}))
        for check in found:
            self.counts.custom[check.about.name] += 1
        # Of a failure it is told with which status it came.
        if found or about.answered not in self.counts.statuses:
            self.counts.statuses[about.answered] = float(status)
        return found

    def tell(self, step: Step, problem: Fact) -> None:
        self.counts.tell(Fact("journey.step", {"step": step.label, "problem": problem}))


class Page:
    """An answer, in the forms in which it is looked at."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer
        self._text: str | None = None
        self._plain: str | None = None
        self._document: Any = self

    async def looked(self, journey: Journey, step: Step, checks: list[Check], took_ms: float) -> list[Check]:
        return self.look(journey, step, checks, took_ms)

    async def looked_apart(self, journey: Journey, step: Step, checks: list[Check], took_ms: float) -> list[Check]:
        return await asyncio.to_thread(self.look, journey, step, checks, took_ms)

    def look(self, journey: Journey, step: Step, checks: list[Check], took_ms: float) -> list[Check]:
        """Return what is not as expected; capture what later steps need."""
        found = {name: self.captured(capture, journey.cookies) for name, capture in step.capture.items()}
        missing = {step.capture[name] for name, value in found.items() if value is None}
        journey.captured |= {name: value[:LONGEST_CAPTURED] for name, value in found.items() if value is not None}
        _answer, status, *rest = checks
        if not step.expect.allows(self.answer.status):
            return [status]
        failed: list[Check] = []
        for check in rest:
            # A page that is not as it should be may lack its version for that reason.
            if check.about.after_only and failed:
                continue
            well = check.wanted not in missing if check.kind == "capture" else self.as_expected(check, took_ms, journey)
            if not well:
                failed.append(check)
        return failed

    def as_expected(self, check: Check, took_ms: float, journey: Journey) -> bool:
        wanted, headers = check.wanted, self.answer.headers
        match check.kind:
            case "latency":
                well = took_ms <= wanted
            case "text":
                well = self.has(wanted)
            case "absent":
                well = not self.has(wanted)
            case "json_absent" | "json_present":
                well = self.has_value(wanted.path) == wanted.present
            case "json_value":
                well = same(self.value_at(wanted.path), wanted.value)
            case "header_absent" | "header_present":
                well = (wanted.name in headers) == wanted.present
            case "header_value":
                well = has_part(headers.get(wanted.name), wanted.value)
            case _:
                well = self.is_release(wanted, journey.asking)
        return bool(well)

    @property
    def text(self) -> str:
        """Return the body in the charset that it names, else UTF-8; what cannot be read is replaced."""
        if self._text is None:
            found = CHARSET.search(self.answer.content_type)
            try:
                text = self.answer.body.decode(found[1] if found else "utf-8", "replace")
            except (LookupError, ValueError, UnicodeError):  # no charset, or none of text
                text = self.answer.body.decode("utf-8", "replace")
            self._text = text
        return self._text

    def has(self, wanted: str) -> bool:
        """Return whether people see the text: however it is encoded, and wherever its lines break."""
        if wanted in self.text:
            return True
        if self._plain is None:
            self._plain = normal(html.unescape(self.text) if "&" in self.text else self.text)
        return normal(wanted) in self._plain

    @property
    def document(self) -> Any:
        """Return the JSON document, None where it is none."""
        if self._document is self:
            try:
                self._document = read_json(self.answer.body)
            except InvalidJSON:
                self._document = None
        return self._document

    def value_at(self, path: str) -> Any:
        """Return the value at the path, or Missing."""
        try:
            return value_at(self.document, parse_path(path))
        except Missing:
            return Missing

    def has_value(self, path: str) -> bool:
        return self.value_at(path) not in (Missing, None)

    def is_release(self, wanted: VersionExpected, asking: Asking) -> bool:
        text = filled(wanted.text, lambda name: asking.release.get(name, ""))
        # Pages show the beginning of a commit, of any length.
        commit = asking.release.get("commit_sha", "") if wanted.text == "{commit_sha}" else ""
        if wanted.path is None and wanted.header is None:
            return self.has(text[:SHORTEST_SHA] if commit else text)
        found = self.value_at(wanted.path) if wanted.path is not None else self.answer.headers.get(wanted.header or "")
        if not isinstance(found, str | int | float):
            return False
        shown = str(found).strip()
        return shown == text or (len(shown) >= SHORTEST_SHA and commit.lower().startswith(shown.lower()))

    def captured(self, capture: Capture, cookies: CookieJar) -> str | None:
        if capture.path is not None:
            value = self.value_at(capture.path)
            if isinstance(value, bool):
                return json.dumps(value)
            return str(value) if isinstance(value, str | int | float) else None
        if capture.header is not None:
            return self.answer.headers.get(capture.header)
        if capture.cookie is not None:
            return next((one.value for one in cookies if one.name == capture.cookie), None)
        _, begins, rest = self.text.partition(capture.after or "")
        value, ends, _ = rest.partition(capture.before or "")
        return html.unescape(value) if begins and ends else None


def joined(url: str, location: str) -> str:
    """Return where a redirect leads. Raises EndpointError."""
    try:
        return urljoin(url, location).partition("#")[0]
    except ValueError:
        raise EndpointError("url_not_absolute") from None


def normal(text: str) -> str:
    """Return a text in one form of Unicode, with single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def same(found: Any, wanted: Any) -> bool:
    """Return whether JSON values are equal: true is not 1, and 1.0 is 1."""
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def has_part(found: str | None, wanted: str) -> bool:
    """Return whether a header has a value, as a whole or as one of its parts."""
    if found is None:
        return False
    parts = (found, *re.split(r"[,;]", found))
    return wanted.casefold() in {part.strip().casefold() for part in parts}


class _Headers:
    """An answer, as http.cookiejar wants it."""

    def __init__(self, answer: Response) -> None:
        self.message = Message()
        for line in answer.header_lines:
            name, colon, value = line.decode("latin-1").partition(":")
            if colon and name.strip().lower() == "set-cookie":
                self.message["Set-Cookie"] = value.strip()

    def info(self) -> Message:
        return self.message


def note_cookies(jar: CookieJar, url: str, answer: Response) -> None:
    jar.extract_cookies(_Headers(answer), Request(url))  # type: ignore[arg-type]  # noqa: S310  (info() is all it needs)


def cookies_for(jar: CookieJar, url: str) -> str | None:
    request = Request(url)  # noqa: S310  (nothing is opened: it names the address)
    jar.add_cookie_header(request)
    found: Mapping[str, str] = request.unredirected_hdrs
    return found.get("Cookie")
