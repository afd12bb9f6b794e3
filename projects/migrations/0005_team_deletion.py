from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('projects', '0004_deletion_and_grace'),
    ]

    operations = [
        migrations.AddField(
            model_name='team',
            name='deleting_at',
            field=models.DateTimeField(blank=True, editable=False, help_text='Since when it is gone for people, while its rows are removed.', null=True),
        ),
    ]
