"""Ask the query API of Prometheus, or one that is compatible: many expressions with one request.

https://prometheus.io/docs/prometheus/latest/querying/api/
"""

import asyncio
import json
import math
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlencode

from common.strict_json import InvalidJSON, read_json
from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.answers import first_lines
from metrics.formats import format_of
from metrics.sources.base import HttpConfig
from metrics.sources.http_endpoint import USER_AGENT
from outbound.endpoints import MAX_URL_LENGTH, parse_endpoint
from outbound.fetcher import Fetcher, OutboundError, Response
from outbound.transfer import timed_out
from scheduler.registry import JobError
from security.redaction import redact_foreign_text

# It tells apart the series of expressions that are asked for together.
LABEL = "seqpulse_metric"
# Of an answer for one expression and one instant, which is one series.
BYTES = 64 * 1024
# Of one point in an answer, with much to spare.
BYTES_PER_POINT = 64
MOST_BYTES = 8 * 1024 * 1024
LONGEST_TEXT = 300
# Ignored by servers that do not know them. VictoriaMetrics moves the times of queries that may be cached; it and Thanos
# answer with a part of the data where a part of their storage is away, which would read as a loss of traffic.
EXACT = {"nocache": "1", "deny_partial_response": "1", "partial_response": "false"}
# A kept-alive connection that the server closed just when it was used again.
CLOSED = frozenset({"closed_unanswered", "broken_sending", "broken_receiving"})
# Answers that are about the question, and not about the server or who asks it.
ABOUT_QUERY = frozenset({400, 405, 413, 414, 422, 431})
REFUSALS = frozenset({401, 403})
# So long expressions are asked for one by one, where asking for them together did not work.
ASKED_APART_S = 600.0


class QueryRefused(JobError):
    """The server answers that this query is wrong, or too much."""


