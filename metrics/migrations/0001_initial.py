import django.db.models.deletion
from django.db import migrations, models


# Django creates no partitioned tables. A distributed table's primary key and unique constraints contain environment_id.
METRIC_SAMPLES = """
CREATE SEQUENCE metric_samples_id_seq;
CREATE TABLE metric_samples (
    id bigint NOT NULL DEFAULT nextval('metric_samples_id_seq'),
    environment_id bigint NOT NULL,
    deployment_id bigint,
    phase varchar(10) NOT NULL,
    "group" varchar(10) NOT NULL DEFAULT 'treatment',
    sequence_index integer NOT NULL CHECK (sequence_index >= 0),
    requests_per_sec double precision,
    latency_p95 double precision,
    error_rate double precision,
    cpu_usage double precision,
    memory_usage double precision,
    custom_metrics jsonb,
    instances integer CHECK (instances >= 0),
    collected_at timestamptz NOT NULL,
    PRIMARY KEY (id, environment_id, collected_at),
    CONSTRAINT one_sample_per_instant UNIQUE (deployment_id, environment_id, phase, "group", collected_at)
) PARTITION BY RANGE (collected_at);
ALTER SEQUENCE metric_samples_id_seq OWNED BY metric_samples.id;
CREATE INDEX samples_of_environment ON metric_samples (environment_id, phase, collected_at);
"""

# One partition for what is older than today (UTC), and one for each of the next days; the poller creates later ones.
PARTITIONS = """
DO $$
DECLARE today timestamp := date_trunc('day', now() AT TIME ZONE 'UTC');
BEGIN
    EXECUTE format('CREATE TABLE metric_samples_before PARTITION OF metric_samples FOR VALUES FROM (MINVALUE) TO (%L)',
        today AT TIME ZONE 'UTC');
    FOR number IN 0..14 LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF metric_samples FOR VALUES FROM (%L) TO (%L)',
            'metric_samples_' || to_char(today + number * interval '1 day', 'YYYYMMDD'),
            (today + number * interval '1 day') AT TIME ZONE 'UTC',
            (today + (number + 1) * interval '1 day') AT TIME ZONE 'UTC');
    END LOOP;
END $$;
"""


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('deployments', '0001_initial'),
        ('projects', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='SamplePlace',
            fields=[
                ('pk', models.CompositePrimaryKey('deployment_id', 'environment_id', 'phase', 'group', 'sequence_index', blank=True, editable=False, primary_key=True, serialize=False)),
                ('environment_id', models.BigIntegerField()),
                ('phase', models.CharField(choices=[('baseline', 'Baseline'), ('pre', 'Pre'), ('post', 'Post')], max_length=10)),
                ('group', models.CharField(choices=[('treatment', 'Treatment'), ('control', 'Control')], db_default='treatment', max_length=10)),
                ('sequence_index', models.PositiveIntegerField()),
                ('deployment', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='deployments.deployment')),
            ],
            options={
                'db_table': 'sample_places',
            },
        ),
        migrations.RunSQL(
            METRIC_SAMPLES + PARTITIONS,
            'DROP TABLE metric_samples',
            state_operations=[
                migrations.CreateModel(
                    name='MetricSample',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('phase', models.CharField(choices=[('baseline', 'Baseline'), ('pre', 'Pre'), ('post', 'Post')], max_length=10, verbose_name='phase')),
                        ('group', models.CharField(choices=[('treatment', 'Treatment'), ('control', 'Control')], db_default='treatment', default='treatment', max_length=10, verbose_name='group')),
                        ('sequence_index', models.PositiveIntegerField(default=0, verbose_name='place in the window')),
                        ('requests_per_sec', models.FloatField(blank=True, null=True, verbose_name='traffic')),
                        ('latency_p95', models.FloatField(blank=True, null=True, verbose_name='p95 latency')),
                        ('error_rate', models.FloatField(blank=True, null=True, verbose_name='error rate')),
                        ('cpu_usage', models.FloatField(blank=True, null=True, verbose_name='CPU usage')),
                        ('memory_usage', models.FloatField(blank=True, null=True, verbose_name='memory usage')),
                        ('custom_metrics', models.JSONField(blank=True, null=True, verbose_name='custom metrics')),
                        ('instances', models.PositiveIntegerField(blank=True, null=True, verbose_name='instances')),
                        ('collected_at', models.DateTimeField(verbose_name='collected at')),
                        ('deployment', models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='samples', to='deployments.deployment', verbose_name='deployment')),
                        ('environment', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='samples', to='projects.environment', verbose_name='environment')),
                    ],
                    options={
                        'verbose_name': 'sample',
                        'verbose_name_plural': 'samples',
                        'db_table': 'metric_samples',
                        'indexes': [models.Index(fields=['environment', 'phase', 'collected_at'], name='samples_of_environment')],
                        'constraints': [models.UniqueConstraint(fields=('deployment', 'environment', 'phase', 'group', 'collected_at'), name='one_sample_per_instant')],
                    },
                ),
            ],
        ),
    ]
