from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('deployments', '0003_deployments_by_key'),
    ]

    operations = [
        migrations.AddField(
            model_name='deployment',
            name='attempts',
            field=models.PositiveIntegerField(db_default=1, default=1, verbose_name='attempts'),
        ),
    ]
