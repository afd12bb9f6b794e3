import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('metrics', '0001_initial'),
        ('projects', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='MetricLevel',
            fields=[
                ('pk', models.CompositePrimaryKey('environment_id', 'start', blank=True, editable=False, primary_key=True, serialize=False)),
                ('start', models.DateTimeField()),
                ('samples', models.PositiveIntegerField()),
                ('requests_per_sec', models.FloatField(null=True)),
                ('latency_p95', models.FloatField(null=True)),
                ('error_rate', models.FloatField(null=True)),
                ('cpu_usage', models.FloatField(null=True)),
                ('memory_usage', models.FloatField(null=True)),
                ('environment', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='projects.environment')),
            ],
            options={
                'db_table': 'metric_levels',
                'indexes': [models.Index(fields=['start'], name='levels_by_start')],
            },
        ),
    ]
