import django.contrib.postgres.indexes
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

import deployments.search

INDEXES = [
    models.Index(fields=['started_at', 'id'], name='deployments_by_time'),
    models.Index(fields=['project', 'started_at', 'id'], name='deployments_of_project'),
    models.Index(fields=['branch', 'started_at'], name='deployments_by_branch'),
    models.Index(fields=['author', 'started_at'], name='deployments_by_author'),
    models.Index(fields=['duration_ms', 'id'], name='deployments_by_duration'),
    models.Index(condition=models.Q(('duration_ms', None)), fields=['id'], name='deployments_unfinished'),
    models.Index(condition=models.Q(('state', 'analyzed'), _negated=True), fields=['id'], name='deployments_unjudged'),
    django.contrib.postgres.indexes.GinIndex(
        deployments.search.Words(
            deployments.search.Text('branch', 'version', 'author', 'commit_sha'), 'number', 'project'
        ),
        name='deployments_by_word',
    ),
]


class Migration(migrations.Migration):

    # Made while everybody writes on; an interrupted attempt leaves an index that is of no use, which goes first.
    atomic = False

    dependencies = [
        ('deployments', '0006_delivery_indexes'),
        ('projects', '0001_initial'),
    ]

    operations = [
        migrations.RunSQL(
            deployments.search.FUNCTION, 'DROP FUNCTION IF EXISTS deployment_words(text, integer, bigint)'
        ),
    ] + [
        step
        for index in INDEXES
        for step in (
            migrations.RunSQL(f'DROP INDEX CONCURRENTLY IF EXISTS {index.name}', migrations.RunSQL.noop),
            AddIndexConcurrently(model_name='deployment', index=index),
        )
    ] + [
        # How often each word occurs is known only from now on.
        migrations.RunSQL('ANALYZE deployments', migrations.RunSQL.noop),
    ]
