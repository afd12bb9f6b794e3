from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('deployments', '0004_observed_index'),
    ]

    operations = [
        migrations.AddField(
            model_name='deployment',
            name='committed_at',
            field=models.DateTimeField(blank=True, help_text='When it was committed, if told.', null=True),
        ),
    ]
