from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('analysis', '0004_told'),
        ('analysis', '0004_verdicts_in_short'),
    ]

    operations = [
        migrations.AddField(
            model_name='deploymentverdict',
            name='revisions',
            field=models.JSONField(blank=True, null=True),
        ),
    ]
