"""Read typed settings from environment variables, and keep problems for the system checks.

An invalid value does not raise while settings load: the default is used, and `problems` names the variable, so that
`manage.py check` reports all of them at once (seqpulse/checks.py) and nothing is served with an invalid setting.
"""

import os
import re
from collections.abc import Callable, Mapping
from email.utils import parseaddr
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import environ
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from security.limits import Rate

T = TypeVar("T")


class Environment:
    """Typed access to environment variables; `problems` maps each wrong variable to what is wrong with it."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self.variables = os.environ if variables is None else variables
        self.problems: dict[str, str] = {}

    def read(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        """Return the parsed variable; the default if it is missing, empty or refused (ValueError)."""
        raw = self.variables.get(name, "").strip()
        if not raw:
            return default
        try:
            return parse(raw)
        except ValueError as error:
            self.problems[name] = str(error)
            return default

    def text(self, name: str, default: str = "") -> str:
        return self.read(name, default, str)

    def many(self, name: str, parse: Callable[[str], list[T]]) -> list[T]:
        return self.read(name, [], parse)

    def typed(self, name: str, default: T, kind: Any) -> T:
        """Return the variable as a type that pydantic reads from text: a bounded number, or one of some words."""

        def parse(raw: str) -> T:
            try:
                return TypeAdapter[T](kind).validate_python(raw)
            except ValidationError as error:
                raise ValueError("use on or off" if kind is bool else error.errors()[0]["msg"]) from None

        return self.read(name, default, parse)

    def boolean(self, name: str, default: bool) -> bool:
        return self.typed(name, default, bool)

    def rate(self, name: str, default: str) -> Rate:
        """Return a rate limit: 100/m is a hundred per minute; also s, h and d."""
        return self.read(name, Rate.parse(default), Rate.parse)

    def directory(self, name: str, default: Path) -> Path:
        """Return a directory; relative ones start at the parent of the default."""
        return self.read(name, default, lambda raw: (default.parent / raw).resolve())

    def oauth(self, prefix: str) -> dict[str, str]:
        """Return client id and secret of a sign-in provider, {} if neither is set."""
        client_id, secret = self.text(f"{prefix}_CLIENT_ID"), self.text(f"{prefix}_CLIENT_SECRET")
        if bool(client_id) != bool(secret):
            missing = f"{prefix}_CLIENT_ID" if secret else f"{prefix}_CLIENT_SECRET"
            self.problems[missing] = "it is missing: the provider's client id and secret belong together"
            return {}
        return {"client_id": client_id, "secret": secret} if client_id else {}


def comma_separated(raw: str) -> list[str]:
    """Split comma-separated values."""
    return [item.strip() for item in raw.split(",") if item.strip()]


def networks(raw: str) -> list[IPv4Network | IPv6Network]:
    """Parse comma-separated addresses or CIDR networks."""
    return [ip_network(item) for item in comma_separated(raw)]


def origins(raw: str) -> list[str]:
    """Parse comma-separated origins, each with its scheme (Django's CSRF_TRUSTED_ORIGINS)."""
    for value in comma_separated(raw):
        if not urlsplit(value).scheme or not urlsplit(value).netloc:
            raise ValueError(f"{value!r} is no origin: write it with its scheme, like https://seqpulse.example")
    return comma_separated(raw)


def public_url(raw: str) -> str:
    """Parse the address under which people reach this installation, with the path that a proxy adds, if any."""
    parts = urlsplit(raw)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("write the address at which people open SeqPulse, like https://seqpulse.example")
    return raw.rstrip("/")


def script_name(raw: str) -> str:
    """Parse the path under which a proxy offers SeqPulse."""
    if not re.fullmatch(r"(/[\w.~-]+)+/?", raw, re.ASCII):
        raise ValueError("write a path that begins with a slash, like /seqpulse")
    return raw.rstrip("/")


def redis(raw: str) -> str:
    """Check the URL of a Redis server."""
    if urlsplit(raw).scheme not in ("redis", "rediss", "unix"):
        raise ValueError("this is no Redis server: write redis://:password@host:6379/0")
    if find_spec("redis") is None:
        raise ValueError("the package redis is not installed")
    return raw


def _taken_apart(raw: str, parse: Callable[[str], Mapping[str, Any]], how: str) -> dict[str, Any]:
    """Parse a URL with django-environ, whose error messages would repeat parts of it, including the password."""
    try:
        return dict(parse(raw))
    except ValueError:
        raise ValueError(f"this URL cannot be read (its port? a # or / in the password is %23 or %2F): {how}") from None


def mail_server(raw: str) -> dict[str, Any]:
    """Return Django's EMAIL_… settings for the URL of a mail server."""
    how = "write smtp+tls://user:password@host:587 (also smtp:// and smtp+ssl://) or consolemail://"
    scheme = urlsplit(raw).scheme
    if scheme not in ("smtp", "smtp+tls", "smtp+ssl", "consolemail"):
        raise ValueError(f"this is no mail server: {how}")
    parsed = _taken_apart(raw, environ.Env.email_url_config, how)
    if not parsed["EMAIL_HOST"] and scheme != "consolemail":
        raise ValueError(f"the mail server's name is missing: {how}")
    return {name: value for name, value in parsed.items() if value and name.startswith("EMAIL_")}


def sender(raw: str) -> str:
    """Check a sender: an address, optionally with a name: SeqPulse <seqpulse@example.org>."""
    _, address = parseaddr(raw)
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", address) or not raw.isprintable():
        raise ValueError(f"{raw!r} is no e-mail address: write seqpulse@example.org or SeqPulse <…>")
    return raw


def database(raw: str) -> dict[str, Any]:
    """Convert a PostgreSQL URL (postgres://user:password@host:port/name) to Django's dictionary."""
    how = "write postgres://user:password@host:5432/name"
    if urlsplit(raw).scheme not in ("postgres", "postgresql"):
        raise ValueError(f"only PostgreSQL is supported: {how}")
    parsed = _taken_apart(raw, environ.Env.db_url_config, how)
    if not parsed.get("NAME"):
        raise ValueError(f"the database name is missing: {how}")
    return parsed | {"ENGINE": "django.db.backends.postgresql"}


SampleInterval = Annotated[float, Field(ge=0.1, le=3600)]
BaselineInterval = Annotated[int, Field(ge=1, le=86400)]
Hours = Annotated[float, Field(ge=0.1, le=8760)]
Port = Annotated[int, Field(ge=1, le=65535)]
Workers = Annotated[int, Field(ge=1, le=64)]
Places = Annotated[int, Field(ge=1, le=100_000)]
Prepared = Annotated[Literal["auto", "on", "off"], BeforeValidator(str.lower)]
LogFormat = Annotated[Literal["json", "console"], BeforeValidator(str.lower)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(str.lower)]