class Series(NamedTuple):
    """One series of an answer: its labels, and its points with their times in s. Only finite values."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


Answer = Sequence[Series] | ExplainedError


@dataclass(slots=True, eq=False)
class Learned:
    """What is known about a server and the expressions that it is asked for, for as long as this process runs.

    scalars: names of expressions that give no vector; apart: of those that were refused; apart_until: until when all
    are asked for one by one (monotonic); ahead_s: by how much the server's clock is ahead of ours.
    """

    scalars: set[str] = field(default_factory=set)
    apart: set[str] = field(default_factory=set)
    apart_until: float = 0.0
    ahead_s: float | None = None


class Api:
    """Questions to one server, all within the time limit of the configuration.

    url: in front of /api/v1; now: our time.
    """

    def __init__(self, fetcher: Fetcher, url: str, config: HttpConfig, learned: Learned, *, now: datetime) -> None:
        self.fetcher, self.url, self.config, self.learned = fetcher, url, config, learned
        self.headers = {"User-Agent": USER_AGENT, "Accept": "application/json", **config.request_headers}
        self.begun = monotonic()
        self.now = now

    # ----------------------------------------------------------------------------------------------- expressions

    async def ask(
        self, path: str, expressions: Mapping[str, str], asked: Mapping[str, str], points: int = 1
    ) -> dict[str, Answer]:
        """Return the answer to each expression, by name, or why there is none.

        All are asked for together; where that is refused, one by one, so that each of them fails for itself only.

        Args:
            path, asked: query or query_range, and its times.
            points: of a series, at most.
        """
        learned = self.learned
        size = min(BYTES + BYTES_PER_POINT * points, MOST_BYTES)
        apart = set(expressions) if monotonic() < learned.apart_until else learned.apart & set(expressions)
        together = {name: query for name, query in expressions.items() if name not in apart}
        if len(together) == 1:
            apart, together = set(expressions), {}
        found: dict[str, Answer] = {}
        separately = self._separately(path, {name: expressions[name] for name in apart}, asked, size)
        if together:
            query = " or ".join(self._labelled(name, query) for name, query in together.items())
            most = min(size * len(together), MOST_BYTES)
            batch, found = await asyncio.gather(_tried(self.data(path, {"query": query, **asked}, most)), separately)
            if isinstance(batch, ExplainedError):
                if took_too_long(batch):
                    learned.apart_until = monotonic() + ASKED_APART_S
                if not about_query(batch):
                    raise batch
                known = set(learned.scalars), set(learned.apart)
                found |= await self._separately(path, together, asked, size)
                if known == (learned.scalars, learned.apart):
                    learned.apart_until = monotonic() + ASKED_APART_S
            else:
                found |= self._split(batch, together)
        else:
            found = await separately
        return {name: found[name] for name in expressions}

    def _labelled(self, name: str, query: str) -> str:
        # In lines of its own: it may end in a comment.
        vector = f"vector(\n{query}\n)" if name in self.learned.scalars else f"(\n{query}\n)"
        return f'label_replace({vector}, "{LABEL}", "{name}", "", "")'

    def _split(self, data: Any, names: Mapping[str, str]) -> dict[str, Answer]:
        found: dict[str, list[Series]] = {name: [] for name in names}
        for one in series_of(data):
            name = one.labels.get(LABEL, "")
            if name in found:
                found[name].append(Series({key: text for key, text in one.labels.items() if key != LABEL}, one.points))
        return dict(found)

    async def _separately(
        self, path: str, expressions: Mapping[str, str], asked: Mapping[str, str], size: int
    ) -> dict[str, Answer]:
        answers = await asyncio.gather(
            *(self._one(name, size, path, {"query": query, **asked}) for name, query in expressions.items())
        )
        return dict(zip(expressions, answers, strict=True))

    async def _one(self, name: str, size: int, path: str, asked: Mapping[str, str]) -> Answer:
        data = await _tried(self.data(path, asked, size))
        if isinstance(data, ExplainedError):
            if about_query(data):
                self.learned.apart.add(name)
            return data
        kind = data.get("resultType") if isinstance(data, dict) else None
        if kind == "scalar":
            self.learned.scalars.add(name)
        if kind in ("string", "matrix") and path == "query":
            return QueryRefused("expression.type", type=Fact(f"expression.type.{kind}"), retry=False)
        self.learned.apart.discard(name)
        return series_of(data)

    # ---------------------------------------------------------------------------------------------------- requests

    async def data(self, path: str, asked: Mapping[str, Any], max_bytes: int = MOST_BYTES) -> Any:
        """Return the data of an answer. Raises JobError, OutboundError, QueryRefused."""
        query = urlencode({**EXACT, **asked}, doseq=True)
        url = f"{self.url}/api/v1/{path}"
        left_s = self.config.timeout_s - (monotonic() - self.begun)
        if left_s <= 0:
            raise timed_out(parse_endpoint(self.url), self.config.timeout_s, "answer")
        limits: dict[str, Any] = {
            "timeout_s": left_s,
            "max_bytes": max_bytes,
            "gzip": True,
            "ca_pem": self.config.ca_pem,
        }
        sent = monotonic()
        if len(url) + len(query) < MAX_URL_LENGTH:
            answer = await self.fetcher.get(f"{url}?{query}", self.headers, **limits)
        else:
            headers = {**self.headers, "Content-Type": "application/x-www-form-urlencoded"}
            limits |= {"method": "POST", "body": query.encode()}
            try:
                answer = await self.fetcher.get(url, headers, **limits)
            except OutboundError as error:
                if not was_closed(error):
                    raise
                # The fetcher repeats no POST; a query may be asked twice.
                answer = await self.fetcher.get(url, headers, **limits)
        data = self._data_of(answer)
        self._note_clock(answer, data if path == "query" and "time" not in asked else None, sent)
        return data

    def _data_of(self, answer: Response) -> Any:
        try:
            document = read_json(answer.body)
        except InvalidJSON:
            document = None
        if not isinstance(document, dict):
            document = {}
        if answer.status == 200 and document.get("status") == "success":
            return document.get("data")
        raise self._refusal(answer, document)

    def _refusal(self, answer: Response, document: Mapping[str, Any]) -> JobError:
        """Return why an answer is none."""
        status = answer.status
        about: dict[str, Any] = {"url": self.url, "status": status}
        text = document.get("error")
        if isinstance(text, str) and document.get("status") == "error" and status not in REFUSALS:
            about_query = status in ABOUT_QUERY
            kind = QueryRefused if about_query else JobError
            return kind("source_refuses", text=shown(text), retry=not about_query, **about)
        if status in ABOUT_QUERY and status != 400:
            return QueryRefused("http_4xx", retry=False, **about)
        code = code_of(status)
        problem = Fact(f"answer_is.{format_of(answer.body, answer.content_type) or 'other'}")
        again = code == "http_5xx" or status == 429
        return JobError(code, problem=problem, answered=first_lines(answer), retry=again, **about)

    def _note_clock(self, answer: Response, data: Any, sent: float) -> None:
        """Note the server's clock: by the time of a value of now (`data`), else by the time of its answer."""
        here = self.now.timestamp() + (sent - self.begun)
        try:
            self.learned.ahead_s = float(data["result"][0]["value"][0]) - here
        except (KeyError, IndexError, TypeError, ValueError):
            try:
                there = parsedate_to_datetime(answer.headers["Date"])
            except (KeyError, ValueError):
                return
            # In whole seconds, rounded down.
            self.learned.ahead_s = there.timestamp() + 0.5 - (self.now.timestamp() + monotonic() - self.begun)


