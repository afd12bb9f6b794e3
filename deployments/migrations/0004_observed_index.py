from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    # Made while everybody writes on; an interrupted attempt leaves an index that is of no use, which goes first.
    atomic = False

    dependencies = [
        ('deployments', '0003_ends_without_finish'),
        ('projects', '0001_initial'),
    ]

    operations = [
        migrations.RunSQL('DROP INDEX CONCURRENTLY IF EXISTS deployments_observed', migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name='deployment',
            index=models.Index(condition=models.Q(('state', 'finished')), fields=['id'], name='deployments_observed'),
        ),
    ]
