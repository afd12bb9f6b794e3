"""Migrations are backward compatible by one version (docs/operating.md): the code before works on the new tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

APPS = ("scheduler", "deployments", "metrics", "analysis", "seqpulse")

# What old code would miss: it still reads and writes all of it. To take something away, first release code that does
# without.
TAKEN_AWAY = (
    migrations.RemoveField,
    migrations.RenameField,
    migrations.RenameModel,
    migrations.DeleteModel,
    migrations.AlterModelTable,
)
UNREADABLE = (migrations.RunSQL, migrations.RunPython)

UNRELEASED = "from before the first release: no installation runs code that is older"
# What would be in the way, and why it is not.
REASONS = {
    "analysis.0002_policies_and_feedback AddField deploymentverdict.early": UNRELEASED,
    "analysis.0002_policies_and_feedback AddField deploymentverdict.shadow": UNRELEASED,
    "analysis.0003_verdicts_by_name RunSQL": "drops only what an interrupted attempt of the same migration left",
    "analysis.0005_verdicts_in_short RunSQL": "drops only what an interrupted attempt of the same migration left",
    "analysis.0006_lists RunSQL": "drops only what an interrupted attempt of the same migration left",
    "deployments.0004_observed_index RunSQL": "drops only what an interrupted attempt of the same migration left",
    "deployments.0006_delivery_indexes RunSQL": "drops only what an interrupted attempt of the same migration left",
    "deployments.0007_lists RunSQL": "drops only what an interrupted attempt of the same migration left; counts words",
    "metrics.0002_by_environment AddIndex metricsample.samples_of_environment": UNRELEASED,
    "metrics.0003_partitions RunPython": UNRELEASED,
    "scheduler.0002_unique_key AddConstraint scheduledjob.one_job_per_unique_key": "older code leaves the column NULL",
    "scheduler.0003_fair_share_and_locks AddField poller.session_locked": UNRELEASED,
    "scheduler.0004_totals AddIndex scheduledjob.jobs_failed": UNRELEASED,
    "seqpulse.0002_own_metrics RunSQL": "makes tables that older code does not know",
}


def needs_a_value(field: models.Field[Any, Any]) -> bool:
    """Whether an INSERT that does not know the column fails. A default of Django's is not in the database."""
    return not (field.null or field.many_to_many or field.has_db_default())


def is_in_the_way(operation: Operation, state: ProjectState, app: str) -> bool:
    """Whether old code that uses the table cannot live with it; state: from before it."""
    if isinstance(operation, migrations.AddField):
        return needs_a_value(operation.field)
    if isinstance(operation, migrations.AlterField):
        before = state.models[app, operation.model_name_lower].fields[operation.name]
        return needs_a_value(operation.field) and not needs_a_value(before)
    if isinstance(operation, migrations.AddIndex):
        # It would hold up all writers.
        return not isinstance(operation, AddIndexConcurrently)
    return isinstance(operation, (*TAKEN_AWAY, *UNREADABLE, migrations.AddConstraint))


def name_of(operation: Operation) -> str:
    """Its kind and, where it says so, its model and what of that it is about."""
    about = getattr(operation, "constraint", None) or getattr(operation, "index", None) or operation
    names = [str(getattr(operation, "model_name", "")).lower(), str(getattr(about, "name", ""))]
    return " ".join(filter(None, [type(operation).__name__, ".".join(filter(None, names))]))


def troubles(migration: migrations.Migration, state: ProjectState) -> Iterator[str]:
    """What in this migration old code cannot live with; state: from before it."""
    app = migration.app_label
    new: set[str] = set()
    for operation in migration.operations:
        # What only changes Django's own idea of the tables is in nobody's way.
        for step in getattr(operation, "database_operations", [operation]):
            if isinstance(step, migrations.CreateModel):
                new.add(step.name_lower)
            elif getattr(step, "model_name", "").lower() not in new and is_in_the_way(step, state, app):
                yield f"{app}.{migration.name} {name_of(step)}"
        operation.state_forwards(app, state)


def test_the_code_before_works_with_the_tables_of_every_migration() -> None:
    loader = MigrationLoader(None)
    later = [
        (app, name)
        for (app, name), migration in loader.graph.nodes.items()
        if app in APPS and any(before == app for before, _ in migration.dependencies)
    ]
    assert {app for app, _ in later} == set(APPS)
    found = {
        trouble
        for node in later
        for trouble in troubles(loader.graph.nodes[node], loader.project_state(node, at_end=False))
    }
    assert found == set(REASONS)


class Before(migrations.Migration):
    """A table as an older version has it."""

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
    assert bool(list(troubles(after, state))) == trouble
