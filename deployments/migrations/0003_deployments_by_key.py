from django.db import migrations, models

from common.migrations import AddIndexOnline


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('deployments', '0002_keys_kind_settle'),
    ]

    operations = [
        AddIndexOnline(
            model_name='deployment',
            index=models.Index(condition=models.Q(('idempotency_key__isnull', False)), fields=['environment', 'idempotency_key'], name='deployments_by_key'),
        ),
    ]
