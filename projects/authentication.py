"""Authentication of API calls: the project of an API key."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import connection
from django.db.models.functions import Now
from django.http import HttpRequest, UnreadablePostError
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from common.database import prepared
from common.database_state import bookkeeping
from common.strict_json import InvalidJSON, read_json
from projects.models import API_KEY_PREFIX, ApiKey, Project, hash_key
from security.counting import counting

# "Last used" helps to clean up keys: to the minute, so that a busy pipeline does not write on every call.
LAST_USED_RESOLUTION = timedelta(minutes=1)


KEY_COLUMNS = [field.attname for field in ApiKey._meta.concrete_fields]
PROJECT_COLUMNS = [field.attname for field in Project._meta.concrete_fields]
LOOK_UP = f"""
SELECT {", ".join(f"key.{name}" for name in KEY_COLUMNS)}, {", ".join(f"project.{name}" for name in PROJECT_COLUMNS)}
FROM projects_apikey AS key JOIN projects_project AS project ON project.id = key.project_id
WHERE key.key_hash = %(key_hash)s AND key.revoked_at IS NULL
"""  # noqa: S608  (names of our own columns)
STILL_USABLE = "SELECT 1 FROM projects_apikey WHERE id = %(key)s::bigint AND revoked_at IS NULL"
# The beginning of a statement that does all that a call wants (`calling`). `caller`: the key and its project, no row
# where it is not usable; `counted`: the calls of its limit's period with this one; `allowed`: `caller`, unless there
# were too many.
CALLING = f"""
caller AS (SELECT key.id AS key_id, key.last_used_at, project.* FROM projects_apikey AS key
    JOIN projects_project AS project ON project.id = key.project_id
    WHERE key.id = %(key_id)s::bigint AND key.key_hash = %(key_hash)s AND key.revoked_at IS NULL),
counted AS ({counting("caller")}),
allowed AS (SELECT * FROM caller WHERE coalesce((SELECT value FROM counted), 0) <= %(limit)s::bigint),
used AS (UPDATE projects_apikey AS key SET last_used_at = now() FROM allowed WHERE key.id = allowed.key_id
    AND coalesce(allowed.last_used_at < now() - interval '{LAST_USED_RESOLUTION.total_seconds()} s', true))
"""  # noqa: S608  (as above)
# A call of which the rest is for the view: its key as LOOK_UP returns it, and the number of calls with this one.
CALL = f"""
WITH {CALLING}
SELECT (SELECT value FROM counted), {", ".join(f"key.{name}" for name in KEY_COLUMNS)},
    {", ".join(f"project.{name}" for name in PROJECT_COLUMNS)}
FROM caller JOIN projects_apikey AS key ON key.id = caller.key_id
    JOIN projects_project AS project ON project.id = caller.id
"""  # noqa: S608  (as above)
# Ids of keys that this process has seen, by hash: the counter of a call is named by the id. Whether a key is usable is
# not remembered.
SEEN_MOST = 10_000
_seen: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of calls: its name ("": calls are not counted), lifetime in seconds and limit."""

    name: str = ""
    kept_s: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class SeenKey:
    """A key that this process has found before; it may be revoked by now."""

    id: int
    hash: str

    def calling(self, counter: Counter) -> dict[str, str]:
        """Return the values of CALLING."""
        key = {"key_id": str(self.id), "key_hash": self.hash}
        count = {"counter": counter.name, "counter_kept_s": str(counter.kept_s), "delta": "1"}
        return {**key, **count, "limit": str(counter.limit)}


def seen_key(secret: str) -> SeenKey | None:
    """Return the key with this secret if this process has found it before."""
    key_hash = hash_key(secret)
    key_id = _seen.get(key_hash)
    return None if key_id is None else SeenKey(key_id, key_hash)


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
    if not secret.isascii():
        # JSON may bring what cannot be encoded.
        return None
    key_hash = hash_key(secret)
    rows = prepared(LOOK_UP, {"key_hash": key_hash}, repeatable=True)
    if not rows:
        return None
    key = key_from(rows[0])
    if len(_seen) >= SEEN_MOST:
        _seen.clear()
    _seen[key_hash] = key.pk
    return key


