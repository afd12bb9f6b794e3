"""Tables that our own processes share about themselves."""

from django.db import migrations, models

# Unlogged: counters cost no write-ahead log, and a crash of the server may well set them to zero.
# The fill factor leaves room for updates in place; nothing but the key is indexed, so they are all of that kind.
COUNTERS = """
CREATE UNLOGGED TABLE rate_counters (
    key varchar(120) COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL CHECK (value >= 0),
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);
"""


class Migration(migrations.Migration):
    initial = True

    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(COUNTERS, "DROP TABLE rate_counters")],
            state_operations=[
                migrations.CreateModel(
                    name="RateCounter",
                    fields=[
                        ("key", models.CharField(max_length=120, primary_key=True, serialize=False)),
                        ("value", models.PositiveBigIntegerField()),
                        ("expires_at", models.DateTimeField()),
                    ],
                    options={"db_table": "rate_counters"},
                ),
            ],
        ),
    ]
