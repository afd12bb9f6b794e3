from django.db import migrations

# A statement that announces what it changed after its commit says so in this setting (deployments/announcer.py).
FUNCTION = """
CREATE OR REPLACE FUNCTION announce_deployments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {later}PERFORM announce_changes(array_agg(id), NULL, true) FROM changed HAVING count(*) > 0;
    RETURN NULL;
END $$
"""
LATER = """IF current_setting('seqpulse.announce', true) = 'later' THEN
        RETURN NULL;
    END IF;
    """


class Migration(migrations.Migration):

    dependencies = [
        ('deployments', '0005_rollbacks'),
        ('analysis', '0004_announce_changes'),
    ]

    operations = [
        migrations.RunSQL(FUNCTION.format(later=LATER), FUNCTION.format(later='')),
    ]
