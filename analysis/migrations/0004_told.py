from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('analysis', '0003_verdicts_by_name'),
    ]

    operations = [
        migrations.AddField(
            model_name='deploymentverdict',
            name='told',
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
    ]
