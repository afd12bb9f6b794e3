"""The configuration of journeys: HTTP steps as a user takes them, and what their answers have to be. Pure."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

from explain.facts import Fact
from metrics.sources.base import AuthorityPem, Expectation, Secret, SourceConfig, Url, WrongSetting
from metrics.sources.json_path import LONGEST, parse_path
from outbound.configured import authorized, check_headers
from outbound.endpoints import MAX_URL_LENGTH, EndpointError, Origin, origin_of, parse_endpoint

MOST_STEPS = 10
MOST_EXPECTATIONS = 10
MOST_CAPTURES = 10
MOST_TIMES = 20
LONGEST_BODY = 16 * 1024
LONGEST_EXPECTED = 500
SAFE = ("GET", "HEAD")
# {name} stands for a captured value; {{name}} is {name} as it is.
PLACEHOLDER = re.compile(r"\{\{([a-z_][a-z0-9_]*)\}\}|\{([a-z_][a-z0-9_]*)\}", re.IGNORECASE)
OF_RELEASE = ("version", "commit_sha")
_STATUS = re.compile(r"([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", re.IGNORECASE)
_NAME = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
ValueOf = Callable[[str], str]


def as_list(value: Any) -> Any:
    """Return one value as a list of it."""
    return value if isinstance(value, list | tuple) else [value]


def status_range(value: int | str) -> tuple[int, int]:
    """Return the first and last status that is meant by 200, "2xx" or "200-204". Raises WrongSetting."""
    found = _STATUS.fullmatch(str(value).strip())
    if found is None:
        raise WrongSetting("check.status", value=str(value)[:20])
    if found[1]:
        return int(found[1]) * 100, int(found[1]) * 100 + 99
    first = int(found[2])
    last = int(found[3] or first)
    if last < first:
        raise WrongSetting("check.status", value=str(value)[:20])
    return first, last


def checked_status(value: int | str) -> int | str:
    status_range(value)
    return value


def checked_path(path: str) -> str:
    parse_path(path)
    return path


def single_line(text: str) -> str:
    if not text.strip() or not all(one.isprintable() for one in text):
        raise WrongSetting("check.text")
    return text.strip()


Text = Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_EXPECTED), AfterValidator(single_line)]
Name = Annotated[StrictStr, Field(min_length=1, max_length=60), AfterValidator(single_line)]
JsonPath = Annotated[StrictStr, Field(max_length=LONGEST), AfterValidator(checked_path)]
Status = Annotated[StrictInt | StrictStr, AfterValidator(checked_status)]
HeaderName = Annotated[StrictStr, Field(min_length=1, max_length=100, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
Scalar = StrictBool | StrictInt | Annotated[float, Field(allow_inf_nan=False)] | Text


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


class JsonExpected(_Part):
    """path: of one value; value: what it has to be, if that matters; present: whether it has to be there at all."""

    path: JsonPath
    value: Scalar | None = None
    present: StrictBool = True

    @model_validator(mode="after")
    def possible(self) -> Self:
        if not self.present and self.value is not None:
            raise WrongSetting("check.absent_value", field="value")
        return self


class HeaderExpected(_Part):
    """name: of a header of the answer; value: what it has to be, or one of its parts; present: as of JSON."""

    name: HeaderName
    value: Text | None = None
    present: StrictBool = True

    @model_validator(mode="after")
    def possible(self) -> Self:
        if not self.present and self.value is not None:
            raise WrongSetting("check.absent_value", field="value")
        return self


class VersionExpected(_Part):
    """text: the new release, as of trigger; where it has to be: a value of JSON, a header, or anywhere in the text."""

    text: Text = "{version}"
    path: Annotated[JsonPath | None, Field(alias="json")] = None
    header: HeaderName | None = None

    @model_validator(mode="after")
    def possible(self) -> Self:
        if self.path is not None and self.header is not None:
            raise WrongSetting("check.two_places", field="header")
        names = placeholders(self.text)
        if not names or set(names) - set(OF_RELEASE):
            raise WrongSetting("check.release", field="text", known=", ".join(f"{{{name}}}" for name in OF_RELEASE))
        return self


Several = Field(max_length=MOST_EXPECTATIONS)


class Expected(_Part):
    """What an answer has to be. latency_ms: most; text, absent: what has to be and must not be on the page."""

    status: Annotated[tuple[Status, ...], BeforeValidator(as_list), Field(min_length=1, max_length=10)] = ("2xx",)
    latency_ms: Annotated[float | None, Field(gt=0, le=60_000)] = None
    text: Annotated[tuple[Text, ...], BeforeValidator(as_list), Several] = ()
    absent: Annotated[tuple[Text, ...], BeforeValidator(as_list), Several] = ()
    values: Annotated[tuple[JsonExpected, ...], BeforeValidator(as_list), Several, Field(alias="json")] = ()
    header: Annotated[tuple[HeaderExpected, ...], BeforeValidator(as_list), Several] = ()
    version: VersionExpected | None = None

    def allows(self, status: int) -> bool:
        return any(first <= status <= last for first, last in map(status_range, self.status))


class Capture(_Part):
    """Where a value of an answer is: JSON, a header, a cookie, or the text between two others."""

    path: Annotated[JsonPath | None, Field(alias="json")] = None
    header: HeaderName | None = None
    cookie: HeaderName | None = None
    after: Text | None = None
    before: Text | None = None

    @model_validator(mode="after")
    def one_place(self) -> Self:
        places = [self.path, self.header, self.cookie, self.after]
        if sum(place is not None for place in places) != 1 or (self.after is None) != (self.before is None):
            raise WrongSetting("check.capture")
        return self


CaptureName = Annotated[str, Field(pattern=_NAME, max_length=40)]


class Step(_Part):
    """One request, and what its answer has to be. url: absolute, or a path below base_url."""

    name: Name | None = None
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: Annotated[StrictStr, Field(min_length=1, max_length=MAX_URL_LENGTH)]
    headers: dict[str, Secret] = {}
    body: Annotated[Secret, Field(max_length=LONGEST_BODY)] = ""
    follow: StrictBool = False
    expect: Expected = Expected()
    capture: Annotated[dict[CaptureName, Capture], Field(max_length=MOST_CAPTURES)] = {}

    @model_validator(mode="after")
    def possible(self) -> Self:
        check_headers(self.headers)
        if self.body and self.method in SAFE:
            raise WrongSetting("check.body", field="body", method=self.method)
        if self.method == "HEAD" and (self.expect.text or self.expect.absent or self.expect.values):
            raise WrongSetting("check.head", field="method")
        return self

    @property
    def label(self) -> str:
        """Return what people call the step: POST /login."""
        path = re.sub(r"^[a-z]+://[^/?#]*", "", self.url, flags=re.IGNORECASE) or "/"
        path = path.partition("?")[0]
        return self.name or f"{self.method} {path if len(path) <= 50 else path[:49] + '…'}"


class CheckConfig(SourceConfig):
    """A journey. times: how often it is asked per sample; timeout_s: of one request.

    unsafe: it may send POST, PUT, PATCH and DELETE, to the service that people use. headers, username, password: sent
    to the origin of base_url, or of the first step.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    name: Name = "journey"
    base_url: Url | None = None
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=MOST_STEPS)]
    times: Annotated[StrictInt, Field(ge=1, le=MOST_TIMES)] = 5
    unsafe: StrictBool = False
    headers: dict[str, Secret] = {}
    username: str = ""
    password: Secret = ""
    ca_pem: AuthorityPem = ""

    @model_validator(mode="after")
    def possible(self) -> Self:
        self.request_headers  # noqa: B018  (raises)
        if self.base_url is not None and parse_endpoint(self.base_url).query:
            raise WrongSetting("config.url_query", field="base_url", example="https://shop.example")
        known: set[str] = set()
        for place, step in enumerate(self.steps):
            at = f"steps.{place}"
            if step.method not in SAFE and not self.unsafe:
                raise WrongSetting("check.unsafe", field=f"{at}.method", method=step.method)
            texts = {"url": step.url, "body": step.body}
            texts |= {f"headers.{name}": value for name, value in step.headers.items()}
            for name, text in texts.items():
                unknown = [one for one in placeholders(text) if one not in known]
                if unknown and not (name == "body" and not step.body):
                    raise WrongSetting("check.unknown_name", field=f"{at}.{name}", name=unknown[0])
            self._check_url(step, f"{at}.url")
            known |= set(step.capture)
        return self

    def _check_url(self, step: Step, at: str) -> None:
        """Raise WrongSetting unless the step leads to the same origin, whatever is captured."""
        if step.url.startswith("/") and self.base_url is None:
            raise WrongSetting("check.no_base", field=at)
        try:
            origins = {origin_of(self.address(step, value_of)) for value_of in (lambda _: "0", lambda _: "a1")}
        except EndpointError as error:
            raise WrongSetting("check.url", field=at, problem=error.fact) from None
        if len(origins) > 1:
            raise WrongSetting("check.origin", field=at)

    def address(self, step: Step, value_of: ValueOf) -> str:
        """Return the URL of a step. value_of: gives the text for a placeholder."""
        url = filled(step.url, value_of)
        return (self.base_url or "").rstrip("/") + url if url.startswith("/") else url

    @property
    def request_headers(self) -> dict[str, str]:
        """Return the headers for the origin of the journey."""
        return authorized(self.headers, (self.username, self.password), basic_field="username")

    @property
    def origin(self) -> Origin:
        """Return where the journey's own credentials go."""
        return origin_of(self.base_url or self.address(self.steps[0], lambda _name: "0"))

    @property
    def origins(self) -> frozenset[Origin]:
        """Return where requests go, and redirects may lead."""
        steps = (origin_of(self.address(step, lambda _name: "0")) for step in self.steps)
        return frozenset((*steps, self.origin))


