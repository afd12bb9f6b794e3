from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    # Made while everybody writes on; an interrupted attempt leaves an index that is of no use, which goes first.
    atomic = False

    dependencies = [
        ('analysis', '0002_policies_and_feedback'),
        ('deployments', '0004_observed_index'),
    ]

    operations = [
        migrations.RunSQL('DROP INDEX CONCURRENTLY IF EXISTS verdicts_by_name', migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name='deploymentverdict',
            index=models.Index(fields=['verdict', 'deployment'], name='verdicts_by_name'),
        ),
    ]
