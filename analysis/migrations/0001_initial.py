import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('deployments', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='DeploymentVerdict',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('verdict', models.CharField(choices=[('ok', 'Ok'), ('warning', 'Warning'), ('rollback_recommended', 'Rollback Recommended')], max_length=24)),
                ('confidence', models.FloatField()),
                ('conclusive', models.BooleanField()),
                ('score', models.FloatField()),
                ('summary', models.TextField()),
                ('failed_metrics', models.JSONField(default=list)),
                ('checks', models.JSONField(default=list)),
                ('quality', models.JSONField(default=dict)),
                ('policy', models.JSONField(default=dict)),
                ('evidence', models.JSONField(default=dict)),
                ('early', models.BooleanField(default=False)),
                ('final', models.JSONField(blank=True, null=True)),
                ('shadow', models.BooleanField(default=False, help_text='Recorded, but never to gate a pipeline.')),
                ('told', models.JSONField(blank=True, editable=False, null=True)),
                ('revisions', models.JSONField(blank=True, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('deployment', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='verdict', to='deployments.deployment')),
            ],
            options={
                'db_table': 'deployment_verdicts',
            },
        ),
        migrations.CreateModel(
            name='Feedback',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('right', models.BooleanField()),
                ('should_have_been', models.CharField(blank=True, choices=[('ok', 'Ok'), ('warning', 'Warning'), ('rollback_recommended', 'Rollback Recommended')], max_length=24)),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('given_at', models.DateTimeField(auto_now=True)),
                ('given_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL)),
                ('verdict', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='feedback', to='analysis.deploymentverdict')),
            ],
            options={
                'db_table': 'verdict_feedback',
            },
        ),
        migrations.CreateModel(
            name='Hint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField(default=0)),
                ('code', models.CharField(max_length=60)),
                ('metric', models.CharField(blank=True, max_length=30)),
                ('severity', models.CharField(choices=[('info', 'Info'), ('warning', 'Warning'), ('critical', 'Critical')], max_length=10)),
                ('confidence', models.FloatField()),
                ('observed', models.FloatField(blank=True, null=True)),
                ('threshold', models.FloatField(blank=True, null=True)),
                ('title', models.CharField(max_length=200)),
                ('cause', models.TextField()),
                ('impact', models.TextField()),
                ('evidence', models.JSONField(default=list)),
                ('actions', models.JSONField(default=list)),
                ('details', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('deployment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='hints', to='deployments.deployment')),
            ],
            options={
                'db_table': 'sdh_hints',
                'ordering': ['deployment', 'position'],
            },
        ),
        migrations.AddIndex(
            model_name='deploymentverdict',
            index=models.Index(fields=['verdict', 'deployment'], name='verdicts_by_name'),
        ),
        migrations.AddIndex(
            model_name='deploymentverdict',
            index=models.Index(fields=['confidence', 'deployment'], name='verdicts_by_confidence'),
        ),
        migrations.AddIndex(
            model_name='deploymentverdict',
            index=models.Index(condition=models.Q(('conclusive', False)), fields=['deployment'], name='verdicts_not_conclusive'),
        ),
        migrations.AddIndex(
            model_name='deploymentverdict',
            index=models.Index(condition=models.Q(('early', True)), fields=['deployment'], name='verdicts_early'),
        ),
        migrations.AddIndex(
            model_name='deploymentverdict',
            index=models.Index(fields=['deployment'], include=('id', 'verdict', 'created_at'), name='verdicts_in_short'),
        ),
        migrations.AddIndex(
            model_name='hint',
            index=models.Index(fields=['created_at', 'id'], include=('deployment', 'code', 'severity'), name='hints_by_time'),
        ),
        migrations.AddIndex(
            model_name='hint',
            index=models.Index(fields=['code', 'created_at', 'id'], name='hints_by_code'),
        ),
        migrations.AddIndex(
            model_name='hint',
            index=models.Index(fields=['severity', 'created_at', 'id'], name='hints_by_severity'),
        ),
        migrations.AddConstraint(
            model_name='hint',
            constraint=models.UniqueConstraint(fields=('deployment', 'position'), name='one_hint_per_position'),
        ),
    ]
