import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('analysis', '0002_health_and_basis'),
    ]

    operations = [
        migrations.AlterField(
            model_name='deploymentverdict',
            name='created_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name='created at'),
        ),
        migrations.AlterField(
            model_name='feedback',
            name='given_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name='given at'),
        ),
        migrations.AlterField(
            model_name='hint',
            name='created_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name='created at'),
        ),
    ]
