from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    # Made while everybody writes on; an interrupted attempt leaves an index that is of no use, which goes first.
    atomic = False

    dependencies = [
        ('analysis', '0004_told'),
    ]

    operations = [
        migrations.RunSQL('DROP INDEX CONCURRENTLY IF EXISTS verdicts_in_short', migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name='deploymentverdict',
            index=models.Index(
                fields=['deployment'], include=('id', 'verdict', 'created_at'), name='verdicts_in_short'
            ),
        ),
    ]
