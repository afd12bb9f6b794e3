from django.db import migrations

FILL = """
SELECT refresh_environment_standings(ARRAY(SELECT id FROM projects_environment ORDER BY id))
"""


class Migration(migrations.Migration):
    """Apart from 0005, whose triggers lock the verdicts until it is committed."""

    dependencies = [
        ('analysis', '0005_environment_standings'),
    ]

    operations = [
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
