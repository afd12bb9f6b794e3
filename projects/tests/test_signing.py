"""An environment's HMAC secret: rotated with a grace period, sealed wherever it is not opened on purpose."""

from datetime import timedelta

import pytest
from django.core import serializers
from django.db import connection
from django.utils import timezone

from projects.models import Environment
from projects.services import create_project
from projects.signing import (
    SecretChanged,
    begin_signing,
    enable_signing,
    end_grace,
    end_signing,
    fingerprint,
    forget_previous_secrets,
    reissue_secret,
    rotate_secret,
)
from projects.tests.factories import make_environment

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def environment() -> Environment:
    return make_environment(hmac_secret="sphs_old")


def opened(environment: Environment) -> tuple[str, str]:
    found = Environment.objects.get(pk=environment.pk)
    return found.hmac_secret.open(), found.previous_hmac_secret.open()


def test_after_a_rotation_the_old_secret_is_good_for_its_time_of_grace(environment: Environment) -> None:
    secret = rotate_secret(environment, seen=fingerprint(environment), grace=HOUR)
    assert opened(environment) == (secret, "sphs_old")
    found = Environment.objects.get(pk=environment.pk)
    now = timezone.now()
    assert found.in_grace(now)
    assert not found.in_grace(now + HOUR + timedelta(minutes=1))
    assert found.previous_hmac_until is not None
    assert abs(found.previous_hmac_until - now - HOUR) < timedelta(minutes=1)


def test_of_two_rotations_at_once_the_second_changes_nothing(environment: Environment) -> None:
    """Both users saw the same page; otherwise the old secret, which the endpoint uses, would be lost."""
    seen = fingerprint(environment)
    other = Environment.objects.get(pk=environment.pk)
    secret = rotate_secret(environment, seen=seen, grace=HOUR)
    for late in (other, Environment.objects.get(pk=environment.pk)):
        with pytest.raises(SecretChanged):
            rotate_secret(late, seen=seen, grace=HOUR)
    assert opened(environment) == (secret, "sphs_old")


def test_during_grace_a_second_rotation_is_refused_but_a_lost_secret_is_replaced(
    environment: Environment,
) -> None:
    lost = rotate_secret(environment, seen=fingerprint(environment), grace=HOUR)
    with pytest.raises(SecretChanged):
        rotate_secret(environment, seen=fingerprint(environment), grace=HOUR)
    secret = reissue_secret(environment, seen=fingerprint(environment))
    assert secret != lost
    assert opened(environment) == (secret, "sphs_old")
    end_grace(environment, seen=fingerprint(environment))
    assert opened(environment) == (secret, "")
    environment.refresh_from_db()
    with pytest.raises(SecretChanged):
        reissue_secret(environment, seen=fingerprint(environment))


def test_signing_begins_once_and_ends_with_every_secret_forgotten(environment: Environment) -> None:
    with pytest.raises(SecretChanged):
        begin_signing(environment)
    rotate_secret(environment, seen=fingerprint(environment), grace=HOUR)
    with pytest.raises(SecretChanged):
        end_signing(environment, seen="another")
    end_signing(environment, seen=fingerprint(environment))
    assert opened(environment) == ("", "")
    environment.refresh_from_db()
    assert fingerprint(environment) == ""
    secret = begin_signing(environment)
    assert opened(environment) == (secret, "")


def test_a_new_secret_of_the_operators_ends_the_grace(environment: Environment) -> None:
    rotate_secret(environment, seen=fingerprint(environment), grace=HOUR)
    secret = enable_signing(environment)
    assert opened(environment) == (secret, "")


def test_the_fingerprint_tells_nothing_of_the_secret(environment: Environment) -> None:
    found = fingerprint(environment)
    assert len(found) == 16
    assert found not in environment.hmac_secret.token
    assert "sphs" not in found


def test_secrets_whose_grace_is_over_are_forgotten(environment: Environment) -> None:
    rotate_secret(environment, seen=fingerprint(environment), grace=HOUR)
    assert forget_previous_secrets() == 0
    Environment.objects.update(previous_hmac_until=timezone.now() - timedelta(seconds=1))
    assert forget_previous_secrets() == 1
    assert opened(environment)[1] == ""


# --- at rest -------------------------------------------------------------------------------------------------------


def stored(environment: Environment) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT hmac_secret FROM projects_environment WHERE id = %s", [environment.pk])
        value: str = cursor.fetchone()[0]
        return value


def test_a_project_without_signing_has_no_secret() -> None:
    environment = create_project(
        "shop", environment="prod", endpoint="http://metrics.example/m"
    ).project.environments.get()
    assert not environment.signs
    assert stored(environment) == ""
    environment.full_clean()
    environment.save()
    assert stored(environment) == ""


def test_checking_and_saving_an_environment_keeps_its_secret() -> None:
    environment = Environment.objects.get(pk=make_environment(hmac_secret="sphs_told_once").pk)
    token = stored(environment)
    environment.full_clean()
    environment.save()
    assert stored(environment) == token
    assert Environment.objects.get(pk=environment.pk).hmac_secret.open() == "sphs_told_once"


def test_a_dump_contains_the_encrypted_secret_and_restores_it() -> None:
    environment = make_environment(hmac_secret="sphs_told_once")
    dump = serializers.serialize("json", Environment.objects.filter(pk=environment.pk))
    assert "sphs_told_once" not in dump
    Environment.objects.filter(pk=environment.pk).update(hmac_secret="another")
    for loaded in serializers.deserialize("json", dump):
        loaded.save()
    assert Environment.objects.get(pk=environment.pk).hmac_secret.open() == "sphs_told_once"


def test_nothing_shows_a_secret_by_itself() -> None:
    environment = make_environment(hmac_secret="sphs_told_once")
    for shown in (repr(environment.hmac_secret), str(environment.hmac_secret), f"{environment.hmac_secret}"):
        assert "sphs" not in shown
        assert environment.hmac_secret.token not in shown
