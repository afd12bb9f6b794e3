"""What a kind of source is: its typed configuration, and how it is asked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from django.utils.functional import Promise
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from common.matchers import Matcher
from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.models import Group
from metrics.payload import Metrics
from outbound.authorities import check_ca_pem
from outbound.configured import authorized
from outbound.endpoints import parse_endpoint
from outbound.fetcher import Fetcher

if TYPE_CHECKING:
    from metrics.sources.http_endpoint import Endpoint

DEFAULT_TIMEOUT_S = 5.0
LONGEST_TIMEOUT_S = 20.0
# Of a configuration that is wrong throughout, and of a path that is no field's.
MOST_ERRORS = 20
LONGEST_PATH = 100

# A text that is never shown again.
Secret = Annotated[str, Field(max_length=8192, json_schema_extra={"secret": True})]


class InvalidConfig(ValueError):
    """Not a configuration. errors: what is wrong, by the path of the field. str() is for logs."""

    def __init__(self, errors: Mapping[str, Fact]) -> None:
        super().__init__("; ".join(f"{path}: {fact.code}" for path, fact in errors.items()))
        self.errors = errors


class SourceConfig(BaseModel):
    """What every kind of source has: how long one attempt may take, in s."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    timeout_s: Annotated[float, Field(ge=0.5, le=LONGEST_TIMEOUT_S)] = DEFAULT_TIMEOUT_S


class WrongSetting(ExplainedError, ValueError):
    """A setting that its validator refuses."""


def checked_url(url: str) -> str:
    parse_endpoint(url)
    return url


Url = Annotated[str, Field(min_length=1), AfterValidator(checked_url)]
AuthorityPem = Annotated[str, AfterValidator(check_ca_pem)]


class HttpConfig(SourceConfig):
    """What kinds have in common that send HTTP requests.

    headers: sent with every request, such as Authorization or the tenant; username, password: basic authentication;
    ca_pem: certificates of authorities to trust besides the usual ones.
    """

    headers: dict[str, Secret] = {}
    username: str = ""
    password: Secret = ""
    ca_pem: AuthorityPem = ""

    @model_validator(mode="after")
    def has_possible_headers(self) -> Self:
        self.request_headers  # noqa: B018  (raises)
        return self

    @property
    def request_headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        return authorized(self.headers, (self.username, self.password), basic_field="username")


Config = TypeVar("Config", bound=SourceConfig)


@dataclass(slots=True)
class State:
    """What a source keeps from one sample to the next: as stored before, and what to store; None: that is left."""

    before: bytes = b""
    after: bytes | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """The circumstances of one attempt to get a sample.

    now: the database's time; instant: the time that the sample is for; endpoint: of the environment, with its secrets
    and whether ops have blocked it; group: which instances are asked for, and matchers: of their series, () where there
    is nothing to tell them apart by; phase: of the sample, "" of none; release: version and commit_sha of the
    deployment; since: when that was finished; state: see State; told: what a kind has to say about a source that gave
    something, such as which metrics it did not.
    """

    fetcher: Fetcher
    now: datetime
    instant: datetime
    endpoint: "Endpoint"
    group: str = Group.TREATMENT
    phase: str = ""
    release: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    state: State = field(default_factory=State)
    matchers: Sequence[Matcher] = ()
    told: list[Fact] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a source expects of the service: how often it was not so, before a deployment and since, is judged.

    All names are of counts among the custom metrics of a sample. name: how often it was not so; asked: how often it was
    asked for; answered: the status of the answer, 0 without one; earlier: expectations without which it cannot be seen,
    whose failures count for themselves. fact: the step, and what is expected; after_only: it concerns the new release.
    """

    name: str
    asked: str
    answered: str
    fact: Fact
    earlier: tuple[str, ...] = ()
    after_only: bool = False


# Samples of the past, with their times.
Past = Sequence[tuple[datetime, Metrics]]


class SourceKind(Generic[Config]):
    """A kind of source: one module here defines one, and `SOURCE_KINDS` lists it."""

    name: ClassVar[str]
    label: ClassVar[str | Promise]
    config: type[Config]
    ranged: ClassVar[bool] = False  # it can answer for the past
    of_service: ClassVar[bool] = True  # it asks the service itself, which is down where it does not answer
    control: ClassVar[Literal["", "endpoint", "selector"]] = ""  # what tells it to measure the old version
    measures: ClassVar[bool] = True  # samples come from it, and not only further evidence
    expects: ClassVar[bool] = False  # it expects something besides metrics

    async def read(self, config: Config, asking: Asking) -> Metrics:
        """Return what the source knows now: each metric that it does not know is None.

        Raises: JobError, OutboundError.
        """
        raise NotImplementedError

    async def history(self, config: Config, asking: Asking, *, since: datetime, until: datetime, step_s: float) -> Past:
        """Return what the source knows of these times, oldest first. Only of a ranged kind.

        Raises: JobError, OutboundError.
        """
        raise NotImplementedError

    def expectations(self, config: Config) -> Sequence[Expectation]:
        """Return what the source expects of the service besides metrics."""
        return ()

    def home(self, data: Mapping[str, Any]) -> Any:
        """Return the address that a configuration's own secrets are sent to."""
        return data.get("url")

    def addresses(self, config: Config) -> Iterator[tuple[str, str]]:
        """Yield the addresses that it asks, each with the path of its field."""
        if url := getattr(config, "url", ""):
            yield "url", url
        for place, target in enumerate(getattr(config, "targets", ())):
            yield f"targets.{place}", target

    def with_nested_secrets(self, stored: Mapping[str, Any], data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return given values, and the stored secrets that their parts leave out."""
        return data

    def parse(self, data: Any) -> Config:
        """Return the configuration of these JSON values. Raises InvalidConfig."""
        if not isinstance(data, Mapping):
            raise InvalidConfig({"config": Fact("config.dict_type")})
        try:
            return self.config.model_validate(data)
        except ValidationError as error:
            raise InvalidConfig(dict(map(wrong, innermost(error.errors())[:MOST_ERRORS]))) from None


def innermost(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Return the errors without those of a list that is found too short because of what is wrong inside."""
    places = [found["loc"] for found in errors]
    return [
        found
        for found in errors
        if not any(len(place) > len(found["loc"]) and place[: len(found["loc"])] == found["loc"] for place in places)
    ]


def wrong(found: ErrorDetails) -> tuple[str, Fact]:
    """Return the path of the field that an error of pydantic is about, and what is wrong there (metrics/texts.py)."""
    refused, parts = found.get("ctx", {}).get("error"), list(found["loc"])
    if isinstance(refused, ExplainedError) and refused.field and parts[-1:] != [refused.field]:
        parts.append(refused.field)
    path = ".".join(str(part) for part in parts)[:LONGEST_PATH]
    path = path.encode("utf-8", "backslashreplace").decode() or "config"
    if isinstance(refused, ExplainedError):
        return path, refused.fact
    context = {
        name: value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
        for name, value in found.get("ctx", {}).items()
    }
    code = found["type"]
    return path, Fact(f"config.{code}" if code in EXPLAINED else code if "." in code else "config.invalid", context)


# Types of errors of pydantic that have a sentence of their own.
EXPLAINED = frozenset(
    {
        *("missing", "extra_forbidden", "string_type", "dict_type", "model_type", "list_type", "bool_type"),
        *("float_type", "float_parsing", "int_type", "int_parsing", "int_from_float", "finite_number"),
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal"),
        *("string_too_long", "string_too_short", "too_long", "too_short", "literal_error", "string_pattern_mismatch"),
    }
)
