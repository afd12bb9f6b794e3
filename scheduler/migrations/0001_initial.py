import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('deployments', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Poller',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True, verbose_name='name')),
                ('host', models.CharField(max_length=255, verbose_name='host')),
                ('pid', models.PositiveIntegerField(verbose_name='process')),
                ('started_at', models.DateTimeField(verbose_name='started at')),
                ('heartbeat_at', models.DateTimeField(verbose_name='last heartbeat')),
                ('session_locked', models.BooleanField(default=False, help_text='It holds the advisory lock of its name: who can take that knows that the poller is gone.')),
            ],
            options={
                'verbose_name': 'poller',
                'verbose_name_plural': 'pollers',
                'db_table': 'pollers',
            },
        ),
        migrations.CreateModel(
            name='RunningTotal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('labels', models.CharField(blank=True, max_length=200)),
                ('part', models.CharField(blank=True, max_length=20)),
                ('value', models.FloatField()),
            ],
            options={
                'db_table': 'running_totals',
            },
        ),
        migrations.CreateModel(
            name='ScheduledJob',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('job_type', models.CharField(max_length=50, verbose_name='kind')),
                ('phase', models.CharField(blank=True, max_length=10, verbose_name='phase')),
                ('sequence_index', models.PositiveIntegerField(default=0, verbose_name='place in the window')),
                ('scheduled_at', models.DateTimeField(verbose_name='due at')),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('running', 'Running'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('expired', 'Expired')], default='pending', max_length=10, verbose_name='status')),
                ('retry_count', models.PositiveSmallIntegerField(default=0, verbose_name='retries')),
                ('last_error', models.TextField(blank=True, verbose_name='last error')),
                ('error_fact', models.JSONField(blank=True, help_text='Code and parameters of the error; last_error is its English text.', null=True)),
                ('error_code', models.CharField(blank=True, max_length=40, verbose_name='error code')),
                ('job_metadata', models.JSONField(blank=True, default=dict, verbose_name='job data')),
                ('unique_key', models.CharField(blank=True, help_text='At most one job ever has it: for recurring work, one a tick.', max_length=200, null=True)),
                ('fair_key', models.BigIntegerField(blank=True, help_text="Whose job it is, where pollers are to be shared fairly: the project's id.", null=True, verbose_name='fairness key')),
                ('expires_at', models.DateTimeField(blank=True, null=True, verbose_name='expires at')),
                ('locked_by', models.CharField(blank=True, max_length=100, verbose_name='held by')),
                ('locked_until', models.DateTimeField(blank=True, null=True, verbose_name='held until')),
                ('started_at', models.DateTimeField(blank=True, null=True, verbose_name='started at')),
                ('finished_at', models.DateTimeField(blank=True, null=True, verbose_name='finished at')),
                ('history', models.JSONField(blank=True, help_text='Failures, recoveries and what people did with it: the last ten, oldest first.', null=True, verbose_name='history')),
                ('deployment', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='jobs', to='deployments.deployment', verbose_name='deployment')),
            ],
            options={
                'verbose_name': 'job',
                'verbose_name_plural': 'jobs',
                'db_table': 'scheduled_jobs',
                'indexes': [models.Index(condition=models.Q(('status', 'pending')), fields=['scheduled_at', 'id'], name='jobs_due'), models.Index(condition=models.Q(('status', 'running')), fields=['locked_by'], name='jobs_running'), models.Index(condition=models.Q(('status', 'failed')), fields=['finished_at'], name='jobs_failed')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('deployment__isnull', False)), fields=('deployment', 'job_type', 'sequence_index'), name='one_job_per_place'), models.UniqueConstraint(condition=models.Q(('unique_key__isnull', False)), fields=('unique_key',), name='one_job_per_unique_key')],
            },
        ),
        # A row of this table is updated three times and more in its life. Room in its page keeps those updates HOT, and
        # eager vacuuming keeps the claim fast: with the defaults its rate fell by half over a million updates.
        migrations.RunSQL(
            'ALTER TABLE scheduled_jobs SET (fillfactor = 50, autovacuum_vacuum_threshold = 2000,'
            ' autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0)',
            migrations.RunSQL.noop,
        ),
    ]
