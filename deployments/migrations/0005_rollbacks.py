from django.contrib.postgres.operations import RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Left, Lower

from common.migrations import AddIndexOnline


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('deployments', '0004_attempts'),
    ]

    operations = [
        AddIndexOnline(
            model_name='deployment',
            index=models.Index(condition=models.Q(('finished_at__isnull', False)), fields=['project', 'finished_at'], include=('id', 'environment', 'pipeline_result', 'committed_at', 'kind'), name='deployments_by_finish_kind'),
        ),
        RemoveIndexConcurrently(
            model_name='deployment',
            name='deployments_by_finish',
        ),
        AddIndexOnline(
            model_name='deployment',
            index=models.Index(models.F('environment'), Left(Lower('commit_sha'), 4), condition=models.Q(('commit_sha', ''), _negated=True), name='deployments_by_commit'),
        ),
    ]
