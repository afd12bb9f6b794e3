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
                ('verdict', models.CharField(choices=[('ok', 'Ok'), ('warning', 'Warning'), ('rollback_recommended', 'Rollback Recommended')], max_length=24, verbose_name='verdict')),
                ('confidence', models.FloatField(verbose_name='confidence')),
                ('conclusive', models.BooleanField(verbose_name='conclusive')),
                ('score', models.FloatField(verbose_name='score')),
                ('summary', models.TextField(verbose_name='summary')),
                ('failed_metrics', models.JSONField(default=list, verbose_name='failed metrics')),
                ('checks', models.JSONField(default=list, verbose_name='checks')),
                ('quality', models.JSONField(default=dict, verbose_name='data quality')),
                ('policy', models.JSONField(default=dict, verbose_name='policy')),
                ('evidence', models.JSONField(default=dict, verbose_name='evidence')),
                ('early', models.BooleanField(default=False, verbose_name='early')),
                ('final', models.JSONField(blank=True, null=True, verbose_name='final verdict')),
                ('shadow', models.BooleanField(default=False, help_text='Recorded, but never to gate a pipeline.')),
                ('fact', models.JSONField(blank=True, editable=False, null=True)),
                ('revisions', models.JSONField(blank=True, null=True, verbose_name='revisions')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
                ('deployment', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='verdict', to='deployments.deployment', verbose_name='deployment')),
            ],
            options={
                'verbose_name': 'verdict',
                'verbose_name_plural': 'verdicts',
                'db_table': 'deployment_verdicts',
            },
        ),
        migrations.CreateModel(
            name='Feedback',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('right', models.BooleanField(verbose_name='right')),
                ('should_have_been', models.CharField(blank=True, choices=[('ok', 'Ok'), ('warning', 'Warning'), ('rollback_recommended', 'Rollback Recommended')], max_length=24, verbose_name='should have been')),
                ('reason', models.CharField(blank=True, max_length=500, verbose_name='reason')),
                ('given_at', models.DateTimeField(auto_now=True, verbose_name='given at')),
                ('given_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL, verbose_name='given by')),
                ('verdict', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='feedback', to='analysis.deploymentverdict', verbose_name='verdict')),
            ],
            options={
                'verbose_name': 'mark',
                'verbose_name_plural': 'marks',
                'db_table': 'verdict_feedback',
            },
        ),
        migrations.CreateModel(
            name='Hint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField(default=0, verbose_name='position')),
                ('code', models.CharField(max_length=60, verbose_name='code')),
                ('metric', models.CharField(blank=True, max_length=30, verbose_name='metric')),
                ('severity', models.CharField(choices=[('info', 'Info'), ('warning', 'Warning'), ('critical', 'Critical')], max_length=10, verbose_name='severity')),
                ('confidence', models.FloatField(verbose_name='confidence')),
                ('observed', models.FloatField(blank=True, null=True, verbose_name='observed')),
                ('threshold', models.FloatField(blank=True, null=True, verbose_name='limit')),
                ('title', models.CharField(max_length=200, verbose_name='title')),
                ('cause', models.TextField(verbose_name='cause')),
                ('impact', models.TextField(verbose_name='impact')),
                ('evidence', models.JSONField(default=list, verbose_name='evidence')),
                ('actions', models.JSONField(default=list, verbose_name='actions')),
                ('details', models.JSONField(default=dict, verbose_name='details')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
                ('deployment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='hints', to='deployments.deployment', verbose_name='deployment')),
            ],
            options={
                'verbose_name': 'hint',
                'verbose_name_plural': 'hints',
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
