"""Encrypting stored secrets anew with the first of the configured keys, while everything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import Model
from psycopg import sql

from security.encryption import EncryptedTextField, rotated

BATCH = 500


@dataclass(slots=True)
class Rotation:
    """How many secrets were encrypted anew, and how many were right already; unreadable: "table.column id" of those
    that no configured key opens."""

    changed: int = 0
    current: int = 0
    unreadable: list[str] = field(default_factory=list)


def encrypted_columns() -> Iterator[tuple[type[Model], EncryptedTextField]]:
    """Every place where secrets are stored."""
    for model in apps.get_models():
        for column in model._meta.local_concrete_fields:
            if isinstance(column, EncryptedTextField):
                yield model, column


def rotate(say: Callable[[str], None] | None = None) -> Rotation:
    """Encrypts every stored secret with the first key. say: is told of each batch.

    Each row is one short update, made only where the secret is still the one that was read, so whoever sets a new one
    meanwhile wins. May be interrupted at any time and run again.
    """
    done = Rotation()
    for model, column in encrypted_columns():
        last = 0
        while batch := _read(model, column, after=last):
            for pk, token in batch:
                _rotate_one(model, column, done, pk=pk, token=token)
            last = batch[-1][0]
            if say is not None:
                say(f"{model._meta.db_table}.{column.column}: up to id {last}, {done.changed} encrypted anew")
    return done


def _rotate_one(model: type[Model], column: EncryptedTextField, done: Rotation, *, pk: int, token: str) -> None:
    try:
        new = rotated(token)
    except ImproperlyConfigured:
        done.unreadable.append(f"{model._meta.db_table}.{column.column} {pk}")
        return
    if new is None:
        done.current += 1
    elif _replace(model, column, pk=pk, old=token, new=new):
        done.changed += 1


def _read(model: type[Model], column: EncryptedTextField, *, after: int) -> list[tuple[int, str]]:
    """The next batch as it is stored; the ORM would decrypt it."""
    query = sql.SQL("SELECT {id}, {secret} FROM {table} WHERE {id} > %s AND {secret} <> '' ORDER BY {id} LIMIT %s")
    with connection.cursor() as cursor:
        cursor.execute(query.format(**_names(model, column)), [after, BATCH])
        rows: list[tuple[int, str]] = cursor.fetchall()
        return rows


def _replace(model: type[Model], column: EncryptedTextField, *, pk: int, old: str, new: str) -> bool:
    query = sql.SQL("UPDATE {table} SET {secret} = %s WHERE {id} = %s AND {secret} = %s")
    with connection.cursor() as cursor:
        cursor.execute(query.format(**_names(model, column)), [new, pk, old])
        replaced: bool = cursor.rowcount == 1
        return replaced


def _names(model: type[Model], column: EncryptedTextField) -> dict[str, sql.Identifier]:
    return {
        "table": sql.Identifier(model._meta.db_table),
        "secret": sql.Identifier(str(column.column)),
        "id": sql.Identifier(str(model._meta.pk.column)),
    }
