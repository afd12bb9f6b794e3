import django.db.models.deletion
from django.db import migrations, models

from common.migrations import AddIndexOnline


# AlterField would drop the foreign key and check it again row by row, which blocks all calls meanwhile.
def drop(index, column, name, field):
    return migrations.SeparateDatabaseAndState(
        [
            migrations.RunSQL(
                f'DROP INDEX CONCURRENTLY IF EXISTS {index}',
                f'CREATE INDEX IF NOT EXISTS {index} ON deployments ({column})',
            )
        ],
        [migrations.AlterField('deployment', name, field)],
    )


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('deployments', '0006_announce_later'),
        ('projects', '0004_environment_settle_s'),
    ]

    operations = [
        AddIndexOnline(
            model_name='deployment',
            index=models.Index(condition=models.Q(('policy_version__isnull', False)), fields=['policy_version'], name='deployments_with_policy'),
        ),
        AddIndexOnline(
            model_name='deployment',
            index=models.Index(condition=models.Q(('superseded_by__isnull', False)), fields=['superseded_by'], name='deployments_superseded'),
        ),
        drop(
            'deployments_project_id_8f629560', 'project_id', 'project',
            models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='deployments', to='projects.project', verbose_name='project'),
        ),
        drop(
            'deployments_environment_id_ac9bcf86', 'environment_id', 'environment',
            models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='deployments', to='projects.environment', verbose_name='environment'),
        ),
        drop(
            'deployments_policy_version_id_a33b2a24', 'policy_version_id', 'policy_version',
            models.ForeignKey(blank=True, db_index=False, help_text="The policy that its trigger call brought; empty: the environment's.", null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='projects.policyversion', verbose_name='policy version'),
        ),
        drop(
            'deployments_superseded_by_id_5f81f36c', 'superseded_by_id', 'superseded_by',
            models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='deployments.deployment', verbose_name='superseded by'),
        ),
    ]
