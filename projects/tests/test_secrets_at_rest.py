"""An environment's HMAC secret: sealed wherever it is not opened on purpose, and the same after every detour."""

import pytest
from django.core import serializers
from django.db import connection

from projects.models import Environment
from projects.services import create_project
from projects.tests.factories import make_environment

pytestmark = pytest.mark.django_db


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
