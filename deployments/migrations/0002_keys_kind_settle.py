from django.db import migrations, models
import django.db.models.deletion

# Keys were unique in a project, and so in each of its environments.
REMEMBER = """
INSERT INTO deployment_keys (environment_id, key, deployment_id)
SELECT environment_id, idempotency_key, id FROM deployments WHERE idempotency_key IS NOT NULL
"""
# Only the first deployment of a project with a key may keep it.
FORGET = """
UPDATE deployments AS later SET idempotency_key = NULL WHERE EXISTS (
    SELECT FROM deployments AS first WHERE first.project_id = later.project_id
        AND first.idempotency_key = later.idempotency_key AND first.id < later.id)
"""


class Migration(migrations.Migration):

    dependencies = [
        ('deployments', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='DeploymentKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=255, verbose_name='idempotency key')),
                ('deployment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='keys', to='deployments.deployment', verbose_name='deployment')),
                ('environment', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='projects.environment', verbose_name='environment')),
            ],
            options={
                'verbose_name': 'idempotency key',
                'verbose_name_plural': 'idempotency keys',
                'db_table': 'deployment_keys',
                'constraints': [models.UniqueConstraint(fields=('environment', 'key'), name='one_deployment_per_key')],
            },
        ),
        migrations.AddField(
            model_name='deployment',
            name='commit_message',
            field=models.CharField(blank=True, db_default='', default='', max_length=2000, verbose_name='commit message'),
        ),
        migrations.AddField(
            model_name='deployment',
            name='kind',
            field=models.CharField(choices=[('deployment', 'Deployment'), ('rollback', 'Rollback'), ('verification', 'Verification')], db_default='deployment', default='deployment', max_length=12, verbose_name='kind'),
        ),
        migrations.AddField(
            model_name='deployment',
            name='settle_s',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, verbose_name='settling time (s)'),
        ),
        migrations.RemoveConstraint(
            model_name='deployment',
            name='one_deployment_per_idempotency_key',
        ),
        migrations.RunSQL(REMEMBER, FORGET),
    ]
