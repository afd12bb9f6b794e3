"""Migrations are backward compatible by one version (docs/operating.md): the old code works on the new tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from common.migrations import AddIndexOnline

APPS = ("accounts", "projects", "scheduler", "deployments", "metrics", "analysis", "seqpulse")

# Operations that remove something that old code reads or writes. First release code that does not use it.
REMOVALS = (
    migrations.RemoveField,
    migrations.RenameField,
    migrations.RenameModel,
    migrations.DeleteModel,
    migrations.AlterModelTable,
)
UNREADABLE = (migrations.RunSQL, migrations.RunPython)

# Accepted operations that look incompatible: the name that `incompatibilities` gives it, and the reason.
REASONS = {
    "analysis.0004_announce_changes RunSQL": "triggers that announce what is written, and change nothing",
    "deployments.0006_announce_later RunSQL": "a trigger's function, which old code leaves as it was",
    "deployments.0007_fewer_indexes RunSQL": "drops indexes that others replace, without blocking",
    "scheduler.0004_fewer_indexes RunSQL": "drops an index that another one replaces, without blocking",
    "deployments.0002_keys_kind_settle RunSQL": "fills a new table, which old code does not read",
    "analysis.0005_environment_standings RunSQL": "triggers that keep a new table, also where old code writes",
    "analysis.0006_fill_environment_standings RunSQL": "fills a new table, which old code does not read",
}


def needs_a_value(field: models.Field[Any, Any]) -> bool:
    """Return whether an INSERT without the column fails. Django's defaults are not in the database."""
    return not (field.null or field.many_to_many or field.has_db_default())


def is_incompatible(operation: Operation, state: ProjectState, app: str) -> bool:
    """Return whether the operation breaks old code that uses the table. state: before the operation."""
    if isinstance(operation, migrations.AddField):
        return needs_a_value(operation.field)
    if isinstance(operation, migrations.AlterField):
        before = state.models[app, operation.model_name_lower].fields[operation.name]
        return needs_a_value(operation.field) and not needs_a_value(before)
    if isinstance(operation, migrations.AddIndex):
        # It would block all writers.
        return not isinstance(operation, AddIndexConcurrently)
    return isinstance(operation, (*REMOVALS, *UNREADABLE, migrations.AddConstraint))


def name_of(operation: Operation) -> str:
    """Return the kind of the operation and, if it has them, its model and field."""
    about = getattr(operation, "constraint", None) or getattr(operation, "index", None) or operation
    names = [str(getattr(operation, "model_name", "")).lower(), str(getattr(about, "name", ""))]
    return " ".join(filter(None, [type(operation).__name__, ".".join(filter(None, names))]))


def incompatibilities(migration: migrations.Migration, state: ProjectState) -> Iterator[str]:
    """Yield the operations of a migration that break old code. state: before the migration."""
    app = migration.app_label
    new: set[str] = set()
    for operation in migration.operations:
        # Changes of Django's state only do not affect old code.
        for step in getattr(operation, "database_operations", [operation]):
            if isinstance(step, migrations.CreateModel):
                new.add(step.name_lower)
            elif getattr(step, "model_name", "").lower() not in new and is_incompatible(step, state, app):
                yield f"{app}.{migration.name} {name_of(step)}"
        operation.state_forwards(app, state)


def all_incompatibilities() -> set[str]:
    """Return the incompatibilities of all our migrations that follow another one of their app."""
    loader = MigrationLoader(None)
    later = [
        (app, name)
        for (app, name), migration in loader.graph.nodes.items()
        if app in APPS and any(before == app for before, _ in migration.dependencies)
    ]
    return {
        trouble
        for node in later
        for trouble in incompatibilities(loader.graph.nodes[node], loader.project_state(node, at_end=False))
    }


def test_the_code_before_works_with_the_tables_of_every_migration() -> None:
    assert all_incompatibilities() == set(REASONS)


FIRST = """
from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Thing", [("id", models.BigAutoField(primary_key=True)), ("name", models.TextField())])
    ]
"""
SECOND = """
from django.db import migrations
class Migration(migrations.Migration):
    dependencies = [("seqpulse", "0001_initial")]
    operations = [migrations.RemoveField("thing", "name")]
"""


def test_a_later_migration_that_takes_something_away_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    for name, text in {"__init__": "", "0001_initial": FIRST, "0002_less": SECOND}.items():
        path = tmp_path / "later_migrations" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    settings.MIGRATION_MODULES = {"seqpulse": "later_migrations"}
    assert all_incompatibilities() - set(REASONS) == {"seqpulse.0002_less RemoveField thing.name"}


class Before(migrations.Migration):
    """A table of an older version."""

    operations = [
        migrations.CreateModel(
            "Thing", [("id", models.BigAutoField(primary_key=True)), ("name", models.TextField(null=True))]
        )
    ]


@pytest.mark.parametrize(
    ("operation", "trouble"),
    [
        (migrations.RemoveField("thing", "name"), True),
        (migrations.RenameField("thing", "name", "title"), True),
        (migrations.RenameModel("Thing", "Object"), True),
        (migrations.DeleteModel("Thing"), True),
        (migrations.AlterModelTable("thing", "objects"), True),
        (migrations.AddField("thing", "size", models.IntegerField(default=0)), True),
        (migrations.AddField("thing", "size", models.IntegerField(db_default=0)), False),
        (migrations.AddField("thing", "size", models.IntegerField(null=True)), False),
        (migrations.AlterField("thing", "name", models.TextField()), True),
        (migrations.AlterField("thing", "name", models.TextField(db_default="")), False),
        (migrations.AddIndex("thing", models.Index(fields=["name"], name="by_name")), True),
        (AddIndexConcurrently("thing", models.Index(fields=["name"], name="by_name")), False),
        (AddIndexOnline("thing", models.Index(fields=["name"], name="by_name")), False),
        (migrations.AddConstraint("thing", models.UniqueConstraint(fields=["name"], name="one")), True),
        (migrations.RunSQL("SELECT 1"), True),
        (migrations.SeparateDatabaseAndState(database_operations=[migrations.RunSQL("SELECT 1")]), True),
        (migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("Thing")]), False),
        (migrations.CreateModel("Other", [("id", models.BigAutoField(primary_key=True))]), False),
    ],
)
def test_what_old_code_cannot_live_with_is_noticed(operation: Operation, trouble: bool) -> None:
    state = Before("0001_initial", "projects").mutate_state(ProjectState())
    after = type("Migration", (migrations.Migration,), {"operations": [operation]})("0002_next", "projects")
    assert bool(list(incompatibilities(after, state))) == trouble
