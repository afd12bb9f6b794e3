"""Authentication of API calls: the project of an API key."""

from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from common.database_state import bookkeeping
from projects.models import ApiKey, Project, hash_key

# "Last used" helps to clean up keys: to the minute, so that a busy pipeline does not write on every call.
LAST_USED_RESOLUTION = timedelta(minutes=1)


KEY_COLUMNS = [field.attname for field in ApiKey._meta.concrete_fields]
PROJECT_COLUMNS = [field.attname for field in Project._meta.concrete_fields]
LOOK_UP = f"""
SELECT {", ".join(f"key.{name}" for name in KEY_COLUMNS)}, {", ".join(f"project.{name}" for name in PROJECT_COLUMNS)}
FROM projects_apikey AS key JOIN projects_project AS project ON project.id = key.project_id
WHERE key.key_hash = %s AND key.revoked_at IS NULL
"""  # noqa: S608  (names of our own columns)


class Caller:
    """The caller of a request: an API key and its project."""

    is_authenticated = True

    def __init__(self, key: ApiKey) -> None:
        self.key = key
        self.project: Project = key.project


def project_of(request: Request) -> Project:
    """Return the project of the caller; for views that only keys may call."""
    caller: Any = request.user
    project: Project = caller.project
    return project


def look_up(secret: str) -> ApiKey | None:
    """Return the usable key with this secret, with its project.

    In SQL: every call of the API begins with it, and building the query cost more than running it.
    """
    with connection.cursor() as cursor:
        cursor.execute(LOOK_UP, [hash_key(secret)])
        row = cursor.fetchone()
    if row is None:
        return None
    key = ApiKey.from_db(connection.alias, KEY_COLUMNS, row[: len(KEY_COLUMNS)])
    key.project = Project.from_db(connection.alias, PROJECT_COLUMNS, row[len(KEY_COLUMNS) :])
    return key


def key_of(request: HttpRequest) -> ApiKey | None:
    """Return the usable key of the request, looked up once per request."""
    if not hasattr(request, "seqpulse_key"):
        secret = request.headers.get("X-API-Key", "").strip()
        request.seqpulse_key = look_up(secret) if secret else None  # type: ignore[attr-defined]
    key: ApiKey | None = request.seqpulse_key  # type: ignore[attr-defined]
    return key


class ApiKeyAuthentication(BaseAuthentication):
    """Authenticate by the header X-API-Key: sp_… Missing, unknown and revoked keys get 401."""

    def authenticate(self, request: Request) -> tuple[Caller, ApiKey] | None:
        if not request.headers.get("X-API-Key", "").strip():
            return None
        key = key_of(request._request)
        if key is None:
            raise AuthenticationFailed("This API key is not known. Check the header X-API-Key.")
        if key.last_used_at is None or timezone.now() - key.last_used_at > LAST_USED_RESOLUTION:
            with bookkeeping("key in use"):
                ApiKey.objects.filter(pk=key.pk).update(last_used_at=Now())
        return Caller(key), key

    def authenticate_header(self, request: Request) -> str:
        return "ApiKey"
