import deployments.search
import django.contrib.postgres.indexes
import django.db.models.deletion
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('projects', '0001_initial'),
    ]

    operations = [
        migrations.RunSQL(deployments.search.FUNCTION, 'DROP FUNCTION deployment_words(text, integer, bigint)'),
        migrations.CreateModel(
            name='Deployment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uuid', models.UUIDField(default=uuid.uuid4, editable=False, unique=True, verbose_name='UUID')),
                ('number', models.PositiveIntegerField(verbose_name='number')),
                ('idempotency_key', models.CharField(blank=True, max_length=255, null=True, verbose_name='idempotency key')),
                ('branch', models.CharField(blank=True, max_length=255, verbose_name='branch')),
                ('commit_sha', models.CharField(blank=True, max_length=64, verbose_name='commit')),
                ('version', models.CharField(blank=True, max_length=255, verbose_name='version')),
                ('author', models.CharField(blank=True, max_length=255, verbose_name='author')),
                ('url', models.CharField(blank=True, max_length=2048, verbose_name='URL')),
                ('committed_at', models.DateTimeField(blank=True, help_text='When it was committed, where the call says so.', null=True, verbose_name='committed at')),
                ('state', models.CharField(choices=[('pending', 'Pending'), ('running', 'Running'), ('finished', 'Finished'), ('analyzed', 'Analyzed'), ('abandoned', 'Abandoned'), ('superseded', 'Superseded')], default='running', max_length=10, verbose_name='state')),
                ('pipeline_result', models.CharField(blank=True, choices=[('success', 'Success'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], max_length=10, verbose_name='pipeline result')),
                ('started_at', models.DateTimeField(verbose_name='started at')),
                ('finished_at', models.DateTimeField(blank=True, null=True, verbose_name='finished at')),
                ('duration_ms', models.PositiveBigIntegerField(blank=True, null=True, verbose_name='duration (ms)')),
                ('window_samples', models.PositiveSmallIntegerField(default=0, verbose_name='samples of the window')),
                ('interval_s', models.FloatField(default=60.0, verbose_name='interval (s)')),
                ('environment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deployments', to='projects.environment', verbose_name='environment')),
                ('policy_version', models.ForeignKey(blank=True, help_text="The policy that its trigger call brought; empty: the environment's.", null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='projects.policyversion', verbose_name='policy version')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deployments', to='projects.project', verbose_name='project')),
                ('superseded_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='deployments.deployment', verbose_name='superseded by')),
            ],
            options={
                'verbose_name': 'deployment',
                'verbose_name_plural': 'deployments',
                'db_table': 'deployments',
                'indexes': [models.Index(fields=['project', '-id'], name='deployments_latest'), models.Index(condition=models.Q(('state', 'finished')), fields=['id'], name='deployments_observed'), models.Index(fields=['environment', '-started_at'], name='deployments_by_start'), models.Index(condition=models.Q(('finished_at__isnull', False)), fields=['project', 'finished_at'], include=('id', 'environment', 'pipeline_result', 'committed_at'), name='deployments_by_finish'), models.Index(fields=['started_at', 'id'], name='deployments_by_time'), models.Index(fields=['project', 'started_at', 'id'], name='deployments_of_project'), models.Index(fields=['branch', 'started_at'], name='deployments_by_branch'), models.Index(fields=['author', 'started_at'], name='deployments_by_author'), models.Index(fields=['duration_ms', 'id'], name='deployments_by_duration'), models.Index(condition=models.Q(('duration_ms', None)), fields=['id'], name='deployments_unfinished'), models.Index(condition=models.Q(('state', 'analyzed'), _negated=True), fields=['id'], name='deployments_unjudged'), django.contrib.postgres.indexes.GinIndex(deployments.search.Words(deployments.search.Text('branch', 'version', 'author', 'commit_sha'), 'number', 'project'), name='deployments_by_word')],
                'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='one_number_per_project'), models.UniqueConstraint(condition=models.Q(('idempotency_key__isnull', False)), fields=('project', 'idempotency_key'), name='one_deployment_per_idempotency_key'), models.UniqueConstraint(condition=models.Q(('state', 'running')), fields=('environment',), name='one_running_per_environment')],
            },
        ),
    ]
