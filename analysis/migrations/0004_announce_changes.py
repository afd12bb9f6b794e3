from django.db import migrations


# What is written here is announced in the transaction that writes it, whichever process or statement that is: processes
# of the previous version, too. deployments/changes.py describes the topics and reads them back.
#
# A notification takes at most 8,000 bytes: 350 topics of up to 21 characters. More deployments than anybody can be
# waiting for (a bulk load) are announced as a change of everything.
ANNOUNCE = """
CREATE OR REPLACE FUNCTION announce_changes(deployment_ids bigint[], environment_ids bigint[], state_changed boolean)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(cardinality(deployment_ids), 0) > 10000 THEN
        PERFORM pg_notify('seqpulse_changes', '*');
        RETURN;
    END IF;
    PERFORM pg_notify('seqpulse_changes', string_agg(topic, ' ')) FROM (
        SELECT topic, row_number() OVER () / 350 AS part FROM (
            SELECT unnest(ARRAY['d' || deployments.id, 'e' || environment_id, 't' || team_id])
            FROM deployments JOIN projects_project AS project ON project.id = project_id
            WHERE deployments.id = ANY(deployment_ids)
            UNION SELECT 's' || id FROM unnest(deployment_ids) AS id WHERE state_changed
            UNION SELECT 'e' || id FROM unnest(environment_ids) AS id
        ) AS changed(topic)
    ) AS parts GROUP BY part;
END $$
"""
DEPLOYMENTS = """
CREATE OR REPLACE FUNCTION announce_deployments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce_changes(array_agg(id), NULL, true) FROM changed HAVING count(*) > 0;
    RETURN NULL;
END $$
"""
VERDICTS = """
CREATE OR REPLACE FUNCTION announce_verdicts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce_changes(array_agg(deployment_id), NULL, true) FROM changed HAVING count(*) > 0;
    RETURN NULL;
END $$
"""
JOB = """
CREATE OR REPLACE FUNCTION announce_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce_changes(ARRAY[NEW.deployment_id], NULL, false);
    RETURN NULL;
END $$
"""


def trigger(name, table, event, function):
    """Announce all rows of each statement."""
    changed = 'OLD' if event == 'DELETE' else 'NEW'
    return migrations.RunSQL(
        f'CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {table} REFERENCING {changed} TABLE AS changed'
        f' FOR EACH STATEMENT EXECUTE FUNCTION {function}()',
        f'DROP TRIGGER {name} ON {table}',
    )


# A completed collection is announced with its sample (metrics/storing.py), so that of the thousands of updates each
# second only the few that fail or are put off cost more than this condition.
JOBS = """
CREATE OR REPLACE TRIGGER announce_job AFTER UPDATE OF status ON scheduled_jobs FOR EACH ROW
WHEN (NEW.deployment_id IS NOT NULL AND NEW.status <> OLD.status AND NEW.status NOT IN ('running', 'completed'))
EXECUTE FUNCTION announce_job()
"""


class Migration(migrations.Migration):

    # One table after another: a trigger waits for the writers of its table, who may be waiting for another one.
    atomic = False

    dependencies = [
        ('analysis', '0003_database_time'),
        ('deployments', '0005_rollbacks'),
        ('projects', '0004_environment_settle_s'),
        ('scheduler', '0001_initial'),
    ]

    operations = [
        migrations.RunSQL(ANNOUNCE, 'DROP FUNCTION announce_changes'),
        migrations.RunSQL(DEPLOYMENTS, 'DROP FUNCTION announce_deployments'),
        migrations.RunSQL(VERDICTS, 'DROP FUNCTION announce_verdicts'),
        migrations.RunSQL(JOB, 'DROP FUNCTION announce_job'),
        trigger('announce_new', 'deployments', 'INSERT', 'announce_deployments'),
        trigger('announce_changed', 'deployments', 'UPDATE', 'announce_deployments'),
        trigger('announce_new', 'deployment_verdicts', 'INSERT', 'announce_verdicts'),
        trigger('announce_changed', 'deployment_verdicts', 'UPDATE', 'announce_verdicts'),
        trigger('announce_gone', 'deployment_verdicts', 'DELETE', 'announce_verdicts'),
        migrations.RunSQL(JOBS, 'DROP TRIGGER announce_job ON scheduled_jobs'),
    ]
