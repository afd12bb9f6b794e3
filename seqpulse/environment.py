"""Reading settings from environment variables, typed, with every problem kept for the system checks.

A wrong value never raises while settings load: the default stands in, and `problems` names the variable, so that
`manage.py check` reports all of them at once (seqpulse/checks.py) and nothing serves with a wrong setting.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from email.utils import parseaddr
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import environ

from security.limits import Rate

T = TypeVar("T")

BOOLEANS = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}


class Environment:
    """Typed access to environment variables; `problems` maps each wrong variable to what is wrong with it."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self.variables = os.environ if variables is None else variables
        self.problems: dict[str, str] = {}

    def parsed(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        """The variable through `parse`; the default where it is missing, empty or refused (ValueError)."""
        raw = self.variables.get(name, "").strip()
        if not raw:
            return default
        try:
            return parse(raw)
        except ValueError as error:
            self.problems[name] = str(error)
            return default

    def text(self, name: str, default: str = "") -> str:
        return self.parsed(name, default, str)

    def boolean(self, name: str, default: bool) -> bool:
        def parse(raw: str) -> bool:
            if raw.lower() not in BOOLEANS:
                raise ValueError(f"{raw!r} is neither on nor off: use one of {', '.join(BOOLEANS)}")
            return BOOLEANS[raw.lower()]

        return self.parsed(name, default, parse)

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        def parse(raw: str) -> float:
            try:
                value = float(raw)
            except ValueError:
                raise ValueError(f"{raw!r} is not a number: use one from {low:g} to {high:g}") from None
            if not low <= value <= high:
                raise ValueError(f"{raw} is out of range: use a number from {low:g} to {high:g}")
            return value

        return self.parsed(name, default, parse)

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        def parse(raw: str) -> int:
            try:
                value = int(raw)
            except ValueError:
                raise ValueError(f"{raw!r} is not a whole number: use one from {low} to {high}") from None
            if not low <= value <= high:
                raise ValueError(f"{raw} is out of range: use a whole number from {low} to {high}")
            return value

        return self.parsed(name, default, parse)

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        def parse(raw: str) -> str:
            if raw.lower() not in choices:
                raise ValueError(f"{raw!r} is not known: use one of {', '.join(choices)}")
            return raw.lower()

        return self.parsed(name, default, parse)

    def items(self, name: str) -> list[str]:
        return [item.strip() for item in self.text(name).split(",") if item.strip()]

    def origins(self, name: str) -> list[str]:
        """Comma-separated origins, each with its scheme (Django's CSRF_TRUSTED_ORIGINS)."""

        def parse(raw: str) -> list[str]:
            values = [item.strip() for item in raw.split(",") if item.strip()]
            for value in values:
                if not urlsplit(value).scheme or not urlsplit(value).netloc:
                    raise ValueError(f"{value!r} is no origin: write it with its scheme, like https://seqpulse.example")
            return values

        return self.parsed(name, [], parse)

    def networks(self, name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """Comma-separated addresses or CIDR networks."""

        def parse(raw: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
            return [ipaddress.ip_network(item.strip()) for item in raw.split(",") if item.strip()]

        return self.parsed(name, [], parse)

    def rate(self, name: str, default: str) -> Rate:
        """A rate limit: 100/m is a hundred per minute; also s, h and d."""
        return self.parsed(name, Rate.parse(default), Rate.parse)

    def directory(self, name: str, default: Path) -> Path:
        """A directory; relative ones count from where the default lies."""
        raw = self.text(name)
        return (default.parent / raw).resolve() if raw else default

    def redis(self, name: str) -> str:
        """The address of a Redis server, "" where there is none."""

        def parse(raw: str) -> str:
            if urlsplit(raw).scheme not in ("redis", "rediss", "unix"):
                raise ValueError("this is no Redis server: write redis://:password@host:6379/0")
            if find_spec("redis") is None:
                raise ValueError("the package redis is not installed")
            return raw

        return self.parsed(name, "", parse)

    def email(self, name: str) -> dict[str, object]:
        """How mails are sent, as Django's EMAIL_… settings; the console where the variable is missing."""
        console: dict[str, object] = {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}

        def parse(raw: str) -> dict[str, object]:
            how = "write smtp+tls://user:password@host:587 (also smtp:// and smtp+ssl://) or consolemail://"
            scheme = urlsplit(raw).scheme
            if scheme == "consolemail":
                return console
            if scheme not in ("smtp", "smtp+tls", "smtp+ssl"):
                raise ValueError(f"this is no mail server: {how}")
            try:
                parsed = dict(environ.Env.email_url_config(raw))
            except ValueError:
                # Its own words would repeat the address, and the password in it.
                raise ValueError(f"this address cannot be read: {how}") from None
            if not parsed.get("EMAIL_HOST"):
                raise ValueError(f"the mail server's name is missing: {how}")
            taken = ("BACKEND", "HOST", "PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL")
            return {name: parsed[name] for name in (f"EMAIL_{part}" for part in taken) if name in parsed}

        return self.parsed(name, console, parse)

    def sender(self, name: str, default: str) -> str:
        """Who mails are from: an address, also with a name: SeqPulse <seqpulse@example.org>."""

        def parse(raw: str) -> str:
            _, address = parseaddr(raw)
            if not re.fullmatch(r"[^@\s]+@[^@\s]+", address) or not raw.isprintable():
                raise ValueError(f"{raw!r} is no e-mail address: write seqpulse@example.org or SeqPulse <…>")
            return raw

        return self.parsed(name, default, parse)

    def oauth(self, prefix: str) -> dict[str, str]:
        """Client id and secret of a provider that people sign in with, {} where neither is set."""
        client_id, secret = self.text(f"{prefix}_CLIENT_ID"), self.text(f"{prefix}_CLIENT_SECRET")
        if bool(client_id) != bool(secret):
            missing = f"{prefix}_CLIENT_ID" if secret else f"{prefix}_CLIENT_SECRET"
            self.problems[missing] = "it is missing: the provider's client id and secret belong together"
            return {}
        return {"client_id": client_id, "secret": secret} if client_id else {}

    def database(self, name: str, default: dict[str, object]) -> dict[str, object]:
        """A PostgreSQL address (postgres://user:password@host:port/name) as Django's dictionary."""

        def parse(raw: str) -> dict[str, object]:
            if urlsplit(raw).scheme not in ("postgres", "postgresql"):
                raise ValueError("only PostgreSQL is supported: write postgres://user:password@host:5432/name")
            parsed = dict(environ.Env.db_url_config(raw))
            parsed["ENGINE"] = "django.db.backends.postgresql"
            if not parsed.get("NAME"):
                raise ValueError("the database name is missing: write postgres://user:password@host:5432/name")
            return parsed

        return self.parsed(name, default, parse)
