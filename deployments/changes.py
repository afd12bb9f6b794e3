"""Changes that web processes are notified of: what was written is announced in the transaction that writes it.

Triggers (analysis/migrations/0004_announce_changes.py) announce changes of deployments, verdicts and failed jobs, and
metrics/storing.py announces samples. The usual trigger and finish are announced after their commit
(deployments/announcer.py). A notification is a list of topics, separated by spaces: a letter and an id.
"""

from typing import LiteralString

CHANNEL = "seqpulse_changes"
# In place of topics: anything may have changed.
EVERYTHING = "*"
# A topic that is not announced by the database but found out by each process (seqpulse/front/health_watch.py).
HEALTH = "health"


def state_of(deployment_id: int) -> str:
    """Return the topic of a deployment's state and verdict."""
    return f"s{deployment_id}"


def deployment(deployment_id: int) -> str:
    """Return the topic of everything about a deployment: state, verdict, samples, failed collections."""
    return f"d{deployment_id}"


def environment(environment_id: int) -> str:
    """Return the topic of an environment: its samples, and its deployments as above."""
    return f"e{environment_id}"


def team(team_id: int) -> str:
    """Return the topic of all deployments of a team's projects."""
    return f"t{team_id}"


# The same as notifications, for processes that receive none: one row per topic, whose second column differs after a
# change. Arguments: the ids of each kind of topic.
FINGERPRINTS: LiteralString = """
SELECT 's' || deployments.id, concat(state, ' ', verdict.xmin)
FROM deployments LEFT JOIN deployment_verdicts AS verdict ON deployment_id = deployments.id
WHERE deployments.id = ANY(%(s)s)
UNION ALL
SELECT 'd' || deployments.id, concat(deployments.xmin, ' ', verdict.xmin, ' ', (
    SELECT string_agg(concat(replace(status, 'running', 'pending'), retry_count), ' ' ORDER BY job.id)
    FROM scheduled_jobs AS job WHERE job.deployment_id = deployments.id))
FROM deployments LEFT JOIN deployment_verdicts AS verdict ON deployment_id = deployments.id
WHERE deployments.id = ANY(%(d)s)
UNION ALL
SELECT 'e' || id, concat(
    (SELECT max(collected_at) FROM metric_samples
        WHERE environment_id = environment.id AND collected_at > now() - interval '1 hour'), ' ',
    (SELECT string_agg(concat(deployments.id, state, verdict.xmin), ' ' ORDER BY deployments.id)
        FROM deployments LEFT JOIN deployment_verdicts AS verdict ON deployment_id = deployments.id
        WHERE environment_id = environment.id AND started_at > now() - interval '1 day'))
FROM projects_environment AS environment WHERE id = ANY(%(e)s)
UNION ALL
SELECT 't' || team_id, string_agg(concat(project.id, ' ', last_number, ' ', (
    SELECT string_agg(concat(deployments.id, state, verdict.xmin), ' ' ORDER BY deployments.id)
    FROM deployments LEFT JOIN deployment_verdicts AS verdict ON deployment_id = deployments.id
    WHERE project_id = project.id AND started_at > now() - interval '1 day')), ' ' ORDER BY project.id)
FROM projects_project AS project WHERE team_id = ANY(%(t)s) GROUP BY team_id
"""