def key_from(row: Sequence[Any]) -> ApiKey:
    """Return a key with its project from the columns of LOOK_UP."""
    key = ApiKey.from_db(connection.alias, KEY_COLUMNS, row[: len(KEY_COLUMNS)])
    key.project = Project.from_db(connection.alias, PROJECT_COLUMNS, row[len(KEY_COLUMNS) :])
    return key


def count_call(request: HttpRequest, key: SeenKey, counter: Counter) -> int | None:
    """Look up a key that was seen before, for `key_of`, and count the call, in one statement.

    Returns: the number of calls with this one; None where they are not counted or the key is not usable any more.
    """
    rows = prepared(CALL, key.calling(counter))
    if not rows:
        return None
    used, *columns = rows[0]
    found = key_from(columns)
    # The statement has updated it, where that was due.
    found.last_used_at = timezone.now()
    request.seqpulse_key = found  # type: ignore[attr-defined]
    return None if used is None else int(used)


def still_usable(key_id: int) -> bool:
    """Return whether a key was not revoked meanwhile. In SQL: hundreds of waiting calls may be answered at once."""
    return bool(prepared(STILL_USABLE, {"key": str(key_id)}))


def secret_of(request: HttpRequest | Request) -> str:
    """Return the secret in the header X-API-Key, or of Authorization: Bearer; "" where there is none."""
    secret: str = request.META.get("HTTP_X_API_KEY", "").strip()
    if secret:
        return secret
    scheme, _, bearer = request.META.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" and bearer.strip().startswith(API_KEY_PREFIX) else ""


def key_of(request: HttpRequest) -> ApiKey | None:
    """Return the usable key of the request."""
    return looked_up(request, secret_of(request))


def looked_up(request: HttpRequest, secret: str) -> ApiKey | None:
    """Return the usable key with the secret that the request brings, looked up once per request."""
    if not hasattr(request, "seqpulse_key"):
        request.seqpulse_key = look_up(secret) if secret else None  # type: ignore[attr-defined]
    key: ApiKey | None = request.seqpulse_key  # type: ignore[attr-defined]
    return key


def key_in_metadata(request: HttpRequest) -> ApiKey | None:
    """Return the usable key of a call that may have it in its JSON body, before a view has read the body.

    A body that cannot be read has no key; the view says what is wrong with it.
    """
    secret = secret_of(request)
    if not secret:
        with suppress(InvalidJSON, RequestDataTooBig, UnreadablePostError):
            secret = secret_in_metadata(read_json(request.body))
    return looked_up(request, secret)


def secret_in_metadata(body: Any) -> str:
    """Return metadata.key of a parsed body, "" where there is none: Flagger sends no headers of its own."""
    metadata = body.get("metadata") if isinstance(body, dict) else None
    secret = metadata.get("key") if isinstance(metadata, dict) else None
    return secret.strip() if isinstance(secret, str) else ""


class ApiKeyAuthentication(BaseAuthentication):
    """Authenticate by the header X-API-Key: sp_… Missing, unknown and revoked keys get 401."""

    def authenticate(self, request: Request) -> tuple[Caller, ApiKey] | None:
        if not secret_of(request):
            return None
        key = key_of(request._request)
        if key is None:
            raise AuthenticationFailed("This API key is not known. Check the header X-API-Key.")
        return self.used(key)

    def used(self, key: ApiKey) -> tuple[Caller, ApiKey]:
        """Return the caller with this key, and note that it is in use."""
        if key.last_used_at is None or timezone.now() - key.last_used_at > LAST_USED_RESOLUTION:
            with bookkeeping("key in use"):
                ApiKey.objects.filter(pk=key.pk).update(last_used_at=Now())
        return Caller(key), key

    def authenticate_header(self, request: Request) -> str:
        return "ApiKey"
