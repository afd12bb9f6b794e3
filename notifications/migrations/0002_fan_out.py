from django.db import migrations


# Deliveries are made after the commit, without the writer of events knowing of them: each statement that writes
# events writes one job, where a channel may want them. What happens while a channel is being made is found a minute later
# (reconcile_deliveries). In SQL, because the events' app may import neither jobs nor notifications.
FUNCTION = """
CREATE OR REPLACE FUNCTION fan_out_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM notification_channels WHERE disabled_at IS NULL
        AND team_id IN (SELECT team_id FROM written)) THEN
        RETURN NULL;
    END IF;
    INSERT INTO scheduled_jobs (job_type, scheduled_at, phase, sequence_index, job_metadata, status, retry_count,
        last_error, error_code, locked_by)
    SELECT 'fan_out', now(), '', 0, '{}', 'pending', 0, '', '', '' FROM written HAVING count(*) > 0;
    PERFORM pg_notify('seqpulse_jobs', '') FROM written HAVING count(*) > 0;
    RETURN NULL;
END $$
"""
TRIGGER = """
CREATE OR REPLACE TRIGGER fan_out_events AFTER INSERT ON events REFERENCING NEW TABLE AS written
FOR EACH STATEMENT EXECUTE FUNCTION fan_out_events()
"""


class Migration(migrations.Migration):

    dependencies = [
        ('notifications', '0001_initial'),
        ('events', '0001_initial'),
        ('scheduler', '0003_clock_of_pollers'),
    ]

    operations = [
        migrations.RunSQL(FUNCTION, 'DROP FUNCTION IF EXISTS fan_out_events()'),
        migrations.RunSQL(TRIGGER, 'DROP TRIGGER IF EXISTS fan_out_events ON events'),
    ]