def placeholders(text: str) -> list[str]:
    """Return the names of captured values that a text needs."""
    return [found[2] for found in PLACEHOLDER.finditer(text) if found[2]]


def filled(text: str, value_of: ValueOf) -> str:
    """Return a text with the values of its placeholders."""
    return PLACEHOLDER.sub(lambda found: value_of(found[2]) if found[2] else f"{{{found[1]}}}", text)


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()[:6]


def counted(config: CheckConfig, step: Step, kind: str, expected: str = "") -> str:
    """Return the name of a count in samples: the same for as long as the same is asked and expected."""
    word = re.sub(r"[^a-z0-9]+", "_", step.label.lower()).strip("_")[:30]
    about = (config.name, config.base_url or "", step.label, step.method, step.url, kind, expected)
    return f"step_{word}_{kind}_{digest(*about)}"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is expected of a step. wanted: its setting; about: what the judge is to know."""

    kind: str
    wanted: Any
    about: Expectation


def checks_of(config: CheckConfig, step: Step) -> Iterator[Check]:
    """Return all that is expected of a step: that it answers, its status, and the rest where both are well."""
    earlier: list[str] = []

    def check(kind: str, wanted: Any = None, *, after_only: bool = False, **params: Any) -> Check:
        written = wanted.model_dump_json() if isinstance(wanted, BaseModel) else str(wanted)
        about = Expectation(
            name=counted(config, step, kind, written),
            asked=counted(config, step, "asked"),
            answered=counted(config, step, "answered"),
            earlier=tuple(earlier),
            fact=Fact(f"expected.{kind}", {"step": step.label, **params}),
            after_only=after_only,
        )
        return Check(kind, wanted, about)

    expect = step.expect
    for one in (check("answer"), check("status", expect.status, codes=", ".join(map(str, expect.status)))):
        earlier.append(one.about.name)
        yield one
    if expect.latency_ms is not None:
        yield check("latency", expect.latency_ms, most=expect.latency_ms)
    for text in expect.text:
        yield check("text", text, text=text)
    for text in expect.absent:
        yield check("absent", text, text=text)
    for value in expect.values:
        kind = "json_absent" if not value.present else "json_present" if value.value is None else "json_value"
        yield check(kind, value, path=value.path, text=json.dumps(value.value, ensure_ascii=False))
    for header in expect.header:
        kind = "header_absent" if not header.present else "header_present" if header.value is None else "header_value"
        yield check(kind, header, name=header.name, text=header.value or "")
    for name, capture in step.capture.items():
        yield check("capture", capture, name=name)
    if expect.version is not None:
        yield check("version", expect.version, after_only=True)
