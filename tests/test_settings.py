"""Settings come from the environment, typed; an invalid one names its variable and prevents the start."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqpulse.environment import Environment, SampleInterval, database, mail_server
from tests import system_tools
from tests.processes import KEYS, environment

URL = "postgres://seqpulse:pass@db.example:5432/seqpulse"

WRONG = {
    "DATABASE_URL": "mysql://db.example/seqpulse",
    "DEBUG": "maybe",
    "CSRF_TRUSTED_ORIGINS": "seqpulse.example",
    "SEQPULSE_TRUSTED_PROXIES": "10.0.0.0/99",
    "SEQPULSE_METRICS_NETWORKS": "prometheus.example",
    "SEQPULSE_SAMPLE_INTERVAL_SECONDS": "often",
    "SEQPULSE_OUTBOUND_ALLOW": "10.0.0.0/8, not a host!",
    "SEQPULSE_CA_FILE": "/no/such/file.pem",
    "SEQPULSE_OUTBOUND_PROXY": "socks5://op:S3CRET@proxy.example:1080",
    "SEQPULSE_SHOW_INTERNAL_ANSWERS": "some",
    "SEQPULSE_ENCRYPTION_KEYS": "short",
    "SEQPULSE_HTTPS": "perhaps",
    "LOG_FORMAT": "xml",
    "LOG_LEVEL": "loud",
    "PORT": "http",
    "WEB_CONCURRENCY": "0",
    "SEQPULSE_RATE_LIMITS": "sometimes",
    "SEQPULSE_RATE_LOGIN": "5 per minute",
    "REDIS_URL": "http://redis.example",
    "SEQPULSE_PUBLIC_URL": "seqpulse.example",
    "SEQPULSE_SIGNUP_OPEN": "perhaps",
    "SEQPULSE_PLANS": "pro",
    "SEQPULSE_EMAIL_URL": "http://mail.example",
    "SEQPULSE_EMAIL_FROM": "nobody",
}


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return system_tools.run(sys.executable, *command, env=environment(**env))


@pytest.mark.integration
def test_every_wrong_variable_is_an_error_whose_id_names_it(tmp_path: Path) -> None:
    result = run("manage.py", "check", **{"SEQPULSE_DATA_DIR": str(tmp_path), **KEYS, **WRONG})
    assert result.returncode != 0
    for variable in WRONG:
        assert f"(seqpulse.E_{variable}) {variable}: " in result.stderr
    assert not any(text in result.stderr for text in ("Traceback", "S3CRET"))


@pytest.mark.integration
def test_right_values_pass_the_checks_of_production() -> None:
    right = {"ALLOWED_HOSTS": "seqpulse.example", "SEQPULSE_TRUSTED_PROXIES": "10.0.0.0/8", "PORT": "8080"}
    result = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", DATABASE_URL=URL, **KEYS, **right)
    assert result.returncode == 0, result.stderr


@pytest.mark.integration
@pytest.mark.parametrize("missing", KEYS)
def test_production_without_a_key_refuses_to_start(missing: str) -> None:
    given = {name: value for name, value in KEYS.items() if name != missing}
    result = run("-c", "import seqpulse.wsgi", DATABASE_URL=URL, **given)
    assert result.returncode != 0
    assert f"{missing} is not set" in result.stderr


@pytest.mark.integration
def test_nothing_serves_with_a_wrong_setting(tmp_path: Path) -> None:
    result = run("-c", "import seqpulse.wsgi", SEQPULSE_DATA_DIR=str(tmp_path), SEQPULSE_SAMPLE_INTERVAL_SECONDS="0")
    assert result.returncode != 0
    assert "seqpulse.E_SEQPULSE_SAMPLE_INTERVAL_SECONDS" in result.stderr


@pytest.mark.integration
def test_debug_is_off_unless_asked_for(tmp_path: Path) -> None:
    show = "from django.conf import settings; print(settings.DEBUG, settings.ALLOWED_HOSTS)"
    env = {"SEQPULSE_DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "seqpulse.settings"}
    assert run("-c", show, **env).stdout.startswith("False ['localhost'")
    assert run("-c", show, DEBUG="on", **env).stdout.startswith("True ['*']")


@pytest.mark.integration
def test_loading_the_settings_starts_no_database_and_keeps_the_keys_it_made(tmp_path: Path) -> None:
    show = "from seqpulse import settings; print(settings.SECRET_KEY, settings.SEQPULSE_ENCRYPTION_KEYS)"
    first, second = (run("-c", show, SEQPULSE_DATA_DIR=str(tmp_path)) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert not (tmp_path / "postgres").exists()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("parse", "url", "words"),
    [
        (database, "sqlite:///x.db", "only PostgreSQL"),
        (database, "postgres://db.example", "the database name is missing"),
        (database, "postgres://user:pa:ss@db.example:port/seqpulse", "port"),
        (database, "postgres://user:pa:ss/word@db.example/seqpulse", "cannot be read"),
        (database, "postgres://[::1/seqpulse", ""),
        (mail_server, "mail.example", "no mail server"),
        (mail_server, "smtp://", "name is missing"),
        (mail_server, "smtp+tls://user:pa:ss@mail.example:port", "cannot be read"),
        (mail_server, "smtp://[::1", ""),
    ],
)
def test_a_wrong_url_is_reported_without_its_password(parse: Any, url: str, words: str) -> None:
    environ = Environment({"X": url})
    assert environ.read("X", {"kept": True}, parse) == {"kept": True}
    assert words in environ.problems["X"]
    assert not re.search(r"pa\b|ss\b", environ.problems["X"])


def test_a_mail_server_is_taken_apart() -> None:
    found = mail_server("smtp+tls://ada%40x:p%2Fw@mail.example:587")
    assert (found["EMAIL_HOST"], found["EMAIL_PORT"], found["EMAIL_USE_TLS"]) == ("mail.example", 587, True)
    assert (found["EMAIL_HOST_USER"], found["EMAIL_HOST_PASSWORD"]) == ("ada@x", "p/w")
    assert str(found["EMAIL_BACKEND"]).endswith("smtp.EmailBackend")
    assert mail_server("consolemail://") == {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}


@pytest.mark.parametrize("given", ["CLIENT_ID", "CLIENT_SECRET"])
def test_half_a_provider_is_no_provider(given: str) -> None:
    environ = Environment({f"SEQPULSE_GITHUB_{given}": "value"})
    assert environ.oauth("SEQPULSE_GITHUB") == {}
    [(variable, what)] = environ.problems.items()
    assert variable == f"SEQPULSE_GITHUB_{'CLIENT_SECRET' if given == 'CLIENT_ID' else 'CLIENT_ID'}"
    assert "belong together" in what
    assert Environment({}).oauth("SEQPULSE_GITHUB") == {}


@pytest.mark.integration
def test_a_provider_that_is_set_may_be_led_to_by_forms_and_no_other(tmp_path: Path) -> None:
    show = "from django.conf import settings; print(settings.CONTENT_SECURITY_POLICY['DIRECTIVES']['form-action'])"
    env = {"SEQPULSE_DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "seqpulse.settings"}
    assert run("-c", show, **env).stdout.strip() == "[\"'self'\"]"
    github = {"SEQPULSE_GITHUB_CLIENT_ID": "id", "SEQPULSE_GITHUB_CLIENT_SECRET": "secret"}
    assert run("-c", show, **env, **github).stdout.strip() == "[\"'self'\", 'https://github.com']"


@pytest.mark.parametrize("raw", ["nan", "inf", "-1", "0", "1e9", "", "7", " 7 "])
def test_a_number_is_taken_only_within_its_bounds(raw: str) -> None:
    environ = Environment({"X": raw})
    value = environ.typed("X", 60.0, SampleInterval)
    assert value == (7.0 if raw.strip() == "7" else 60.0)
    assert bool(environ.problems) == (raw.strip() not in ("7", ""))
