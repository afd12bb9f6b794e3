"""Re-encrypt stored secrets with the first configured key, without downtime."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import Model
from psycopg import sql

from security.encryption import EncryptedTextField, rotated

BATCH = 500
# Secrets of third-party models inside a JSON column: ("app.Model", column, key). Apps add theirs at start.
JSON_SECRETS: list[tuple[str, str, str]] = []


@dataclass(slots=True)
class Rotation:
    """Number of re-encrypted and of up-to-date secrets; unreadable: "table.column id" of those that no key decrypts."""

    changed: int = 0
    current: int = 0
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """A place of stored secrets: a column, or a key of the JSON in it."""

    model: type[Model]
    column: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.model._meta.db_table}.{self.column}{f'.{self.key}' if self.key else ''}"

    @property
    def names(self) -> dict[str, sql.Composable]:
        column = sql.Identifier(self.column)
        as_text = sql.SQL("({} ->> {})").format(column, sql.Literal(self.key))
        as_json = sql.SQL("jsonb_set({}, ARRAY[{}], to_jsonb(%s::text))").format(column, sql.Literal(self.key))
        return {
            "table": sql.Identifier(self.model._meta.db_table),
            "id": sql.Identifier(str(self.model._meta.pk.column)),
            "column": column,
            "secret": as_text if self.key else column,
            "new": as_json if self.key else sql.SQL("%s"),
        }


def places() -> Iterator[Place]:
    """Yield every place where secrets are stored."""
    for model in apps.get_models():
        for column in model._meta.local_concrete_fields:
            if isinstance(column, EncryptedTextField):
                yield Place(model, str(column.column))
    for label, name, key in JSON_SECRETS:
        model = apps.get_model(label)
        yield Place(model, str(model._meta.get_field(name).column), key)


def rotate(say: Callable[[str], None] | None = None) -> Rotation:
    """Re-encrypt every stored secret with the first key. May be interrupted and repeated.

    Each row is one short update, guarded by the secret that was read, so that a concurrent change wins.

    Args:
        say: called with a line for each batch.
    """
    done = Rotation()
    for place in places():
        last = 0
        while batch := _read(place, after=last):
            for pk, token in batch:
                _rotate_one(place, done, pk=pk, token=token)
            last = batch[-1][0]
            if say is not None:
                say(f"{place}: up to id {last}, {done.changed} encrypted anew")
    return done


def _rotate_one(place: Place, done: Rotation, *, pk: int, token: str) -> None:
    try:
        new = rotated(token)
    except ImproperlyConfigured:
        done.unreadable.append(f"{place} {pk}")
        return
    if new is None:
        done.current += 1
    elif _replace(place, pk=pk, old=token, new=new):
        done.changed += 1


def _read(place: Place, *, after: int) -> list[tuple[int, str]]:
    """Return the next batch as stored; the ORM would decrypt it."""
    query = sql.SQL("SELECT {id}, {secret} FROM {table} WHERE {id} > %s AND {secret} <> '' ORDER BY {id} LIMIT %s")
    with connection.cursor() as cursor:
        cursor.execute(query.format(**place.names), [after, BATCH])
        rows: list[tuple[int, str]] = cursor.fetchall()
        return rows


def _replace(place: Place, *, pk: int, old: str, new: str) -> bool:
    query = sql.SQL("UPDATE {table} SET {column} = {new} WHERE {id} = %s AND {secret} = %s")
    with connection.cursor() as cursor:
        cursor.execute(query.format(**place.names), [new, pk, old])
        replaced: bool = cursor.rowcount == 1
        return replaced
