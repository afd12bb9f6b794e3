from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    # Made while everybody writes on; an interrupted attempt leaves an index that is of no use, which goes first.
    atomic = False

    dependencies = [
        ('deployments', '0005_committed_at'),
    ]

    operations = [
        migrations.RunSQL('DROP INDEX CONCURRENTLY IF EXISTS deployments_by_start', migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name='deployment',
            index=models.Index(fields=['environment', '-started_at'], name='deployments_by_start'),
        ),
        migrations.RunSQL('DROP INDEX CONCURRENTLY IF EXISTS deployments_by_finish', migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name='deployment',
            index=models.Index(
                condition=models.Q(('finished_at__isnull', False)),
                fields=['project', 'finished_at'],
                include=('id', 'environment', 'pipeline_result', 'committed_at'),
                name='deployments_by_finish',
            ),
        ),
    ]
