import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
import projects.models
import projects.policies
import security.encryption
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('accounts', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Project',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uuid', models.UUIDField(default=uuid.uuid4, editable=False, unique=True, verbose_name='UUID')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('plan', models.CharField(choices=[('free', 'Free'), ('pro', 'Pro'), ('enterprise', 'Enterprise')], default='free', max_length=12, verbose_name='plan')),
                ('window_minutes', models.PositiveSmallIntegerField(blank=True, help_text='Minutes of observation after a deployment; empty: what the plan gives. Never more than that.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='window (min)')),
                ('retention_days', models.PositiveSmallIntegerField(blank=True, help_text='Days that samples are kept; empty: what the plan gives. Never more than that.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='retention (days)')),
                ('adopt_endpoints', models.BooleanField(default=True, help_text='An environment without a metrics endpoint takes the first one that a call with a valid key brings.', verbose_name='adopt endpoints')),
                ('last_number', models.PositiveIntegerField(default=0, editable=False, help_text='Number of the latest deployment.', verbose_name='last number')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
                ('archived_at', models.DateTimeField(blank=True, help_text='Since when nothing is measured any more; what was stays readable.', null=True, verbose_name='archived at')),
                ('deleting_at', models.DateTimeField(blank=True, editable=False, help_text='Since when it is gone for people, while its rows are removed.', null=True)),
                ('team', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='projects', to='accounts.team', verbose_name='team')),
            ],
            options={
                'verbose_name': 'project',
                'verbose_name_plural': 'projects',
            },
        ),
        migrations.CreateModel(
            name='Environment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('metrics_endpoint', models.CharField(blank=True, max_length=2048, validators=[projects.models.validate_endpoint], verbose_name='metrics endpoint')),
                ('hmac_secret', security.encryption.EncryptedTextField(blank=True, editable=False)),
                ('previous_hmac_secret', security.encryption.EncryptedTextField(blank=True, db_default='', default='', editable=False, help_text='Still tried until previous_hmac_until.')),
                ('previous_hmac_until', models.DateTimeField(blank=True, editable=False, null=True)),
                ('previous_hmac_used_at', models.DateTimeField(blank=True, editable=False, help_text='When the endpoint last knew only the previous secret.', null=True)),
                ('endpoint_blocked_at', models.DateTimeField(blank=True, editable=False, help_text='Since when ops have it not asked; empty: it is asked.', null=True, verbose_name='endpoint blocked at')),
                ('endpoint_blocked_reason', models.CharField(blank=True, db_default='', default='', editable=False, max_length=200, verbose_name='reason for the block')),
                ('deleting_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('policy', models.JSONField(blank=True, default=dict, help_text='What differs from the default policy, for example {"limits": {"latency_p95": 800}}.', validators=[projects.policies.validate_policy], verbose_name='policy')),
                ('baseline_interval_s', models.PositiveIntegerField(blank=True, help_text='Seconds between two baseline samples; empty: what the plan gives, never less than that; 0: none.', null=True, verbose_name='seconds between baseline samples')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='environments', to='projects.project', verbose_name='project')),
            ],
            options={
                'verbose_name': 'environment',
                'verbose_name_plural': 'environments',
            },
        ),
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(default='default', max_length=100, verbose_name='name')),
                ('prefix', models.CharField(editable=False, help_text='The first characters, to recognise it by.', max_length=16, verbose_name='prefix')),
                ('key_hash', models.CharField(editable=False, max_length=64, unique=True)),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
                ('last_used_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='last used at')),
                ('revoked_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='revoked at')),
                ('created_by', models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL, verbose_name='created by')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='api_keys', to='projects.project', verbose_name='project')),
            ],
            options={
                'verbose_name': 'API key',
                'verbose_name_plural': 'API keys',
            },
        ),
        migrations.CreateModel(
            name='ExcludedWindow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('starts_at', models.DateTimeField(verbose_name='starts at')),
                ('ends_at', models.DateTimeField(verbose_name='ends at')),
                ('reason', models.CharField(blank=True, max_length=200, verbose_name='reason')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL, verbose_name='created by')),
                ('environment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='excluded_windows', to='projects.environment', verbose_name='environment')),
            ],
            options={
                'verbose_name': 'excluded window',
                'verbose_name_plural': 'excluded windows',
                'constraints': [models.CheckConstraint(condition=models.Q(('ends_at__gt', models.F('starts_at'))), name='window_ends_after_start')],
            },
        ),
        migrations.CreateModel(
            name='PolicyVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField(verbose_name='number')),
                ('policy', models.JSONField(default=dict, verbose_name='policy')),
                ('source', models.CharField(choices=[('dashboard', 'Dashboard'), ('file', 'File'), ('admin', 'Admin')], max_length=10, verbose_name='source')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL, verbose_name='created by')),
                ('environment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='policy_versions', to='projects.environment', verbose_name='environment')),
            ],
            options={
                'verbose_name': 'policy version',
                'verbose_name_plural': 'policy versions',
                'constraints': [models.UniqueConstraint(fields=('environment', 'number'), name='one_policy_per_number')],
            },
        ),
        migrations.AddConstraint(
            model_name='project',
            constraint=models.UniqueConstraint(django.db.models.functions.text.Lower('name'), models.F('team'), name='one_project_name_per_team'),
        ),
        migrations.AddConstraint(
            model_name='environment',
            constraint=models.UniqueConstraint(fields=('project', 'name'), name='one_environment_name_per_project'),
        ),
    ]
