"""System checks of the settings. The id names the environment variable: `seqpulse.E_<VARIABLE>`."""

from collections.abc import Callable, Iterator
from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from outbound.addresses import AllowList
from outbound.authorities import read_ca_file
from outbound.proxy import parse_proxy

# Of these, outbound reads the last two from the environment itself, so that no setting holds the proxy's password.
OUTBOUND: dict[str, Callable[[str], object]] = {
    "SEQPULSE_OUTBOUND_ALLOW": AllowList.parse,
    "SEQPULSE_CA_FILE": read_ca_file,
    "SEQPULSE_OUTBOUND_PROXY": parse_proxy,
}


def problem(variable: str, what: str) -> CheckMessage:
    return Error(f"{variable}: {what}", id=f"seqpulse.E_{variable}")


def wrong_values() -> Iterator[CheckMessage]:
    """Yield values that the parsers of seqpulse/environment.py refused, and invalid keys."""
    for variable, what in settings.ENVIRONMENT.problems.items():
        yield problem(variable, what)
    for variable, parse in OUTBOUND.items():
        try:
            if value := settings.ENVIRONMENT.text(variable):
                parse(value)
        except ValueError as error:
            yield problem(variable, str(error))
    for number, key in enumerate(settings.SEQPULSE_ENCRYPTION_KEYS, start=1):
        try:
            Fernet(key)
        except ValueError:
            yield problem(
                "SEQPULSE_ENCRYPTION_KEYS",
                f"key {number} is no Fernet key: 32 bytes in URL-safe base64 (docs/settings.md has the command)",
            )
    if not settings.SEQPULSE_ENCRYPTION_KEYS:
        yield problem("SEQPULSE_ENCRYPTION_KEYS", "it holds no key")


@register("seqpulse")
def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return list(wrong_values())