def about_query(error: ExplainedError) -> bool:
    """Return whether the query is wrong or too much, and not the server."""
    return isinstance(error, QueryRefused) or error.code == "too_large"


def was_closed(error: ExplainedError) -> bool:
    problem = error.fact.params.get("problem")
    return error.code == "protocol" and isinstance(problem, Fact) and problem.code in CLOSED


def took_too_long(error: ExplainedError) -> bool:
    """Return whether a server was found, and did not answer in time."""
    return error.code == "timeout" and error.fact.params.get("phase") in ("answer", "rest")


def code_of(status: int) -> str:
    """Return the code of the failure that an answer is, unless it is about the query."""
    if status in REFUSALS:
        return "source_unauthorized"
    if status == 404:
        return "source_not_found"
    if 300 <= status < 400:
        return "redirect"
    if status >= 500:
        return "http_5xx"
    return "source_no_api" if status <= 400 else "http_4xx"


async def _tried(call: Awaitable[Any]) -> Any:
    """Return the result, or the error that people are told."""
    try:
        return await call
    except ExplainedError as error:
        return error


def shown(text: str) -> str:
    """Return the server's own words, as one line without secrets."""
    line = " ".join("".join(one if one.isprintable() else " " for one in redact_foreign_text(text[:2000])).split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"


def series_of(data: Any) -> list[Series]:
    """Return the series of a result. Raises JobError for one of another form."""
    try:
        kind, result = data["resultType"], data["result"]
        if kind == "scalar":
            return [Series({}, points_of([result]))]
        if kind == "vector":
            return [Series(labels_of(one), points_of([one["value"]] if "value" in one else [])) for one in result]
        return [Series(labels_of(one), points_of(one.get("values", []))) for one in result]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise JobError("source_no_form", retry=False) from None


def labels_of(one: Mapping[str, Any]) -> Mapping[str, str]:
    return {str(name): str(text) for name, text in one["metric"].items()}


def points_of(values: Sequence[Any]) -> list[tuple[float, float]]:
    """Return the points that have a value: NaN and infinities say that there is none."""
    points = [(float(at), float(text)) for at, text in values]
    return [(at, value) for at, value in points if math.isfinite(value) and math.isfinite(at)]


def example_of(labels: Mapping[str, str]) -> str:
    """Return a series as people write it, cut off."""
    text = "{" + ", ".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items())) + "}"
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
