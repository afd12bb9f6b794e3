"""What /ds-metrics needs: counts of requests that all web processes share, and nonces that were used."""

from django.db import migrations, models

# Counts may go with a crash; a nonce must not, or it could be used again.
TABLES = """
CREATE UNLOGGED TABLE own_requests (
    second bigint NOT NULL,
    step smallint NOT NULL,
    requests bigint NOT NULL CHECK (requests >= 0),
    errors bigint NOT NULL CHECK (errors >= 0),
    PRIMARY KEY (second, step)
);
CREATE TABLE used_nonces (digest bytea PRIMARY KEY, expires_at timestamptz NOT NULL);
"""


class Migration(migrations.Migration):

    dependencies = [("seqpulse", "0001_counters")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(TABLES, "DROP TABLE own_requests; DROP TABLE used_nonces")],
            state_operations=[
                migrations.CreateModel(
                    name="UsedNonce",
                    fields=[
                        ("digest", models.BinaryField(max_length=32, primary_key=True, serialize=False)),
                        ("expires_at", models.DateTimeField()),
                    ],
                    options={"db_table": "used_nonces"},
                ),
                migrations.CreateModel(
                    name="RequestCount",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "second", "step", blank=True, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("second", models.BigIntegerField()),
                        ("step", models.SmallIntegerField()),
                        ("requests", models.PositiveBigIntegerField()),
                        ("errors", models.PositiveBigIntegerField()),
                    ],
                    options={"db_table": "own_requests"},
                ),
            ],
        ),
    ]
