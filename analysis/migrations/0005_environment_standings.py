from django.db import migrations, models

# Locks the environments' rows in one order first; the statement after that sees what others have committed meanwhile.
# Rows without a verdict go again, so that an environment's row ends with its last verdict.
REFRESH = """
CREATE FUNCTION refresh_environment_standings(environments bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO environment_standings (environment_id, deployment_id, verdict, unhealthy, critical_hints)
    SELECT id, 0, '', false, 0 FROM unnest(environments) AS id ORDER BY id
    ON CONFLICT (environment_id) DO UPDATE SET deployment_id = 0;

    UPDATE environment_standings AS standing
    SET deployment_id = latest.id, verdict = latest.verdict, unhealthy = latest.unhealthy,
        critical_hints = (
            SELECT count(*) FROM sdh_hints AS hint WHERE hint.deployment_id = latest.id AND hint.severity = 'critical'
        )
    FROM unnest(environments) AS environment (id)
    CROSS JOIN LATERAL (
        SELECT deployment.id, verdict.verdict, coalesce(
            coalesce(nullif(nullif(verdict.final -> 'health', '{}'), 'null'), verdict.health) ->> 'healthy' = 'no',
            false
        ) AS unhealthy
        FROM deployments AS deployment
        JOIN deployment_verdicts AS verdict ON verdict.deployment_id = deployment.id
        WHERE deployment.environment_id = environment.id
        ORDER BY deployment.started_at DESC LIMIT 1
    ) AS latest
    WHERE standing.environment_id = environment.id;

    DELETE FROM environment_standings WHERE environment_id = ANY (environments) AND deployment_id = 0;
END $$;

CREATE FUNCTION environment_standings_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refresh_environment_standings(ARRAY(
        SELECT DISTINCT deployment.environment_id FROM changed
        JOIN deployments AS deployment ON deployment.id = changed.deployment_id
    ));
    RETURN NULL;
END $$;
"""
FOLLOW = """
CREATE TRIGGER environment_standings_{event} AFTER {event} ON {table}
REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION environment_standings_follow();
"""
UNFOLLOW = "DROP TRIGGER environment_standings_{event} ON {table};"
FORGET = """
DROP FUNCTION environment_standings_follow();
DROP FUNCTION refresh_environment_standings(bigint[]);
"""
CHANGES = [
    {"table": table, "event": event, "rows": rows}
    for table in ("deployment_verdicts", "sdh_hints")
    for event, rows in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
]


class Migration(migrations.Migration):

    dependencies = [
        ('analysis', '0004_announce_changes'),
        ('deployments', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='EnvironmentStanding',
            fields=[
                ('environment_id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('deployment_id', models.BigIntegerField()),
                ('verdict', models.CharField(max_length=24)),
                ('unhealthy', models.BooleanField()),
                ('critical_hints', models.IntegerField()),
            ],
            options={
                'db_table': 'environment_standings',
            },
        ),
        migrations.RunSQL(REFRESH, FORGET),
        *(migrations.RunSQL(FOLLOW.format(**change), UNFOLLOW.format(**change)) for change in CHANGES),
    ]
