"""`manage.py`: its messages if the installation is not ready for a command, and what it does not import."""

import subprocess
import sys
from pathlib import Path

import pytest

from seqpulse.devserver.preparing import begin
from tests.databases import own_database
from tests.processes import KEYS, closed_port, environment
from tests.system_tools import ROOT, output_of, run

pytestmark = pytest.mark.e2e


def refusal(*arguments: str, **env: str) -> str:
    """Run a command that must fail; return its message."""
    done = run(sys.executable, "manage.py", *arguments, env=environment(**env))
    assert done.returncode == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("command", ["showmigrations", "createsuperuser", "create_project shop --env prod"])
def test_without_a_server_a_command_says_how_to_start_it(tmp_path: Path, command: str) -> None:
    message = refusal(*command.split(), SEQPULSE_DATA_DIR=str(tmp_path))
    assert message.startswith("The database does not answer")
    assert "make run" in message
    assert "Traceback" not in message


def test_a_server_elsewhere_that_does_not_answer_is_named() -> None:
    with closed_port() as port:
        url = f"postgres://seqpulse@127.0.0.1:{port}/seqpulse"
        message = refusal("migrate", DATABASE_URL=url, **KEYS)
        assert str(port) in message
        assert message.endswith("Check DATABASE_URL, and that PostgreSQL runs there.\n")
        assert "Traceback" not in message
        assert "Traceback" in refusal("migrate", "--traceback", DATABASE_URL=url, **KEYS)


def test_without_tables_a_command_names_the_one_that_makes_them() -> None:
    with own_database() as url:
        message = refusal("create_project", "shop", "--env", "prod", DATABASE_URL=url, **KEYS)
    assert message.endswith("Apply the migrations: `manage.py migrate`.\n")
    assert "Traceback" not in message


def test_a_missing_key_is_reported_without_a_traceback() -> None:
    message = refusal("migrate", DATABASE_URL="postgres://seqpulse@db.example/seqpulse")
    assert message.startswith("SECRET_KEY is not set.")


def test_the_first_account_waits_until_the_database_is_set_up(tmp_path: Path) -> None:
    command = "manage.py createsuperuser --noinput --username ada --email ada@shop.example"
    with own_database(migrated=True) as url:
        given = {"DATABASE_URL": url, "SEQPULSE_DATA_DIR": str(tmp_path), "DJANGO_SUPERUSER_PASSWORD": "x"}
        with begin(tmp_path):
            process = subprocess.Popen(
                [sys.executable, *command.split()],
                env=environment(**given, **KEYS),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stderr is not None
            assert process.stderr.readline() == "Waiting until the database is set up ...\n"
            assert process.poll() is None
        out, message = process.communicate(timeout=60)
    assert (process.returncode, out.strip()) == (0, "Superuser created successfully."), message


def test_commands_import_no_page_and_the_web_server_no_test_tools() -> None:
    script = (
        "import sys; print('seqpulse.urls' in sys.modules); from seqpulse.urls import urlpatterns;"
        "print([name for name in ('rest_framework.test', 'django.test', 'unittest.mock') if name in sys.modules])"
    )
    shown = output_of(sys.executable, "manage.py", "shell", "--no-imports", "-c", script, env=environment())
    assert shown.splitlines() == ["False", "[]"]
