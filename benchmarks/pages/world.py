"""Fill the database with a year of a busy installation: deployments with verdicts and hints, generated in SQL."""

from benchmarks.site import Site

TEAMS, DAYS = 12, 365
TEAM_ROWS = """
INSERT INTO accounts_team (name, created_at) SELECT 'team ' || n, now() FROM generate_series(1, %s) AS n
"""
PROJECT_ROWS = """
INSERT INTO projects_project (uuid, name, plan, team_id, adopt_endpoints, last_number, created_at)
SELECT gen_random_uuid(), (ARRAY['shop', 'search', 'billing', 'mail', 'auth', 'media'])[1 + n %% 6] || '-service-' || n,
    'pro', (SELECT min(id) FROM accounts_team) + n %% %s, true, 0, now()
FROM generate_series(1, %s) AS n
"""
ENVIRONMENT_ROWS = """
INSERT INTO projects_environment (project_id, name, metrics_endpoint, hmac_secret, policy, created_at)
SELECT project.id, kind, '', '', '{}', now() FROM projects_project AS project, unnest(ARRAY['prod', 'staging']) AS kind
"""
# Oldest first. The last 40 are under observation; some earlier ones never finished.
DEPLOYMENT_ROWS = """
INSERT INTO deployments (uuid, number, project_id, environment_id, branch, commit_sha, version, author, url, state,
    pipeline_result, started_at, finished_at, duration_ms, window_samples, interval_s)
SELECT gen_random_uuid(), row_number() OVER (PARTITION BY project_id ORDER BY place), project_id, environment_id,
    branch, commit_sha, version, author, 'https://ci.example.com/runs/' || place, state,
    CASE WHEN state IN ('analyzed', 'finished') THEN 'success' ELSE '' END, started_at,
    CASE WHEN state IN ('analyzed', 'finished') THEN started_at + took * interval '1 ms' END,
    CASE WHEN state IN ('analyzed', 'finished') THEN took END, 5, 60
FROM (
    SELECT place, environment.project_id, environment.id AS environment_id,
        CASE WHEN random() < 0.7 THEN 'main' ELSE
            (ARRAY['feature', 'fix', 'renovate', 'release'])[1 + floor(random() * 4)::int] || '/'
            || (ARRAY['checkout', 'login', 'cache', 'search', 'django', 'invoice', 'queue'])
            [1 + floor(random() * 7)::int] || '-' || floor(random() * 9000)::int END AS branch,
        md5(place::text) || substr(md5('b' || place::text), 1, 8) AS commit_sha,
        '2.' || place / 5000 || '.' || place %% 5000 AS version,
        (ARRAY['Ada', 'Grace', 'Alan', 'Edsger', 'Barbara', 'Donald', 'Radia', 'Ken'])[1 + floor(random() * 8)::int]
            || ' ' || (ARRAY['Lovelace', 'Hopper', 'Turing', 'Liskov', 'Knuth'])[1 + floor(random() * 5)::int]
            AS author,
        CASE WHEN place > %(count)s - 40 THEN 'finished'
            WHEN random() < 0.01 THEN 'abandoned' WHEN random() < 0.005 THEN 'superseded' ELSE 'analyzed' END AS state,
        now() - (%(count)s - place) * (%(days)s * interval '1 day' / %(count)s) - interval '5 minutes' AS started_at,
        (20000 + 600000 * random() * random())::bigint AS took
    FROM generate_series(1, %(count)s) AS place
    JOIN (SELECT id, project_id, row_number() OVER (ORDER BY id) - 1 AS spot FROM projects_environment) AS environment
        ON environment.spot = (hashint4(place) & 2147483647) %% (SELECT count(*) FROM projects_environment)
    ORDER BY place
) AS made
ORDER BY place
"""
NUMBER_ROWS = """
UPDATE projects_project SET last_number = (SELECT max(number) FROM deployments WHERE project_id = projects_project.id)
"""
# JSON of about the length of a real verdict.
VERDICT_ROWS = """
INSERT INTO deployment_verdicts (deployment_id, verdict, confidence, conclusive, score, summary, failed_metrics, checks,
    quality, policy, evidence, early, final, shadow, created_at)
SELECT id, name, CASE WHEN name = 'ok' THEN 0.8 + 0.19 * random() ELSE 0.3 + 0.69 * random() END, random() < 0.94, 0.1,
    'Keep it: no metric broke its limit.', '[]', '[]', '{"score": 1.0, "issues": []}', '{}',
    jsonb_build_object('filler', filler), name <> 'ok' AND random() < 0.1, NULL, false,
    finished_at + interval '5 minutes'
FROM (
    SELECT id, finished_at,
        CASE WHEN luck < 0.03 THEN 'rollback_recommended' WHEN luck < 0.12 THEN 'warning' ELSE 'ok' END AS name,
        (SELECT jsonb_agg(jsonb_build_object('metric', 'latency_p95', 'value', random(), 'said', md5(id::text || n)))
            FROM generate_series(1, 12) AS n) AS filler
    FROM (SELECT id, finished_at, random() AS luck FROM deployments WHERE state = 'analyzed') AS judged
) AS verdicts
ORDER BY id
"""
HINT_ROWS = """
INSERT INTO sdh_hints (deployment_id, position, code, metric, severity, confidence, observed, threshold, title, cause,
    impact, evidence, actions, details, created_at)
SELECT deployment_id, place,
    (ARRAY['high_latency', 'high_error_rate', 'traffic_below_baseline', 'cpu_spike', 'memory_growth', 'partial_outage',
        'poor_data', 'missing_data'])[1 + (place + (hashint8(deployment_id) & 1048575)) % 8],
    'latency_p95',
    CASE verdict WHEN 'rollback_recommended' THEN 'critical' WHEN 'warning' THEN 'warning' ELSE 'info' END,
    0.8, 480, 300, 'p95 latency over 300 ms', repeat('The slowest requests wait for something. ', 5),
    repeat('Pages feel slow. ', 5), '["p95 latency above 270 ms in 5 of 5 samples"]',
    '["Look at the slowest statements."]', '{}', created_at
FROM deployment_verdicts, generate_series(0, 2) AS place
WHERE verdict <> 'ok' OR hashint8(deployment_id + place) % 12 = 0
ORDER BY deployment_id, place
"""


def fill(site: Site, *, deployments: int, projects: int) -> None:
    """Insert all rows, with deployments evenly spread over the year up to now."""
    site.rows(TEAM_ROWS, TEAMS)
    site.rows(PROJECT_ROWS, TEAMS, projects)
    site.rows(ENVIRONMENT_ROWS)
    site.rows(DEPLOYMENT_ROWS, count=deployments, days=DAYS)
    site.rows(NUMBER_ROWS)
    site.rows(VERDICT_ROWS)
    site.rows(HINT_ROWS)
    site.rows("VACUUM ANALYZE")
