from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('analysis', '0006_lists'),
    ]

    operations = [
        migrations.AddField(
            model_name='deploymentverdict',
            name='revisions',
            field=models.JSONField(blank=True, null=True),
        ),
    ]
