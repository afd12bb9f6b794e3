import django.db.models.deletion
from django.db import migrations, models


# As deployments 0007: without checking the foreign key again.
class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('deployments', '0002_keys_kind_settle'),
        ('scheduler', '0003_clock_of_pollers'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    'DROP INDEX CONCURRENTLY IF EXISTS scheduled_jobs_deployment_id_3e9d225d',
                    'CREATE INDEX IF NOT EXISTS scheduled_jobs_deployment_id_3e9d225d ON scheduled_jobs (deployment_id)',
                )
            ],
            [
                migrations.AlterField(
                    'scheduledjob', 'deployment',
                    models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='jobs', to='deployments.deployment', verbose_name='deployment'),
                )
            ],
        )
    ]
