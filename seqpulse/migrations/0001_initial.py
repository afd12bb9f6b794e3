from django.db import migrations, models


# Unlogged: counts cost no write-ahead log, and a crash of the server may set them to zero. Not so a nonce: it could be
# used again. The fill factor leaves room for updates in place; nothing but the key is indexed, so all updates are.
TABLES = """
CREATE UNLOGGED TABLE rate_counters (
    key varchar(120) COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL CHECK (value >= 0),
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);
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

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.RunSQL(
            TABLES,
            'DROP TABLE rate_counters, own_requests, used_nonces',
            state_operations=[
                migrations.CreateModel(
                    name='RateCounter',
                    fields=[
                        ('key', models.CharField(max_length=120, primary_key=True, serialize=False)),
                        ('value', models.PositiveBigIntegerField()),
                        ('expires_at', models.DateTimeField()),
                    ],
                    options={
                        'db_table': 'rate_counters',
                    },
                ),
                migrations.CreateModel(
                    name='RequestCount',
                    fields=[
                        ('pk', models.CompositePrimaryKey('second', 'step', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('second', models.BigIntegerField()),
                        ('step', models.SmallIntegerField()),
                        ('requests', models.PositiveBigIntegerField()),
                        ('errors', models.PositiveBigIntegerField()),
                    ],
                    options={
                        'db_table': 'own_requests',
                    },
                ),
                migrations.CreateModel(
                    name='UsedNonce',
                    fields=[
                        ('digest', models.BinaryField(max_length=32, primary_key=True, serialize=False)),
                        ('expires_at', models.DateTimeField()),
                    ],
                    options={
                        'db_table': 'used_nonces',
                    },
                ),
            ],
        ),
    ]
