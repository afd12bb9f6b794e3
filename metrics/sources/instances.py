"""Ask several instances of a service: a list of addresses, or what a name leads to when it is asked."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.payload import BOUNDS, CUSTOM_NAME
from metrics.sources.base import Asking, HttpConfig, Url, WrongSetting, checked_url
from outbound.endpoints import origin_of, parse_endpoint
from outbound.targets import MOST_TARGETS
from scheduler.registry import JobError

# Requests to instances of one source at once.
AT_ONCE = 10
T = TypeVar("T")
U = TypeVar("U")

OptionalUrl = Annotated[str, AfterValidator(lambda url: checked_url(url) if url else url)]


def metric_name(name: str) -> str:
    if name not in BOUNDS and CUSTOM_NAME.fullmatch(name) is None:
        raise WrongSetting("config.metric_name", name=name[:100])
    return name


class InstancesConfig(HttpConfig):
    """url: of the service; resolve: the records of its host that say which instances there are, each of which is asked
    (SRV: their ports as well). targets: instead, the addresses of all instances.
    """

    url: OptionalUrl = ""
    targets: Annotated[list[Url], Field(max_length=MOST_TARGETS)] = []
    resolve: Literal["", "A", "AAAA", "SRV"] = ""

    @model_validator(mode="after")
    def names_one_place(self) -> Self:
        if self.url and self.targets:
            raise WrongSetting("config.url_and_targets", field="targets")
        if self.resolve and not self.url:
            raise WrongSetting("config.resolve_needs_url", field="resolve")
        return self


@dataclass(frozen=True, slots=True)
class Target:
    """What to ask. to: the address to connect to, "" for any of the URL's host; single: it is one instance."""

    url: str
    to: str = ""
    single: bool = False

    @property
    def key(self) -> str:
        """Return what distinguishes it from other instances; it may be stored, which addresses with secrets may not."""
        return blake2b(f"{self.url} {self.to}".encode(), digest_size=8).hexdigest()

    @property
    def shown(self) -> str:
        """Return how people know it: without the query, which may hold a secret."""
        url = self.url.partition("?")[0]
        return f"{url} ({self.to})" if self.to else url


async def targets_of(config: InstancesConfig, asking: Asking) -> list[Target]:
    """Return the instances to ask now: of those that a call names, where it does. Raises OutboundError."""
    if asking.endpoint.elsewhere:
        return [Target(asking.endpoint.url)]
    if config.targets:
        return [Target(url, single=True) for url in dict.fromkeys(config.targets)]
    if not config.resolve:
        return [Target(config.url)]
    endpoint = parse_endpoint(config.url)
    found = []
    for one in await asking.fetcher.resolve(endpoint.host, config.resolve, timeout_s=config.timeout_s):
        host = f"[{one.host}]" if ":" in one.host else one.host
        port = endpoint.port if one.port is None else one.port
        found.append(
            Target(f"{endpoint.scheme}://{host}:{port}{endpoint.path}{endpoint.query}", one.address, single=True)
        )
    return found


def credentials_for(target: Target, config: InstancesConfig, asking: Asking) -> dict[str, str]:
    """Return the configured headers, none for an origin that a call names and nobody configured."""
    known = {origin_of(url) for url in (config.url, *config.targets) if url}
    return config.request_headers if not asking.endpoint.elsewhere or origin_of(target.url) in known else {}


@dataclass(frozen=True, slots=True)
class Asked(Generic[T]):
    """What instances gave, and why others did not."""

    given: Sequence[tuple[Target, T]]
    failures: Sequence[tuple[Target, ExplainedError]]

    def then(self, read: Callable[[Target, T], U]) -> "Asked[U]":
        """Return what is read from what they gave; what cannot be is a failure as well."""
        given: list[tuple[Target, U]] = []
        failures = list(self.failures)
        for target, one in self.given:
            try:
                given.append((target, read(target, one)))
            except ExplainedError as error:
                failures.append((target, error))
        return Asked(given, failures)

    def check(self, asking: Asking, *, others: int = 0) -> None:
        """Tell which instances did not answer. others: how many did besides. Raises JobError where none did."""
        if not self.failures:
            return
        target, error = self.failures[0]
        if not self.given and not others:
            retry = bool(getattr(error, "retry", getattr(error, "code", "") != "blocked"))
            raise error if isinstance(error, JobError) else JobError.of(error, retry=retry)
        n, total = len(self.failures), len(self.failures) + len(self.given) + others
        asking.told.append(
            Fact("instances_silent", {"n": n, "total": total, "instance": target.shown, "problem": error.fact})
        )


async def ask_all(targets: Sequence[Target], ask: Callable[[Target], Awaitable[T]], *, timeout_s: float) -> Asked[T]:
    """Ask all instances, a few at a time and within one time limit. Their failures are given back."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(target: Target) -> T:
        async with free:
            return await ask(target)

    tasks = [asyncio.ensure_future(one(target)) for target in targets]
    try:
        await asyncio.wait(tasks, timeout=timeout_s)
    finally:
        late = [task for task in tasks if not task.done()]
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
    given: list[tuple[Target, T]] = []
    failures: list[tuple[Target, ExplainedError]] = []
    for target, task in zip(targets, tasks, strict=True):
        error = JobError("instance_late", seconds=timeout_s) if task.cancelled() else task.exception()
        if error is None:
            given.append((target, task.result()))
        elif isinstance(error, ExplainedError):
            failures.append((target, error))
        else:
            raise error
    return Asked(given, failures)
