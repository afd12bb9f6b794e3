from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

INDEXES = [
    ('deploymentverdict', models.Index(fields=['confidence', 'deployment'], name='verdicts_by_confidence')),
    (
        'deploymentverdict',
        models.Index(condition=models.Q(('conclusive', False)), fields=['deployment'], name='verdicts_not_conclusive'),
    ),
    (
        'deploymentverdict',
        models.Index(condition=models.Q(('early', True)), fields=['deployment'], name='verdicts_early'),
    ),
    (
        'hint',
        models.Index(fields=['created_at', 'id'], include=('deployment', 'code', 'severity'), name='hints_by_time'),
    ),
    ('hint', models.Index(fields=['code', 'created_at', 'id'], name='hints_by_code')),
    ('hint', models.Index(fields=['severity', 'created_at', 'id'], name='hints_by_severity')),
]


class Migration(migrations.Migration):

    # Made while everybody writes on; an interrupted attempt leaves an index that is of no use, which goes first.
    atomic = False

    dependencies = [
        ('analysis', '0005_verdicts_in_short'),
        ('deployments', '0004_observed_index'),
    ]

    operations = [
        step
        for model, index in INDEXES
        for step in (
            migrations.RunSQL(f'DROP INDEX CONCURRENTLY IF EXISTS {index.name}', migrations.RunSQL.noop),
            AddIndexConcurrently(model_name=model, index=index),
        )
    ]
