"""New encryption keys for stored secrets, while everything runs."""

from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection

from projects.models import Environment
from projects.tests.factories import make_environment
from security import rotation
from security.rotation import rotate

pytestmark = pytest.mark.django_db
OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))


@pytest.fixture(autouse=True)
def keys(settings: Any) -> Any:
    settings.SEQPULSE_ENCRYPTION_KEYS = [OLD]
    return settings


def stored() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT hmac_secret FROM projects_environment ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def secrets() -> list[str]:
    return [secret.open() for secret in Environment.objects.order_by("pk").values_list("hmac_secret", flat=True)]


def test_afterwards_the_new_key_alone_opens_everything(keys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    for number in range(5):
        make_environment(hmac_secret=f"secret {number}")
    make_environment()
    keys.SEQPULSE_ENCRYPTION_KEYS = [NEW, OLD]
    lines: list[str] = []
    done = rotate(lines.append)
    assert (done.changed, done.current, done.unreadable, len(lines)) == (5, 0, [], 3)
    keys.SEQPULSE_ENCRYPTION_KEYS = [NEW]
    assert secrets() == [*(f"secret {number}" for number in range(5)), ""]


def test_a_second_run_changes_nothing(keys: Any) -> None:
    make_environment(hmac_secret="secret")
    keys.SEQPULSE_ENCRYPTION_KEYS = [NEW, OLD]
    rotate()
    before = stored()
    done = rotate()
    assert (done.changed, done.current) == (0, 1)
    assert stored() == before


def test_a_secret_set_concurrently_is_kept(keys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = make_environment(hmac_secret="read by the rotation")
    keys.SEQPULSE_ENCRYPTION_KEYS = [NEW, OLD]
    read = rotation._read

    def read_and_be_overtaken(*args: Any, **kwargs: Any) -> list[tuple[int, str]]:
        rows = read(*args, **kwargs)
        Environment.objects.filter(pk=environment.pk).update(hmac_secret="set concurrently")
        return rows

    monkeypatch.setattr(rotation, "_read", read_and_be_overtaken)
    assert rotate().changed == 0
    assert secrets() == ["set concurrently"]


def test_a_process_that_knows_both_keys_reads_on_throughout(keys: Any) -> None:
    make_environment(hmac_secret="secret")
    keys.SEQPULSE_ENCRYPTION_KEYS = [NEW, OLD]
    rotate()
    # Not restarted since step 2 of docs/security.md.
    keys.SEQPULSE_ENCRYPTION_KEYS = [OLD, NEW]
    assert secrets() == ["secret"]


def test_what_no_key_opens_is_named_and_left_alone(keys: Any) -> None:
    lost = make_environment(hmac_secret="lost")
    keys.SEQPULSE_ENCRYPTION_KEYS = [OTHER]
    make_environment(hmac_secret="kept")
    keys.SEQPULSE_ENCRYPTION_KEYS = [NEW, OTHER]
    before = stored()[0]
    out = StringIO()
    with pytest.raises(CommandError, match=rf"projects_environment\.hmac_secret {lost.pk}$"):
        call_command("rotate_secrets", stdout=out)
    assert out.getvalue().startswith("1 secrets encrypted with the first key, 0 were already, 1 cannot be read")
    assert stored()[0] == before
    with pytest.raises(ImproperlyConfigured):
        secrets()


def test_the_previous_secret_is_re_encrypted_as_well(keys: Any) -> None:
    make_environment(hmac_secret="new", previous_hmac_secret="old")
    keys.SEQPULSE_ENCRYPTION_KEYS = [NEW, OLD]
    assert rotate().changed == 2
    keys.SEQPULSE_ENCRYPTION_KEYS = [NEW]
    assert Environment.objects.get().previous_hmac_secret.open() == "old"
